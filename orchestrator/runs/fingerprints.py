"""SHA-256 of capture files, kept in a cache so that a large file is read once.

A kept hash counts as long as the file has the same stamp: device, inode, size and times.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from model.config import CapturePlace
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


def fingerprint_files(paths: Iterable[str], folder: Path, cache: Path) -> dict[str, str]:
    """Return path -> hexadecimal SHA-256 of each file.

    Args:
        paths: relative to `folder`; they may hold variables.
        folder: the campaign's folder.
        cache: file of the kept hashes. If it cannot be read or written, the files are just read again.

    Raises:
        DataError: a file is missing, is no file, or cannot be read. The system's error is its cause.
    """
    known = _read_cache(cache)
    fresh, hashes = dict(known), {}
    for path in dict.fromkeys(paths):
        place = CapturePlace(folder, path)
        try:
            hashes[path] = _fingerprint(place, fresh)
        except OSError as error:
            cause = OSError(error.errno, error.strerror, str(place))
            raise DataError(f"{place}: the capture cannot be read: {error.strerror}") from cause
        except ValueError as error:
            raise DataError(f"{str(place)!r}: no capture can have this path: {error}") from error
    if fresh != known:
        with contextlib.suppress(OSError):
            write_atomically(cache, msgspec.json.format(msgspec.json.encode(Remembered(files=fresh)), indent=1))
    return hashes


def changed_captures(captures: Mapping[str, str], folder: Path, cache: Path) -> list[str]:
    """Return the captures whose contents no longer have the given hashes.

    Args:
        captures: path -> hexadecimal SHA-256.
        folder: the campaign's folder.
        cache: file of the kept hashes.

    Raises:
        DataError: a file is missing, is no file, or cannot be read. The system's error is its cause.
    """
    now = fingerprint_files(captures, folder, cache)
    return [path for path, sha256 in captures.items() if now[path] != sha256]


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
    now = {name: fingerprint_files([spec.path], folder, cache)[spec.path] for name, spec in specs.items()}
    return [name for name in specs if now[name] != before.get(name)]


def _fingerprint(place: CapturePlace, known: dict[str, Fingerprint]) -> str:
    """Return the hash of a file, from `known` if the stamp is the same; else read the file and update `known`."""
    name, found = _hash_place(place), Path(place).stat()
    _require_file(place, found)
    remembered = known.get(name)
    if remembered is not None and remembered.stamp == _stamp(found):
        return remembered.sha256
    # Example: a capture is written, read, and written again 5 ms later at the same size. Both contents may have the
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


def _hash_place(place: CapturePlace) -> str:
    # Two links to one file have the same real path, so the file is read once.
    return content_hash(os.fsencode(os.path.realpath(place)))[:16]


def _hash_file(place: CapturePlace) -> Fingerprint:
    # O_NONBLOCK: a pipe may have taken the file's place since it was checked.
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        _require_file(place, before)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    # A file that was written meanwhile gives a hash of a mixture of two contents.
    if _stamp(before) != _stamp(after):
        raise DataError(f"{place}: the capture changes while it is read; wait until it is written, and run again")
    return Fingerprint(stamp=_stamp(before), sha256=sha256)


def _require_file(place: CapturePlace, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise DataError(f"{place}: the capture is {what}, it must be a file; correct `path` under `data.captures`")


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
