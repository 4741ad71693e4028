"""Differences of the code between the disk and a commit, found by comparing contents.

`git status` is not enough. It trusts the index: it never reads a file marked `skip-worktree` or `assume-unchanged`, and
may skip one of the same size and time. It also leaves out ignored files. Each of these would run in a job. The user's
filters never run here: a filter may execute any program.
"""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.code.blobs import FILE_MODES, GONE, SUBMODULE, blob_name, is_cached, is_importable
from orchestrator.code.folders import find_modes, read_code
from orchestrator.code.git import Git, split_zeros
from orchestrator.code.pathspecs import Pathspecs, list_disk
from orchestrator.runs.paths import Paths

SKIPPED = "S"
"""Mark of `git ls-files -v` for a file that the index leaves out of the checkout."""
IGNORED = "git ignores it, `git add --force` takes it"
CONVERSIONS = ("filter", "ident", "working-tree-encoding")
"""Attributes by which git stores other bytes than those on the disk; line ends are handled apart."""
Committed = Mapping[str, tuple[str, str]]
"""Path from the campaign's folder -> mode and blob."""


@dataclass(frozen=True)
class Edit:
    """A path of the code that differs between the disk and the commit."""

    path: str
    mode: str
    """Mode on the disk; `GONE` where the path does not exist."""
    note: str = ""
    """Why `git status` does not show it, or what git would store instead."""

    def __str__(self) -> str:
        return f"{self.path} ({self.note})" if self.note else self.path


def find_edits(git: Git, folder: Path, committed: Committed, words: Pathspecs, length: int) -> list[Edit]:
    """Compare the code on the disk with that of a commit.

    Args:
        git: git in the campaign's folder.
        folder: the campaign's folder.
        committed: the files of the code in the commit.
        words: the pathspecs of the code.
        length: digits of git's names in this repository.

    Returns:
        The differences, sorted by path. Line ends that git itself would convert do not count.

    Raises:
        CodeError: a file cannot be read.
    """
    # `find_modes` skips byte code, so byte code in the commit would look deleted.
    known = {path: entry for path, entry in committed.items() if not is_cached(path)}
    found = find_modes(folder, [*known, *leave_out_own(list_disk(git, words), known)])
    gone = _leave_out_sparse(git, words, [path for path in known if path not in found])
    new = [path for path in found if path not in known]
    other = [path for path in found if path in known and not _is_same(folder / path, found[path], known[path], length)]
    converted = _find_converted(
        git, folder, {path: known[path][1] for path in other if found[path] in FILE_MODES}, length
    )
    edited = [path for path in other if path not in converted]
    notes = {
        **_describe_new(git, folder, words, {path: found[path] for path in new}),
        **_describe_conversions(git, edited),
        **_describe_hidden(git, words, [*gone, *edited]),
    }
    return [
        Edit(path, found.get(path, GONE), notes.get(path, ""))
        for path in sorted((*gone, *edited, *(path for path in new if path in notes)))
    ]


def leave_out_own(paths: Iterable[str], known: Iterable[str]) -> list[str]:
    """Leave out paths in the folders that hold results and reports, unless the commit has files there. Pure."""
    own = {folder.name for folder in (Paths(Path()).results, Paths(Path()).reports)}
    own -= {path.partition("/")[0] for path in known}
    return [path for path in paths if path.partition("/")[0] not in own]


def _is_same(path: Path, mode: str, entry: tuple[str, str], length: int) -> bool:
    # The permission to execute is no difference:
    # Python runs the file either way, and some file systems cannot store it.
    is_same_kind = mode == entry[0] or {mode, entry[0]} <= FILE_MODES
    return is_same_kind and (mode == SUBMODULE or blob_name(read_code(path, mode), length) == entry[1])


def _leave_out_sparse(git: Git, words: Pathspecs, gone: list[str]) -> list[str]:
    """Leave out missing files that a sparse checkout excludes: nobody has deleted them."""
    if not gone or git.ask("config", "--type=bool", "core.sparseCheckout") != "true":
        return gone
    marks = _read_marks(git, words)
    return [path for path in gone if marks.get(path) != SKIPPED]


def _read_marks(git: Git, words: Pathspecs) -> dict[str, str]:
    """Return path -> mark of `git ls-files -v`: a letter, in lower case for `assume-unchanged`."""
    entries = (entry.split(" ", 1) for entry in split_zeros(git("ls-files", "-v", "-z", "--", *words)))
    return {path: mark for mark, path in entries}


def _describe_hidden(git: Git, words: Pathspecs, edited: list[str]) -> dict[str, str]:
    """Return a note for each edited file that the index hides, with the command that shows it again."""
    marks = _read_marks(git, words) if edited else {}
    flags = {
        path: "skip-worktree" if marks[path] in (SKIPPED, SKIPPED.lower()) else "assume-unchanged"
        for path in edited
        if path in marks and (marks[path] == SKIPPED or marks[path].islower())
    }
    return {
        path: f"git overlooks it until `git update-index --no-{flag} {shlex.quote(path)}`"
        for path, flag in flags.items()
    }


def _find_converted(git: Git, folder: Path, blobs: Mapping[str, str], length: int) -> set[str]:
    """Return the files that differ from their blobs only in line ends that git itself would convert."""
    # The first test is cheap and may be wrong, because git need not convert this file. So git is asked about the rest.
    contents = ((path, read_code(folder / path, "")) for path in blobs)
    near = [path for path, content in contents if blob_name(convert_line_ends(content), length) == blobs[path]]
    names = name_stored_blobs(git, near)
    return {path for path in near if names.get(path) == blobs[path]}


def name_stored_blobs(git: Git, paths: list[str]) -> dict[str, str]:
    """Return path -> name of the content that `git add` would store without filters."""
    listed = git.ask(*git.without_filters(), "hash-object", "--", *paths) if paths else None
    return dict(zip(paths, listed.split(), strict=True)) if listed else {}


def convert_line_ends(content: bytes) -> bytes:
    """Return a text with the line ends that git stores."""
    return content.replace(b"\r\n", b"\n")


def read_stored(git: Git, folder: Path, edit: Edit, length: int) -> bytes:
    """Return the bytes that a snapshot stores for an edited file: those on the disk, with git's line ends.

    Raises:
        CodeError: it cannot be read.
    """
    content = read_code(folder / edit.path, edit.mode)
    if edit.mode not in FILE_MODES or b"\r\n" not in content:
        return content
    text = convert_line_ends(content)
    return text if name_stored_blobs(git, [edit.path]).get(edit.path) == blob_name(text, length) else content


def _describe_new(git: Git, folder: Path, words: Pathspecs, new: Mapping[str, str]) -> dict[str, str]:
    """Return the new files that count as code, each with a note.

    A file that git ignores counts only if an import could find it.

    Args:
        git: git in the campaign's folder.
        folder: the campaign's folder.
        words: the pathspecs of the code.
        new: path -> mode.
    """
    listed = git.ask("check-ignore", "-z", "--stdin", stdin=_listing(new)) if new else None
    ignored = set(split_zeros(listed or ""))
    return {
        path: IGNORED if path in ignored else ""
        for path, mode in new.items()
        if path not in ignored or is_importable(path) or (mode not in FILE_MODES and _is_package(folder, words, path))
    }


def _is_package(folder: Path, words: Pathspecs, path: str) -> bool:
    """Whether a link or a repository leads to a folder in which an import could find a file."""
    try:
        return path not in words and any(is_importable(f"{path}/{entry.name}") for entry in (folder / path).iterdir())
    except OSError:
        return False


def _describe_conversions(git: Git, edited: list[str]) -> dict[str, str]:
    """Return a note for each edited file whose attributes make git store other bytes than those on the disk."""
    if not edited:
        return {}
    listed = split_zeros(git("check-attr", "-z", "--stdin", *CONVERSIONS, stdin=_listing(edited)))
    rows = zip(listed[::3], listed[1::3], listed[2::3], strict=True)
    return {
        path: f"git stores other bytes for it: {attribute}={value}"
        for path, attribute, value in rows
        if value not in ("unspecified", "unset")
    }


def _listing(paths: Iterable[str]) -> bytes:
    return os.fsencode("".join(f"{path}\0" for path in paths))
