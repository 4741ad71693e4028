"""Names and hashes of code, worked out anew from what lies on the disk."""

import hashlib
import os
from pathlib import Path


def blob_of(content: bytes, length: int = 40) -> str:
    """Return git's name of a content."""
    make = hashlib.sha1 if length == 40 else hashlib.sha256
    return make(f"blob {len(content)}\0".encode() + content).hexdigest()


def hash_code_folder(folder: Path, length: int = 40) -> str:
    """Return the hash of the code in `model/` of a folder: of a line `BLOB PATH` for each file, sorted by path."""
    paths = (path for path in (folder / "model").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    blobs = {path.relative_to(folder).as_posix(): blob_of(path.read_bytes(), length) for path in paths}
    return hashlib.sha256(os.fsencode("".join(f"{blobs[path]} {path}\n" for path in sorted(blobs)))).hexdigest()
