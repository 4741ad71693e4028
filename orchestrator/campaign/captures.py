"""The captures of a campaign: whether they are there, how missing ones are made, and that roles share no burst."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from model.config import CapturePlace, DataConfig, variables_of
from orchestrator.campaign.selection import Selection
from orchestrator.errors import DataError
from orchestrator.files import content_hash, write_atomically
from orchestrator.runs.fingerprints import fingerprint_files
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import EmulateSpec, emulate_captures, find_shared_bursts

APART_FORMAT = 1
"""Raised when bursts that were found apart must be compared again."""


def missing_captures(selection: Selection) -> list[Path]:
    """Return the capture files that are not there, as the campaign writes their paths.

    A link to a file that is not there, a folder, or a file that cannot be seen is none of these: its place is taken.
    """
    return [Path(str(place)) for place in _missing(selection)]


def _missing(selection: Selection) -> list[CapturePlace]:
    paths = dict.fromkeys(capture.path for capture in selection.campaign.data.captures.values())
    places = [CapturePlace(selection.paths.root, path) for path in paths]
    return [place for place in places if _is_free(Path(place))]


def _is_free(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        # It may be there; whoever reads it is told why it cannot be read.
        return False
    return False


def make_captures(selection: Selection) -> str:
    """Make missing emulated captures; return what was said about them.

    Raises:
        DataError: captures are missing and the campaign does not say how to emulate them.
    """
    missing = _missing(selection)
    if not missing:
        return ""
    emulate = selection.campaign.data.emulate
    if emulate is None:
        raise DataError(f"profile `{selection.campaign.profile}` is skipped: {_explain_missing(missing[0])}")
    written = {Path(place).parent: Path(str(place)).parent for place in missing}
    return "".join(_emulate(folder, emulate, written[folder]) for folder in sorted(written))


def _emulate(folder: Path, emulate: EmulateSpec, written: Path) -> str:
    """Make the captures of a folder; it is named as the campaign names it."""
    try:
        return emulate_captures(folder, emulate, keep=True).replace(str(folder), str(written))
    except DataError as error:
        raise DataError(str(error).replace(str(folder), str(written))) from None


def _explain_missing(place: CapturePlace) -> str:
    """Say what to do about a capture that is not there."""
    names = variables_of(place.path)
    unset = [name for name in names if not os.environ.get(name)]
    if unset:
        name = unset[0]
        return (
            f"where its captures are is for the variable {name} to say, and it is not set; run again with {name}=PATH"
        )
    if names:
        return f"its capture {place} is not there; correct the variable {names[0]}, or `path` under `data.captures`"
    return f"its capture {place} is not there; correct `path` under `data.captures`"


def refuse_shared_bursts(configs: Iterable[DataConfig], paths: Paths) -> None:
    """Refuse captures that share bursts which their roles forbid, whatever the files are called.

    Each file is read once. What was found apart is remembered by the content of the files.

    Raises:
        DataError: roles share bursts, or a capture cannot be read.
    """
    for data in configs:
        hashes = fingerprint_files(_paths_of(data), paths.root, paths.fingerprints)
        found_apart = paths.found_apart(_content_key(data, hashes))
        if found_apart.is_file():
            continue
        shared = find_shared_bursts(data, paths.root, hashes, paths.bursts)
        if shared is not None:
            raise DataError(shared)
        with suppress(OSError):
            write_atomically(found_apart, b"")


def refuse_same_files(configs: Iterable[DataConfig], hashes: Mapping[str, str]) -> None:
    """Refuse captures that name the same bursts of files with the same content, such as copies; reads no burst.

    Raises:
        DataError: roles share bursts.
    """
    for data in configs:
        try:
            _by_content(data, hashes)
        except ValueError as error:
            copies = [path for path in _paths_of(data) if list(hashes.values()).count(hashes[path]) > 1]
            raise DataError(f"{error}; these files have the same content: {', '.join(copies)}") from None


def _paths_of(data: DataConfig) -> list[str]:
    """Return the capture files that any role names, each once."""
    return list(dict.fromkeys(data.captures[name].path for name in data.used))


def _by_content(data: DataConfig, hashes: Mapping[str, str]) -> DataConfig:
    """Put each file's hash in the place of its path.

    Raises:
        ValueError: roles share bursts of a content.
    """
    captures = {
        name: msgspec.structs.replace(capture, path=hashes[capture.path])
        for name, capture in data.captures.items()
        if name in data.used
    }
    return DataConfig(**{**msgspec.structs.asdict(data), "captures": captures})


def _content_key(data: DataConfig, hashes: Mapping[str, str]) -> str:
    """Name the bursts of all roles by what they hold, whatever their files are called."""

    def content(name: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
        capture = data.captures[name]
        return hashes[capture.path], capture.devices, capture.packets

    roles = [list(map(content, names)) for names in (data.train, data.validate, data.choose, data.report)]
    return content_hash(msgspec.json.encode([APART_FORMAT, roles, data.samples, data.layout]))
