"""Looks at a file before it is read: a pipe would never end, and a huge file would fill the memory."""

import errno
import os
import stat
from pathlib import Path

SMALL_BYTES = 16 * 2**20
"""Most bytes of a JSON file: far more than any run, search or campaign writes."""
LARGE_BYTES = 2**30
"""Most bytes of a file with a line an epoch, or a number a burst."""


def require_plain(path: Path, limit_bytes: int = SMALL_BYTES) -> None:
    """Refuse what is no plain file, or is larger than any file of its kind.

    Raises:
        OSError: it cannot be looked at, is a folder, or is not there (FileNotFoundError).
        ValueError: it is a pipe or a device, or too large.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path.name} is no plain file; put the file itself in this place")
    if found.st_size > limit_bytes:
        raise ValueError(f"{path.name} has {found.st_size:,} bytes, at most {limit_bytes:,} are read")


def read_plain(path: Path, limit_bytes: int = SMALL_BYTES) -> bytes:
    """Read a plain file that is not too large; the errors are those of `require_plain`."""
    require_plain(path, limit_bytes)
    # Not blocking, in case a pipe took its place since.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(limit_bytes + 1)


def is_there(path: Path) -> bool:
    """Whether something is there that can be looked at; what nobody lets us look at is not."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
