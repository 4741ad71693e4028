"""SHA-256 of capture files, remembered as long as the system shows the same file, so that a large one is read once."""

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
from orchestrator.files import write_atomically

TICK_NS = 100_000_000
"""Longest time for which a file system gives two changes the same time; the kernel's clock ticks each 4 to 10 ms."""
COARSE_TICK_NS = 2_000_000_000
"""The same where it writes whole seconds; FAT writes even ones."""
SECOND_NS = 1_000_000_000


class Fingerprint(Struct, frozen=True, kw_only=True):
    """The hash of a file, and as which file the system showed it: device, inode, bytes, times of change in ns."""

    stamp: tuple[int, int, int, int, int]
    sha256: str


class Remembered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cache: the fingerprint of each file, by the hash of the path of the file itself.

    A variable in a capture's path may hold what nobody should read, so no place is written down.
    """

    format: Literal[2] = 2
    files: dict[str, Fingerprint] = {}


def fingerprint_files(paths: Iterable[str], folder: Path, cache: Path) -> dict[str, str]:
    """Hash the files at `paths` (relative to `folder`); path -> hexadecimal SHA-256.

    A cache that cannot be read or written costs time and nothing else.

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
    """Return the captures whose bytes are not those of the hashes, given as path -> hexadecimal SHA-256.

    Raises:
        DataError: a file is missing, is no file, or cannot be read. The system's error is its cause.
    """
    now = fingerprint_files(captures, folder, cache)
    return [path for path, sha256 in captures.items() if now[path] != sha256]


def _fingerprint(place: CapturePlace, known: dict[str, Fingerprint]) -> str:
    """Return the hash of a file, from `known` if that is of this file; else it goes there, if it may be believed."""
    name, found = _hash_place(place), Path(place).stat()
    _require_file(place, found)
    remembered = known.get(name)
    if remembered is not None and remembered.stamp == _stamp(found):
        return remembered.sha256
    fingerprint = _hash_file(place)
    if is_settled(fingerprint.stamp, time.time_ns()):
        known[name] = fingerprint
    else:
        known.pop(name, None)
    return fingerprint.sha256


def is_settled(stamp: tuple[int, ...], now_ns: int) -> bool:
    """Whether the next change of a file is sure to show in its stamp: its last one is older than the clock's tick.

    Git calls a file that is younger "racily clean". A time of change in the future is another machine's clock, which
    says nothing about the age; a time of modification in the future was set by hand.
    """
    *_, modified_ns, changed_ns = stamp
    tick_ns = TICK_NS if changed_ns % SECOND_NS else COARSE_TICK_NS
    return changed_ns + tick_ns < now_ns and not abs(now_ns - modified_ns) <= tick_ns


def _hash_place(place: CapturePlace) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(place))).hexdigest()[:16]


def _hash_file(place: CapturePlace) -> Fingerprint:
    # What has become a pipe since it was looked at must not hang this.
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        _require_file(place, before)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
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
    """Read what is remembered; nothing, where it cannot be read or another version wrote it."""
    try:
        if not cache.is_file():
            return {}
        return msgspec.json.decode(cache.read_bytes(), type=Remembered).files
    except (OSError, ValueError, RecursionError):
        return {}
