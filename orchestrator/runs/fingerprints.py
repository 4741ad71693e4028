"""SHA-256 of the files and the data of a run, kept in a cache so that a large file is read once.

A kept hash counts as long as the file has the same stamp: device, inode, size and times.
"""

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from orchestrator.errors import DataError
from orchestrator.files import UNREADABLE, content_hash, write_atomically
from orchestrator.task.spec import DataSpec

TICK_NS = 100_000_000
"""Two changes within so many ns may get the same time. The kernel's clock ticks every 4 to 10 ms; this is far more."""
COARSE_TICK_NS = 2_000_000_000
"""The same for a file system that stores whole seconds; FAT stores only even ones."""
SECOND_NS = 1_000_000_000


class Fingerprint(Struct, frozen=True, kw_only=True):
    """The hash of a file, and the file's stamp when it was read."""

    stamp: tuple[int, int, int, int, int]
    """Device, inode, bytes, and the times of modification and of change in ns."""
    sha256: str


class Remembered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cache: hash of a file's path -> its fingerprint.

    Paths are hashed because a variable in a path may hold a secret.
    """

    format: Literal[2] = 2
    files: dict[str, Fingerprint] = {}


_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def expand_path(path: str, variables: Mapping[str, str]) -> str:
    """Replace variables in a path, as in `${RTL433}` or `${RTL433:-data/file.h5}`; an unset variable stays as written.

    A variable may hold a secret. So its value is used only in the call that opens the file, and never in a message.
    """

    def value(found: re.Match[str]) -> str:
        default = found[0] if found["default"] is None else found["default"]
        return variables.get(found["name"]) or default

    return _VARIABLE.sub(value, path)


@dataclass(frozen=True)
class Place:
    """The place of a file: `str(place)` is the path as the campaign writes it, `Path(place)` is the file to open.

    Attributes:
        folder: the folder that the path is relative to.
        path: as the campaign writes it, with the names of variables.
    """

    folder: Path
    path: str

    def __str__(self) -> str:
        return str(self.folder / self.path)

    def __fspath__(self) -> str:
        return str(self.folder / expand_path(self.path, os.environ))


def fingerprint_files(paths: Iterable[str], folder: Path, cache: Path) -> dict[str, str]:
    """Return path -> hexadecimal SHA-256 of each file.

    Args:
        paths: relative to `folder`; they may hold variables.
        folder: the campaign's folder.
        cache: file of the kept hashes. If it cannot be read or written, the files are just read again.

    Raises:
        DataError: a file is missing, is no file, or cannot be read. The system's error is its cause.
    """
    with _kept_hashes(cache) as known:
        return {path: _hash_of(Place(folder, path), known) for path in dict.fromkeys(paths)}


def fingerprint_data(specs: Mapping[str, DataSpec], folder: Path, cache: Path) -> dict[str, str]:
    """Return name -> fingerprint of a task's data: a file, all files of a folder, or all that a glob finds.

    A file has the hash of its content. Several files have a hash over their names and hashes, or over names and sizes.

    Args:
        specs: name -> where the data are; relative paths begin at `folder`.
        folder: the campaign's folder.
        cache: file of the kept hashes.

    Raises:
        DataError: nothing is there, or a file cannot be read.
    """
    with _kept_hashes(cache) as known:
        return {name: _fingerprint_one(name, spec, folder, known) for name, spec in specs.items()}


def is_there(place: Place) -> bool:
    """Whether something is at a place, or a glob finds something there."""
    path = Path(place)
    try:
        path.lstat()
    except FileNotFoundError:
        return bool(_matches(path.absolute()))
    except (OSError, ValueError):
        # It may exist; the error of reading it says why it cannot be read.
        return True
    return True


def _fingerprint_one(name: str, spec: DataSpec, folder: Path, known: dict[str, Fingerprint]) -> str:
    files = _find_files(Place(folder, spec.path))
    if not files:
        raise DataError(f"{folder / spec.path}: nothing is there; correct the path of `task.data.{name}`")
    if spec.fingerprint == "names":
        return _hash_listing([(inner, _size_of(folder, path)) for inner, path in files])
    hashes = [(inner, _hash_of(Place(folder, path), known)) for inner, path in files]
    return hashes[0][1] if hashes[0][0] == "" else _hash_listing(hashes)


def _hash_listing(entries: list[tuple[str, str | int]] | list[tuple[str, str]] | list[tuple[str, int]]) -> str:
    return content_hash(msgspec.json.encode(entries))


def _size_of(folder: Path, path: str) -> int:
    try:
        return (folder / path).stat().st_size
    except OSError as error:
        raise DataError(f"{folder / path}: the file cannot be looked at: {error.strerror}") from error


def _find_files(place: Place) -> list[tuple[str, str]]:
    """Return the files of some data in order: their names inside the data, and their paths.

    A single file has an empty name. The place of a folder is no part of its files' names.
    """
    top = Path(place).absolute()
    if top.is_dir():
        return [(str(path.relative_to(top)), str(path)) for path in _walk(top)]
    if os.path.lexists(top):
        return [("", place.path)]
    # Names begin below the last folder without a sign of a glob, so moved data keep their fingerprint.
    base = next((parent for parent in top.parents if not has_magic(str(parent))), top)
    inside = (file for path in _matches(top) for file in (_walk(path) if path.is_dir() else [path]))
    return [(str(path.relative_to(base)), str(path)) for path in dict.fromkeys(inside)]


def _matches(pattern: Path) -> list[Path]:
    """Return what a glob finds, sorted; nothing for a path without its signs."""
    anchor = Path(pattern.anchor)
    return sorted(anchor.glob(str(pattern.relative_to(anchor)))) if has_magic(str(pattern)) else []


def _walk(folder: Path) -> list[Path]:
    return sorted(Path(parent) / name for parent, _, names in os.walk(folder) for name in names)


def changed_files(files: Mapping[str, str], folder: Path, cache: Path) -> list[str]:
    """Return the files whose contents no longer have the given hashes.

    Args:
        files: path -> hexadecimal SHA-256.
        folder: the campaign's folder.
        cache: file of the kept hashes.

    Raises:
        DataError: a file is missing, is no file, or cannot be read. The system's error is its cause.
    """
    now = fingerprint_files(files, folder, cache)
    return [path for path, sha256 in files.items() if now[path] != sha256]


def changed_data(specs: Mapping[str, DataSpec], before: Mapping[str, str], folder: Path, cache: Path) -> list[str]:
    """Return the names of a task's data that no longer have the given fingerprints.

    Args:
        specs: name -> where the data are.
        before: name -> fingerprint.
        folder: the campaign's folder.
        cache: file of the kept hashes.

    Raises:
        DataError: nothing is there, or a file cannot be read.
    """
    now = fingerprint_data(specs, folder, cache)
    return [name for name in specs if now[name] != before.get(name)]


@contextmanager
def _kept_hashes(cache: Path) -> Iterator[dict[str, Fingerprint]]:
    """Yield the kept hashes, which the block may change; they are kept after it."""
    known = _read_cache(cache)
    fresh = dict(known)
    yield fresh
    if fresh != known:
        with contextlib.suppress(OSError):
            write_atomically(cache, msgspec.json.format(msgspec.json.encode(Remembered(files=fresh)), indent=1))


def _hash_of(place: Place, known: dict[str, Fingerprint]) -> str:
    try:
        return _fingerprint(place, known)
    except OSError as error:
        cause = OSError(error.errno, error.strerror, str(place))
        raise DataError(f"{place}: the file cannot be read: {error.strerror}") from cause
    except ValueError as error:
        raise DataError(f"{str(place)!r}: no file can have this path: {error}") from error


def _fingerprint(place: Place, known: dict[str, Fingerprint]) -> str:
    """Return the hash of a file, from `known` if the stamp is the same; else read the file and update `known`."""
    name, found = _hash_place(place), Path(place).stat()
    _require_file(place, found)
    remembered = known.get(name)
    if remembered is not None and remembered.stamp == _stamp(found):
        return remembered.sha256
    # Example: a file is written, read, and written again 5 ms later at the same size. Both contents may have the
    # same stamp. Then a kept hash would stay wrong for ever.
    fingerprint = _hash_file(place)
    # A hash of a file that may still change within the same tick is used once, but not kept.
    if is_settled(fingerprint.stamp, time.time_ns()):
        known[name] = fingerprint
    else:
        known.pop(name, None)
    return fingerprint.sha256


def is_settled(stamp: tuple[int, ...], now_ns: int) -> bool:
    """Whether the next change of a file is certain to change its stamp.

    It is not if the last change is younger than a tick of the clock. A second change in the same tick gets the same
    time. Git calls such a file "racily clean". A time of change in the future comes from another machine's clock and
    says nothing about the age. A time of modification in the future was set by hand.

    Args:
        stamp: ends with the times of modification and of change, in ns.
        now_ns: the time now.
    """
    *_, modified_ns, changed_ns = stamp
    # A time without a part of a second comes from a file system that stores whole seconds. By chance it is very rare.
    tick_ns = TICK_NS if changed_ns % SECOND_NS else COARSE_TICK_NS
    return changed_ns + tick_ns < now_ns and not abs(now_ns - modified_ns) <= tick_ns


def _hash_place(place: Place) -> str:
    # Two links to one file have the same real path, so the file is read once.
    return content_hash(os.fsencode(os.path.realpath(place)))[:16]


def _hash_file(place: Place) -> Fingerprint:
    # O_NONBLOCK: a pipe may have taken the file's place since it was checked.
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        _require_file(place, before)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    # A file that was written meanwhile gives a hash of a mixture of two contents.
    if _stamp(before) != _stamp(after):
        raise DataError(f"{place}: the file changes while it is read; wait until it is written, and run again")
    return Fingerprint(stamp=_stamp(before), sha256=sha256)


def _require_file(place: Place, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise DataError(f"{place}: this is {what}, it must be a file; correct its path in the campaign file")


def _stamp(found: os.stat_result) -> tuple[int, int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_cache(cache: Path) -> dict[str, Fingerprint]:
    """Read the cache; empty if it cannot be read or is of another version."""
    try:
        if not cache.is_file():
            return {}
        return msgspec.json.decode(cache.read_bytes(), type=Remembered).files
    except UNREADABLE:
        return {}
