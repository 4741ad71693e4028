"""Which files may be the code of a job, and how git names their contents. Pure.

One rule holds for the base commit, a snapshot, a patch and a ref: code is source files, whose bytes are hashed. Links
and submodules are refused, since what they lead to is not in the hash.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.machinery import all_suffixes
from pathlib import Path, PurePosixPath

from orchestrator.files import content_hash

EXECUTABLE = "100755"
"""Mode, in a tree of git, of a file that may be executed."""
FILE_MODES = frozenset({"100644", EXECUTABLE})
"""Modes of files in a tree of git: without and with the permission to execute them."""
LINK = "120000"
"""Mode of a symbolic link."""
SUBMODULE = "160000"
"""Mode of a submodule: a commit of another repository."""
GONE = "000000"
"""Mode that git shows for a path that does not exist."""
KINDS = {LINK: "a symbolic link", SUBMODULE: "a submodule"}
ATTRIBUTES = ".gitattributes"
CACHE = "__pycache__"
"""Folder in which Python keeps byte code."""
LENGTH_OF_SHA1 = 40
"""Hexadecimal digits of a name in an ordinary repository; one that uses SHA-256 has 64."""
BYTE_CODE = (".pyc", ".pyo")
"""Endings of byte code; Python may run it instead of the source that a person reads."""


def describe_fault(path: str, mode: str) -> str | None:
    """Say why a file must not be code of a job; None if it may be.

    Args:
        path: relative to the campaign's folder.
        mode: its mode in a tree of git.
    """
    if mode in KINDS:
        return KINDS[mode]
    return "byte code" if mode != GONE and is_byte_code(path) else None


def describe_submodule(path: Path, top: Path) -> str:
    """Say that code is in a submodule of the repository at `top`, and how to move it out."""
    name = path.relative_to(top)
    return (
        f"{path}: the code that jobs run is in a submodule, whose files are not in the commits of {top}; put the files "
        f"themselves there, in {top}: git rm --cached {name} && rm -rf {name}/.git && git add {name} && git commit"
    )


def is_byte_code(path: str) -> bool:
    """Whether a file is byte code by its ending or its folder."""
    return path.endswith(BYTE_CODE) or is_cached(path)


def is_cached(path: str) -> bool:
    """Whether a file lies in a `__pycache__`, which Python writes by itself."""
    return CACHE in PurePosixPath(path).parts


def is_importable(path: str) -> bool:
    """Whether an `import` could find a file: its ending is one of Python's, and all names in its path are identifiers.

    Examples are `model/x.py` and `model/x.cpython-311-x86_64-linux-gnu.so`, but not `model/my-notes.py`.
    """
    *folders, name = (part for part in PurePosixPath(path).parts if part != "..")
    endings = [ending for ending in all_suffixes() if name.endswith(ending)]
    stem = name.removesuffix(max(endings, key=len, default=""))
    return bool(endings) and all(part.isidentifier() for part in (*folders, stem))


def blob_name(content: bytes, length: int = LENGTH_OF_SHA1) -> str:
    """Return git's name of a content.

    Args:
        content: the bytes of the file.
        length: digits of a name in the repository: 40 for SHA-1, 64 for SHA-256.
    """
    made = hashlib.sha256() if length > LENGTH_OF_SHA1 else hashlib.sha1(usedforsecurity=False)
    made.update(f"blob {len(content)}\0".encode() + content)
    return made.hexdigest()


def list_few(names: Sequence[str]) -> str:
    """Join names by commas; of more than five, the first five and the number of the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def hash_listing(blobs: Mapping[str, str]) -> str:
    """Return the SHA-256, in hexadecimal, of a listing of files.

    Args:
        blobs: path from the campaign's folder -> git's name of the content.
    """
    return content_hash(write_listing(blobs))


def write_listing(blobs: Mapping[str, str]) -> bytes:
    """Return a listing of files: a line `BLOB PATH` each, sorted by path."""
    return os.fsencode("".join(f"{blob} {path}\n" for path, blob in sorted(blobs.items())))
