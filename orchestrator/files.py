"""Whole files of the orchestrator: written all at once, and checked before they are read.

A pipe would make a reader wait for ever, and a huge file would fill the memory.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

SMALL_BYTES = 16 * 2**20
"""Largest JSON file that is read, in bytes; no run, search or campaign writes one that large."""
LARGE_BYTES = 2**30
"""Largest file that is read with a line for each epoch, or a number for each item, in bytes."""
UNREADABLE = (OSError, ValueError, RecursionError)
"""Errors of reading and decoding a missing, cut or spoilt JSON file; msgspec's errors are ValueErrors."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Errors by which a file system says that it cannot flush a folder."""


def write_atomically(path: Path, content: bytes, check: Callable[[], object] = lambda: None) -> None:
    """Write a whole file: a reader sees all of the old content or all of the new.

    The file is on the disk when this returns. It gets the rights that the user's umask leaves.

    Args:
        path: the file; its folder is made where it is missing.
        content: its new content.
        check: called just before the new content takes the place of the old; if it raises, the old file stays.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # `tempfile` would give the file to its owner alone, whatever the umask says.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # Before the rename: after a power loss the new name could otherwise stand for an empty file.
            os.fsync(file.fileno())
        check()
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; without it, a power loss may undo the last rename.

    Raises:
        OSError: the folder cannot be flushed, though its file system can do that.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def content_hash(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def format_json(value: object) -> bytes:
    """Return a value as indented JSON that ends with a line break."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_json(path: Path, value: object) -> None:
    """Write a value as a JSON file, with `write_atomically`.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    write_atomically(path, format_json(value))


def require_plain(path: Path, limit_bytes: int = SMALL_BYTES) -> None:
    """Refuse a folder, a pipe, a device, and a file that is larger than any file of its kind.

    Raises:
        OSError: it cannot be looked at, is a folder, or is missing (FileNotFoundError).
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
    # O_NONBLOCK: a pipe may have taken the file's place since the check.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(limit_bytes + 1)


def is_there(path: Path) -> bool:
    """Whether this user can see something at a path."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


CACHE_VARIABLE = "XDG_CACHE_HOME"
"""Environment variable that names the folder of all caches of a user."""


def find_cache() -> Path | None:
    """Return the folder of the user's caches; None if no home can hold it."""
    named = os.environ.get(CACHE_VARIABLE, "")
    # The specification of this variable says that a relative path must be ignored.
    if Path(named).is_absolute():
        return Path(named)
    try:
        cache = Path.home() / ".cache"
    except RuntimeError:  # HOME is not set, and the system does not know the user
        return None
    # The cache may not exist yet: the nearest folder that does must be writable.
    there = next((folder for folder in (cache, *cache.parents) if folder.exists()), cache)
    return cache if cache.is_absolute() and os.access(there, os.W_OK | os.X_OK) else None
