"""SHA-256 of capture files, remembered by size and time of change so that a large file is read once."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from model.config import locate_capture
from model.run_folder import write_atomically
from orchestrator.errors import DataError


def fingerprint_files(paths: Iterable[str], folder: Path, cache: Path) -> dict[str, str]:
    """Hash the files at `paths` (relative to `folder`); path -> hexadecimal SHA-256.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    known: dict[str, str] = _read_cache(cache)
    hashes: dict[str, str] = {}
    fresh = dict(known)
    for path in dict.fromkeys(paths):
        full = locate_capture(folder, path)
        try:
            stat = full.stat()
            key = f"{_hash_place(full)}:{stat.st_size}:{stat.st_mtime_ns}"
            hashes[path] = known.get(key) or _hash_file(full)
        except OSError as error:
            raise DataError(f"{folder / path}: the capture cannot be read: {error.strerror}") from None
        fresh[key] = hashes[path]
    if fresh != known:
        # Where nothing can be written, the next command reads the captures once more; nothing else is lost.
        with contextlib.suppress(OSError):
            write_atomically(cache, json.dumps(fresh, indent=1, sort_keys=True).encode())
    return hashes


def _hash_place(path: Path) -> str:
    """Name a place by a hash: the value of a variable in its path is written nowhere."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _read_cache(cache: Path) -> dict[str, str]:
    try:
        content = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
