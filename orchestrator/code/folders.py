"""The code in a folder on the disk: its file names, modes and contents. No git."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.code.blobs import LINK, SUBMODULE, blob_name, is_cached, is_importable
from orchestrator.errors import CodeError


def find_modes(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return path -> mode of those paths that exist, but for Python's byte code.

    A path behind a link or inside another repository stands for that link or repository.

    Args:
        folder: the campaign's folder.
        paths: relative to it.

    Raises:
        CodeError: a path cannot be looked at.
    """
    seen: dict[str, str | None] = {}
    found: dict[str, str] = {}
    for path in paths:
        ends = (parent for parent in _parents(path) if _end_mode(folder, parent, seen) is not None)
        entry = next(ends, path)
        mode = _end_mode(folder, entry, seen) if entry != path else _mode(folder / path)
        if mode is not None and not is_cached(entry):
            found[entry] = mode
    return found


def _parents(path: str) -> Iterator[str]:
    """Yield the folders that lead to a path, the outermost first; none is the campaign's folder or around it."""
    parts = path.split("/")
    start = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return ("/".join(parts[:end]) for end in range(start + 1, len(parts)))


def _end_mode(folder: Path, parent: str, seen: dict[str, str | None]) -> str | None:
    """Return the mode of a folder that is not entered: a link or a repository; None for other folders."""
    if parent not in seen:
        path = folder / parent
        kinds = {LINK: path.is_symlink(), SUBMODULE: (path / ".git").exists()}
        seen[parent] = next((mode for mode, is_it in kinds.items() if is_it), None)
    return seen[parent]


def list_code(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and mode of everything in a checkout or copy but Python's byte code.

    Paths are relative to `folder`. A link or a repository inside is one entry, and is not entered.

    Raises:
        CodeError: a folder cannot be read.
    """
    for where, folders, files in os.walk(folder, onerror=_refuse):
        ends = [name for name in folders if _end_mode(Path(where), name, {}) is not None]
        # Changed in place: `os.walk` enters only the folders that are left in the list.
        folders[:] = [name for name in folders if name not in ends]
        for name in (*ends, *files):
            path = Path(where) / name
            relative, mode = path.relative_to(folder).as_posix(), _mode(path)
            if mode is not None and not is_cached(relative):
                yield relative, mode


def is_code_unchanged(folder: Path, blobs: Mapping[str, str]) -> bool:
    """Whether a checkout or copy has exactly these contents, and no other file that an import could find.

    Args:
        folder: the top of the checkout or copy.
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
    """Return the mode that git gives a path; None for what git does not store, such as a pipe."""
    try:
        found = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CodeError(f"{path}: the code that jobs run cannot be read: {error.strerror}") from None
    if stat.S_ISLNK(found):
        return LINK
    if stat.S_ISDIR(found):
        return SUBMODULE if (path / ".git").exists() else None
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
