"""Check, before the first byte is written, that files fit on the disk. No torch."""

import errno
import os
import shutil
from pathlib import Path

from model.data.capture_errors import system_error_of


def require_space(folder: Path, num_bytes: int, freed_bytes: int = 0) -> None:
    """Refuse to write files that the disk cannot hold.

    Args:
        folder: the folder of the files; it may not exist yet.
        num_bytes: the size of all files together.
        freed_bytes: the size of the files that they replace.

    Raises:
        OSError: the files are too large (ENOSPC), or there can be no such folder.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    free_bytes = shutil.disk_usage(there).free + freed_bytes
    if num_bytes > free_bytes:
        needed = f"{_amount(num_bytes)} are needed, {_amount(free_bytes)} are free; ask for less, or free some"
        raise OSError(errno.ENOSPC, needed, str(folder))


def _amount(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3f} MB"


def explain(error: Exception) -> str:
    """Return the reason, in words, why a file could not be written."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return error.strerror
    found = system_error_of(error)
    return str(error) if found is None or found.errno is None else os.strerror(found.errno)
