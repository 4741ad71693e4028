"""The captures of a campaign: which are missing, how they are made, and the check that roles share no burst."""

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
"""Version of the check. If the number rises, bursts that were found distinct before are compared again."""


def missing_captures(selection: Selection) -> list[Path]:
    """Return the capture files that do not exist, as the campaign writes their paths.

    A dangling link, a folder, or a file that cannot be looked at does not count as missing: something is in its place.
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
        # It may exist; the error of reading it says why it cannot be read.
        return False
    return False


def make_captures(selection: Selection) -> str:
    """Make missing emulated captures; return a line for each, or an empty text.

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
    """Make the captures of a folder; messages name it as the campaign writes it."""
    try:
        return emulate_captures(folder, emulate, keep=True).replace(str(folder), str(written))
    except DataError as error:
        raise DataError(str(error).replace(str(folder), str(written))) from None


def _explain_missing(place: CapturePlace) -> str:
    """Say what to do about a capture that does not exist."""
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
    """Refuse captures whose roles share bursts, whatever the files are called.

    Each file is read once: a check that passed is remembered by the content of the files.

    Raises:
        DataError: roles share bursts, or a capture cannot be read.
    """
    for data in configs:
        hashes = fingerprint_files(_used_files(data), paths.root, paths.fingerprints)
        found_apart = paths.found_apart(_content_key(data, hashes))
        if found_apart.is_file():
            continue
        shared = find_shared_bursts(data, paths.root, hashes, paths.bursts)
        if shared is not None:
            raise DataError(shared)
        # Only a check that passed is kept.
        # A file that cannot be written costs the time of another check, and nothing else.
        with suppress(OSError):
            write_atomically(found_apart, b"")


def refuse_same_files(configs: Iterable[DataConfig], hashes: Mapping[str, str]) -> None:
    """Refuse roles that name the same bursts of equal files, such as copies. Only hashes are compared.

    Raises:
        DataError: roles share bursts.
    """
    for data in configs:
        try:
            # The configuration refuses roles that name one file twice.
            # With hashes as paths it refuses copies of a file too.
            _by_content(data, hashes)
        except ValueError as error:
            copies = [path for path in _used_files(data) if list(hashes.values()).count(hashes[path]) > 1]
            raise DataError(f"{error}; these files have the same content: {', '.join(copies)}") from None


def _used_files(data: DataConfig) -> list[str]:
    """Return the capture files that any role uses, each once."""
    return list(dict.fromkeys(data.captures[name].path for name in data.used))


def _by_content(data: DataConfig, hashes: Mapping[str, str]) -> DataConfig:
    """Return the data with the hash of each file in place of its path.

    Raises:
        ValueError: roles share bursts of equal files.
    """
    captures = {
        name: msgspec.structs.replace(capture, path=hashes[capture.path])
        for name, capture in data.captures.items()
        if name in data.used
    }
    return DataConfig(**{**msgspec.structs.asdict(data), "captures": captures})


def _content_key(data: DataConfig, hashes: Mapping[str, str]) -> str:
    """Return a hash of the bursts of all roles by content: the names of files do not matter."""

    def content(name: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
        capture = data.captures[name]
        return hashes[capture.path], capture.devices, capture.packets

    roles = [list(map(content, names)) for names in (data.train, data.validate, data.choose, data.report)]
    return content_hash(msgspec.json.encode([APART_FORMAT, roles, data.samples, data.layout]))
