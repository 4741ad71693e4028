"""`knockout data`: emulated captures, and shards cut out of captures."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import DataError
from orchestrator.runs.fingerprints import changed_files, fingerprint_files
from orchestrator.runs.paths import require_places
from orchestrator.task.radio import EmulateSpec, emulate_captures, find_shared_bursts, shard_captures

__all__ = ["EmulateSpec", "data_emulate", "data_shard"]


def data_emulate(folder: Path, spec: EmulateSpec) -> str:
    """Make emulated captures LocA.h5 to LocD.h5 in a folder; return a line for each.

    Raises:
        DataError: they cannot be made.
        UsageError: the folder cannot be written.
    """
    require_places(folder)
    return emulate_captures(folder, spec).strip()


def data_shard(request: Request, out: Path, tell: Callable[[str], None] | None = None) -> str:
    """Cut the bursts that a profile uses out of its captures; return a line for each shard.

    Args:
        request: the campaign file and the profile.
        out: the folder of the shards.
        tell: takes a line for each capture that is made first, because it is missing and emulated.

    Raises:
        DataError: captures are missing or share bursts, or one changes meanwhile.
        UsageError: the folder cannot be written.
    """
    selection = open_campaign(request)
    require_places(out)
    for line in make_captures(selection).splitlines():
        if tell is not None:
            tell(line)
    paths, baseline = selection.paths, selection.arms[BASELINE]
    data = baseline.params.get("data", {})
    if not baseline.reads:
        raise DataError(f"{request.file}: this campaign has no captures, so there is nothing to cut shards out of")
    hashes = fingerprint_files([read.path for read in baseline.reads], paths.root, paths.fingerprints)
    if (shared := find_shared_bursts(data, paths.root, hashes, paths.bursts)) is not None:
        raise DataError(shared)
    # The hashes are from before. If a capture changes while it is read, the shards may mix two contents.
    lines = shard_captures(out, data, paths.root, hashes).strip()
    for path in changed_files(hashes, paths.root, paths.fingerprints):
        raise DataError(f"{path}: the capture changed while shards were cut out of it; remove {out}, run again")
    return lines
