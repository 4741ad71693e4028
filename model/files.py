"""Atomic writes: a reader sees the whole new file or the whole old one. No torch."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Errors of a file system that cannot flush a folder."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file: to a temporary name, then fsync, then rename."""
    stream_atomically(path, lambda file: file.write(content))


def stream_atomically(
    path: Path, write: Callable[[BinaryIO], object], before_replace: Callable[[], object] = lambda: None
) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`; a failure leaves `path` unchanged.

    The user's umask and the folder decide the file's rights, as for any new file.

    Args:
        path: the file; a missing folder is created.
        write: fills the file.
        before_replace: called when the new file is on the disk; if it raises, the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Not by `tempfile`, whose files only their owner may read, whatever the umask.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # The last moment at which the old file still stands, so a job that lost its folder can stop here.
        before_replace()
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk; otherwise a power loss may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
