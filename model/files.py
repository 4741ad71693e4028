"""Whole files, written so that a reader sees all of the new one or all of the old one. No torch."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""How a file system says that it cannot flush a folder."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file by temporary name, fsync and replace."""
    stream_atomically(path, lambda file: file.write(content))


def stream_atomically(
    path: Path, write: Callable[[BinaryIO], object], before_replace: Callable[[], object] = lambda: None
) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place; a failure leaves `path` as it was.

    The file gets the rights that the user's umask and the folder ask for, as any file that a program makes.

    Args:
        path: the file; its folder is made where it is missing.
        write: fills the file.
        before_replace: called when the new file is on the disk; what it raises keeps the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Not by tempfile: its files are for their owner alone, whatever the umask says.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        before_replace()
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """See the names in a folder on the disk: without it a power loss may take back a file that was put in place."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
