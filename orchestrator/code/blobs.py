"""Which files may be the code of a job, and what their bytes are called. Pure.

One rule holds for the campaign's own commit, a snapshot, a patch and a ref: only files whose own bytes are hashed.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.machinery import all_suffixes
from pathlib import Path, PurePosixPath

CODE = "model"
"""The folder whose code a job runs."""
EXECUTABLE = "100755"
"""Mode of a file in a tree that may be executed."""
FILE_MODES = frozenset({"100644", EXECUTABLE})
"""Modes of a file in a tree: without and with the permission to execute it."""
LINK = "120000"
"""Mode of a symbolic link in a tree."""
SUBMODULE = "160000"
"""Mode of a submodule in a tree: the commit of another repository."""
GONE = "000000"
"""Mode of a path that is not there."""
KINDS = {LINK: "a symbolic link", SUBMODULE: "a submodule"}
ATTRIBUTES = ".gitattributes"
CACHE = "__pycache__"
"""Folder of byte code that Python leaves behind."""
LENGTH_OF_SHA1 = 40
BYTE_CODE = (".pyc", ".pyo")
"""Endings of byte code, which Python may run in place of the source that a person reads."""


def fault_of(path: str, mode: str) -> str | None:
    """Say why a file may not be code of a job; None where it may.

    Args:
        path: from the campaign's folder.
        mode: as git writes it in a tree.
    """
    if mode in KINDS:
        return KINDS[mode]
    return "byte code" if mode != GONE and is_byte_code(path) else None


def in_submodule(path: Path, top: Path) -> str:
    """Say that code is in a submodule of the repository at `top`, and how it gets out of it."""
    name = path.relative_to(top)
    return (
        f"{path}: the code that jobs run is in a submodule, whose files are not in the commits of {top}; put the files "
        f"themselves there, in {top}: git rm --cached {name} && rm -rf {name}/.git && git add {name} && git commit"
    )


def is_byte_code(path: str) -> bool:
    """Whether a file is Python's byte code, or lies where Python keeps it."""
    return path.endswith(BYTE_CODE) or is_cached(path)


def is_cached(path: str) -> bool:
    """Whether a file lies in a folder that Python fills with byte code by itself."""
    return CACHE in PurePosixPath(path).parts


def is_importable(path: str) -> bool:
    """Whether an `import` could find a file, or a folder that is named as one: all its names are identifiers."""
    *folders, name = PurePosixPath(path).parts
    endings = [ending for ending in all_suffixes() if name.endswith(ending)]
    stem = name.removesuffix(max(endings, key=len, default=""))
    return bool(endings) and all(part.isidentifier() for part in (*folders, stem))


def blob_name(content: bytes, length: int = LENGTH_OF_SHA1) -> str:
    """Return what git calls these bytes in a repository whose names have this length: SHA-1 (40) or SHA-256 (64)."""
    made = hashlib.sha256() if length > LENGTH_OF_SHA1 else hashlib.sha1(usedforsecurity=False)
    made.update(f"blob {len(content)}\0".encode() + content)
    return made.hexdigest()


def few(names: Sequence[str]) -> str:
    """List names, of many only the first five."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def hash_listing(blobs: Mapping[str, str]) -> str:
    """Hash the names and contents of files: path from the campaign's folder -> name of its bytes."""
    return hashlib.sha256(write_listing(blobs)).hexdigest()


def write_listing(blobs: Mapping[str, str]) -> bytes:
    """List files and the names of their bytes, one a line."""
    return os.fsencode("".join(f"{blob} {path}\n" for path, blob in sorted(blobs.items())))
