"""The code outside a git repository: which files the words of a task name, and copies of them."""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from msgspec import Struct

from orchestrator.code.blobs import CACHE, blob_name, write_listing
from orchestrator.code.folders import is_code_unchanged, read_code
from orchestrator.code.pathspecs import Pathspecs, name_code, refuse_unmatched
from orchestrator.errors import CodeError
from orchestrator.files import content_hash
from orchestrator.runs.paths import Paths

LISTING = "listing"
"""File in a copy of the code: the names and contents of all its files."""
MAX_CODE_BYTES = 2**28
"""Most bytes of code outside a repository: code is held in memory and copied."""
LEAVES_OUT = (":!", ":^")
"""What a word begins with whose files are left out."""
_PATTERN = re.compile(r"[*?\[]")


class CopiedFile(Struct, frozen=True):
    """A file of the code, as it is copied."""

    content: bytes
    is_executable: bool = False


def read_named(root: Path, code: Pathspecs) -> dict[str, CopiedFile]:
    """Read the files that a task's code names in a folder outside a repository. A link to a file counts as the file.

    A word is a path, a folder, or a pattern in which `*` also stands for `/`, as in git. `:!` before a word leaves its
    files out.

    Args:
        root: the campaign's folder.
        code: the words.

    Returns:
        Path from `root` -> file.

    Raises:
        CodeError: a word cannot be understood without git or matches nothing, a file cannot be read, or a link to a
            folder is among them.
    """
    left_out = [word[2:] for word in code if word.startswith(LEAVES_OUT)]
    named = [word for word in code if not word.startswith(LEAVES_OUT)] or ["."]
    found: dict[str, Path] = {}
    for word in named:
        matches = dict(_list_word(root, _require_understood(root, word)))
        if not matches:
            names = (entry.name for entry in root.iterdir())
            raise refuse_unmatched(root, word, names, f"a word is a path or a pattern, relative to {root}")
        found |= matches
    kept = {path: file for path, file in found.items() if not any(_matches(path, word) for word in left_out)}
    _refuse_large(root, kept, code)
    return {path: CopiedFile(read_code(file, ""), os.access(file, os.X_OK)) for path, file in sorted(kept.items())}


def _require_understood(root: Path, word: str) -> str:
    path = PurePosixPath(word)
    if word.startswith(":") or path.is_absolute() or ".." in path.parts:
        raise CodeError(
            f"{root}: `{word}` in `task.code` is not understood outside a git repository; there a word is a path or "
            "a pattern inside the campaign's folder, with `:!` before it to leave files out; `git init` makes a "
            "repository"
        )
    return word


def _list_word(root: Path, word: str) -> Iterator[tuple[str, Path]]:
    place = root / word
    if place.is_file():
        yield PurePosixPath(word).as_posix(), place
    elif place.is_dir() or (pattern := _PATTERN.search(word)) is None:
        yield from _walk(root, place)
    else:
        # The folder before the first sign of a pattern; the letter keeps `lib/*` from losing `lib`.
        folder = root / PurePosixPath(f"{word[: pattern.start()]}x").parent
        yield from ((path, file) for path, file in _walk(root, folder) if _matches(path, word))


def _matches(path: str, word: str) -> bool:
    plain = PurePosixPath(word).as_posix()
    return plain in {".", path} or path.startswith(f"{plain}/") or fnmatchcase(path, word)


def _walk(root: Path, top: Path) -> Iterator[tuple[str, Path]]:
    # A folder that is named is taken whole. A look at everything leaves out what is no code.
    is_entered = _is_named_entered if top != root else _is_entered
    for where, folders, files in os.walk(top, onerror=_refuse):
        # Changed in place: `os.walk` enters only the folders that are left in the list.
        folders[:] = [name for name in folders if is_entered(root, Path(where) / name)]
        for name in folders:
            if (Path(where) / name).is_symlink():
                raise CodeError(f"{Path(where) / name}: this is a link to a folder; put the folder itself there")
        for path in (Path(where) / name for name in files):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path


def _is_named_entered(_: Path, folder: Path) -> bool:
    return folder.name != CACHE


def _is_entered(root: Path, folder: Path) -> bool:
    """Whether code is looked for in a folder: not in byte code, results, hidden folders and virtual environments."""
    is_left_out = folder.name == CACHE or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()
    return not is_left_out and folder not in {Paths(root).results, Paths(root).reports}


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder holds no code
        raise CodeError(f"{error.filename}: the code that jobs run cannot be read: {error.strerror}") from None


def _refuse_large(root: Path, files: Mapping[str, Path], code: Pathspecs) -> None:
    num_bytes = sum(file.stat().st_size for file in files.values())
    if num_bytes > MAX_CODE_BYTES:
        raise CodeError(
            f"{root}: {name_code(code)} holds {num_bytes / 2**20:.0f} MiB, and at most {MAX_CODE_BYTES // 2**20} are "
            "copied; leave data out of `task.code` and name them in `task.data`"
        )


def write_copy(files: Mapping[str, CopiedFile], copy: Path) -> None:
    """Write a copy of the code whole, with its listing.

    Raises:
        OSError: it cannot be written, or is there.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        whole = Path(folder) / "whole"
        for path, file in files.items():
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            if file.is_executable:
                target.chmod(target.stat().st_mode | 0o111)
        (whole / LISTING).write_bytes(write_listing({path: blob_name(file.content) for path, file in files.items()}))
        # Renamed when complete, so that no process ever sees half a copy.
        whole.rename(copy)


def require_copy(copy: Path, code_hash: str) -> None:
    """Refuse a copy that was changed: its listing must have the hash, and its files must be those of the listing.

    A copy of an older version has no listing, and is accepted.

    Raises:
        CodeError: it was changed.
    """
    try:
        listing = (copy / LISTING).read_bytes()
    except FileNotFoundError:
        return
    pairs = (line.split(" ", 1) for line in os.fsdecode(listing).split("\n")[:-1])
    if content_hash(listing) != code_hash or not is_code_unchanged(copy, {path: blob for blob, path in pairs}):
        raise CodeError(
            f"{copy}: this copy of the code is not what it was when runs were queued with it; remove it, and queue the "
            f"runs again: rm -r {shlex.quote(str(copy))}"
        )


def copy_for_run(copy: Path, target: Path) -> None:
    """Give one run its own files of a copy. What is at `target` is removed first.

    Raises:
        CodeError: they cannot be written.
    """
    try:
        remove_copy(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(copy, target, ignore=lambda folder, _: [LISTING] if Path(folder) == copy else [])
    except (OSError, shutil.Error) as error:
        raise CodeError(f"{target}: a copy of the code for one run cannot be written: {error}") from None


def remove_copy(target: Path) -> None:
    """Remove the files of one run; links are removed, and what they lead to stays.

    Raises:
        CodeError: they cannot be removed.
    """
    try:
        if target.exists():
            shutil.rmtree(target)
    except OSError as error:
        raise CodeError(f"{target}: the files of this run cannot be removed: {error.strerror}") from None
