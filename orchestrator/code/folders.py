"""The code in a folder on the disk: its file names, contents and hash. No git."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.code.blobs import (
    CACHE,
    CODE,
    LENGTH_OF_SHA1,
    LINK,
    SUBMODULE,
    blob_name,
    hash_listing,
    is_cached,
    is_importable,
)
from orchestrator.errors import CodeError


def list_code(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and mode of everything under `model/` but Python's byte code.

    Paths are relative to `folder`. A link or a repository inside is one entry, and is not entered.

    Raises:
        CodeError: a folder cannot be read.
    """
    top = folder / CODE
    if top.is_symlink():
        yield CODE, LINK
        return
    for where, folders, files in os.walk(top, onerror=_refuse):
        inner = [name for name in folders if (Path(where) / name / ".git").exists()]
        links = [name for name in folders if (Path(where) / name).is_symlink()]
        # Changed in place: `os.walk` enters only the folders that are left in the list.
        folders[:] = [name for name in folders if name not in {*inner, *links}]
        for name in (*inner, *links, *files):
            path = Path(where) / name
            relative = path.relative_to(folder).as_posix()
            mode = SUBMODULE if name in inner else _mode(path)
            if mode is not None and not is_cached(relative):
                yield relative, mode


def is_code_unchanged(folder: Path, blobs: Mapping[str, str]) -> bool:
    """Whether the code in a folder has exactly these contents, and no other file that an import could find.

    Args:
        folder: the campaign's folder, or a checkout or copy of it.
        blobs: path from it -> git's name of the content. Other files may lie there too, such as data that the code
            writes beside itself.

    Raises:
        CodeError: a file cannot be read.
    """
    # A file that is only there counts too, if an import finds it: it would change what the job runs.
    there = dict(list_code(folder))
    return all(
        path in there and blob_name(read_code(folder / path, there[path]), len(blob)) == blob
        for path, blob in blobs.items()
    ) and not any(is_importable(path) for path in there.keys() - blobs.keys())


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder holds no code
        raise CodeError(f"{error.filename}: the code that jobs run cannot be read: {error.strerror}") from None


def _mode(path: Path) -> str | None:
    """Return the mode that git gives a file; None for what git does not store, such as a pipe."""
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found):
        return LINK
    if not stat.S_ISREG(found):
        return None
    return "100755" if found & stat.S_IXUSR else "100644"


def read_code(path: Path, mode: str) -> bytes:
    """Return the bytes of a file, or the target of a link.

    Raises:
        CodeError: it cannot be read.
    """
    try:
        return os.fsencode(path.readlink()) if mode == LINK else path.read_bytes()
    except OSError as error:
        raise CodeError(f"{path}: the code that jobs run cannot be read: {error.strerror}") from None


def read_code_folder(folder: Path) -> dict[str, bytes]:
    """Return the code in a folder outside a repository: `model/...` -> content. A link to a file counts as the file.

    Raises:
        CodeError: a file cannot be read. A link to a folder is refused: another program could change the code there.
    """
    found = {}
    for where, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if name != CACHE]
        for name in folders:
            if (Path(where) / name).is_symlink():
                raise CodeError(f"{Path(where) / name}: this is a link to a folder; put the folder itself there")
        for path in (Path(where) / name for name in files):
            if path.is_file():
                found[f"{CODE}/{path.relative_to(folder).as_posix()}"] = read_code(path, "")
    return found


def hash_code_folder(folder: Path, length: int = LENGTH_OF_SHA1) -> str:
    """Hash the code in a folder; `Repository.code_hash` returns the same value for the same code.

    Args:
        folder: the code itself, such as `<campaign>/model`.
        length: digits of git's names in the repository whose code is compared.

    Raises:
        CodeError: a file cannot be read.
    """
    return hash_listing({path: blob_name(content, length) for path, content in read_code_folder(folder).items()})
