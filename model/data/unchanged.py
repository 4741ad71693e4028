"""Check that capture files are still those that were opened. No torch."""

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.config import CapturePlace, DataConfig, Place
from model.data.capture_errors import CaptureAwayError, CaptureChangedError, CaptureError, name_error
from model.endings import OWN_DOING

Stamp = tuple[int, int, int, int]
"""Device, inode, size in bytes and change time in nanoseconds of the file itself, not of a link to it."""

MISSING = (errno.ENOENT, errno.ENOTDIR)
SHARD_SUFFIX = ".npy"
MAKE = (
    "correct `path` in the campaign file, or make emulated captures with "
    "`python -m model.studies.radio.data --folder FOLDER`"
)
REMAKE = "make it again with `knockout data shard`"
PUT_BACK = "put the capture back as it was and run again to go on, or queue a run on the new one"


def is_shard(path: Place | str) -> bool:
    """Whether a capture with this name is read as a shard; all other captures are HDF5."""
    return Path(path).suffix == SHARD_SUFFIX


def stamp_file(path: Place, advice: str | None = None) -> Stamp:
    """Return the stamp of a capture. Nothing is opened, because opening a pipe could hang.

    Args:
        path: the capture file.
        advice: the message's advice if there is no such file; by default how to make one.

    Raises:
        CaptureAwayError: there is no file, or the system does not let us see it.
        CaptureError: no file can have such a path.
    """
    kind, way = ("shard", REMAKE) if is_shard(path) else ("capture file", MAKE)
    advice = advice or way
    try:
        found = Path(path).stat()
    except OSError as error:
        refusal = CaptureError if error.errno in OWN_DOING else CaptureAwayError
        what = "is not there" if error.errno in MISSING else f"cannot be read: {error.strerror}"
        raise refusal(f"{path}: the {kind} {what}; {advice}") from name_error(error, path)
    except ValueError as error:
        raise CaptureError(f"{str(path)!r}: the {kind} cannot have this path ({error}); {advice}") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        cause = OSError(number, os.strerror(number), str(path))
        raise CaptureAwayError(f"{path}: the {kind} is {what}, it must be a file; {advice}") from cause
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class CaptureStamps:
    """The stamps of capture files from when they were opened."""

    stamps: dict[Place, Stamp]

    def require_unchanged(self) -> None:
        """Compare every file with its stamp; this costs one `stat` a file.

        Raises:
            CaptureChangedError: a file is another one now, or was written to.
            CaptureAwayError: a file is not there any more.
        """
        for path, before in self.stamps.items():
            if stamp_file(path, PUT_BACK) != before:
                raise CaptureChangedError(f"{path}: the capture has changed since it was opened; {PUT_BACK}")


def stamp_files(paths: Iterable[Place]) -> CaptureStamps:
    """Stamp capture files.

    Raises:
        CaptureAwayError: a file is not there, or the system does not let us see it.
    """
    return CaptureStamps({path: stamp_file(path) for path in dict.fromkeys(paths)})


def stamp_captures(config: DataConfig, folder: Path) -> CaptureStamps:
    """Stamp every capture that a job reads, also those it opens at its end; paths are relative to `folder`.

    Raises:
        CaptureAwayError: a file is not there, or the system does not let us see it.
    """
    return stamp_files(CapturePlace(folder, config.captures[name].path) for name in config.used)
