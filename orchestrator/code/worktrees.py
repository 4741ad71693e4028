"""Checkouts of a commit outside the user's own, made by `git worktree`. None is ever made over other files.

A worktree that jobs share holds exactly the task's code: large files elsewhere in the repository are never fetched. A
worktree of one run holds the whole commit, since a script reads files beside its code. Git's attributes and filters are
bypassed in both, so the bytes that were hashed are the bytes that run.
"""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from pathlib import Path

from orchestrator.code.blobs import EXECUTABLE, LINK, SUBMODULE, blob_name, describe_fault
from orchestrator.code.folders import is_code_unchanged, list_code
from orchestrator.code.git import Git, GitError, split_zeros
from orchestrator.code.pathspecs import Files, Pathspecs, list_tree, with_spec
from orchestrator.errors import CodeError
from orchestrator.runs.order import DEFAULT_CODE

AS_COMMITTED = (
    "-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null",
    "-c", "core.sparseCheckout=false",
)  # fmt: skip
"""Settings for a checkout with the bytes of the commit, whatever line ends and folders the user has set."""
ADD = ("worktree", "add", "--detach", "--force", "--force")
"""The command that adds a worktree. Forced twice, it reuses the entry of a deleted worktree, even of a locked one.

`git worktree prune` would free that entry too, but also remove a worktree that another process is just making."""
HALF_MADE = "initializing"
"""Reason of the lock on a worktree whose files are still being written."""
BATCH_BYTES = 2**26
"""Contents that are held in memory at once, in bytes, unless one file is larger."""


def add(git: Git, commit: str, path: Path, code: Pathspecs = DEFAULT_CODE) -> None:
    """Check out the code of a commit at `path`, without a branch, unless it is there already.

    Args:
        git: git in the campaign's folder.
        commit: its full name.
        path: the new folder.
        code: pathspecs of the code, relative to the campaign's folder.

    Raises:
        CodeError: git refuses, something else is at `path`, or it cannot be written.
    """
    with _explained(commit, path):
        files = _list_code(git, commit, code)
        if not _is_there(git, commit, path, files):
            _make(git, commit, path, code, [files])


def add_for_run(git: Git, commit: str, path: Path) -> None:
    """Check out all files of a commit at `path`, without a branch. What is there is removed first.

    Raises:
        CodeError: git refuses, or it cannot be written.
    """
    with _explained(commit, path):
        if path.exists():
            remove(git, path)
        _make(git, commit, path, (), _list_all(git, commit))
        # A script may ask git which files it changed: without an index, all would look deleted.
        Git(path)("-c", "core.sparseCheckout=false", "read-tree", commit)


@contextlib.contextmanager
def _explained(commit: str, path: Path) -> Iterator[None]:
    try:
        yield
    except GitError as error:
        raise CodeError(f"git cannot check out {commit[:12]} at {path}: {error.words}") from None
    except OSError as error:
        raise _unwritable(path, error) from None


def _make(git: Git, commit: str, path: Path, code: Pathspecs, batches: Iterable[Files]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Git would convert line ends and run filters while it checks out. So the blobs are written by `_write_files`.
    git(*ADD, "--no-checkout", "--lock", "--reason", HALF_MADE, str(path), commit)
    for files in batches:
        _write_files(git, commit, path, code, files)
    # The lock marks a half-made worktree: if this process is killed before here, the next one starts over.
    git("worktree", "unlock", str(path))


def add_whole(git: Git, commit: str, path: Path) -> None:
    """Check out a whole commit at a new `path`, for a person. Filters do not run: files are as git stores them.

    Raises:
        CodeError: git refuses, or it cannot be written.
    """
    with _explained(commit, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        git(*git.without_filters(), *AS_COMMITTED, *ADD, str(path), commit)


def _unwritable(path: Path, error: OSError) -> CodeError:
    return CodeError(
        f"{error.filename or path}: {error.strerror}; worktrees of experiments go to {path.parent}: free or mend that "
        "folder, or name another one for all caches in the variable XDG_CACHE_HOME"
    )


def _list_code(git: Git, commit: str, code: Pathspecs) -> Files:
    files = list_tree(git, commit, with_spec(code), len(commit))
    for path, (mode, _) in files.items():
        if fault := describe_fault(path, mode):
            raise CodeError(
                f"{commit[:12]} has {path}, which is {fault}: jobs run source files; commit the file itself"
            )
    return files


def _list_all(git: Git, commit: str) -> list[Files]:
    """Return all files of a commit, in parts whose contents are held in memory at once."""
    listed = split_zeros(git("ls-tree", "-r", "-l", "-z", "--full-tree", commit))
    rows = [(path, meta.split()) for meta, _, path in (line.partition("\t") for line in listed)]
    # Git gives no size of a submodule, or of a content that a partial clone lacks.
    starts = accumulate((int(meta[3]) if meta[3].isdigit() else 0 for _, meta in rows), initial=0)
    parts = groupby(zip(rows, starts, strict=False), key=lambda each: each[1] // BATCH_BYTES)
    return [{path: (meta[0], meta[2]) for (path, meta), _ in part} for _, part in parts]


def _write_files(git: Git, commit: str, folder: Path, code: Pathspecs, files: Files) -> None:
    contents = _read_contents(git, [blob for mode, blob in files.values() if mode != SUBMODULE])
    for path, (mode, blob) in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == SUBMODULE:
            target.mkdir()
        elif blob not in contents or blob_name(contents[blob], len(blob)) != blob:
            words = f" {shlex.join(code)}" if code else ""
            raise CodeError(
                f"{path} of commit {commit[:12]}: its content is not in this repository, as in a clone that fetches "
                f"contents only when they are needed; fetch it: git archive --output=/dev/null {commit}{words}"
            )
        elif mode == LINK:
            target.symlink_to(os.fsdecode(contents[blob]))
        else:
            target.write_bytes(contents[blob])
            if mode == EXECUTABLE:
                target.chmod(target.stat().st_mode | 0o111)


def _read_contents(git: Git, blobs: list[str]) -> dict[str, bytes]:
    try:
        return _read_blobs(git, blobs)
    except GitError:
        # In a clone that lacks contents git fails at the first missing one. Without contents the caller names its file.
        if git.ask("config", "--get-regexp", r"^remote\..*\.promisor$") is None:
            raise
        return {}


def _read_blobs(git: Git, blobs: list[str]) -> dict[str, bytes]:
    """Return blob -> content for each blob that this repository holds."""
    answer = git.read("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
    # Git answers with `NAME blob SIZE`, a line break, the content and a line break.
    # For a missing blob it is `NAME missing`.
    contents, start = {}, 0
    while start < len(answer):
        end = answer.index(b"\n", start)
        name, *found = answer[start:end].decode().split()
        start = end + 1
        if len(found) == len(("blob", "its size")):
            size = int(found[1])
            contents[name] = answer[start : start + size]
            start += size + 1
    return contents


def _is_there(git: Git, commit: str, path: Path, files: Files) -> bool:
    """Whether the whole code is at `path`. What a killed process has left there is removed."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if not (path / ".git").is_file():
        raise _in_the_way(commit, path, "other files are there", "mv")
    if _is_half_made(path):
        remove(git, path)
        return False
    if (found := Git(path).ask("rev-parse", "--verify", "--quiet", "HEAD")) is None:
        raise _in_the_way(commit, path, "a checkout is there that git no longer knows", "mv")
    if found != commit:
        raise _in_the_way(commit, path, f"{found[:12]} is checked out there", "git worktree move")
    return _is_whole(git, commit, path, files)


def _is_whole(git: Git, commit: str, path: Path, files: Files) -> bool:
    there = {name for name, _ in list_code(path)}
    if not is_code_unchanged(path, {name: blob for name, (_, blob) in files.items() if name in there}):
        raise _in_the_way(commit, path, "its files were changed", "git worktree move")
    if files.keys() - there:
        # A process was killed while it removed this worktree: files are missing, but none was changed.
        remove(git, path)
        return False
    return True


def _in_the_way(commit: str, path: Path, found: str, command: str) -> CodeError:
    moved = f"{command} {shlex.quote(str(path))} {shlex.quote(f'{path}.moved')}"
    return CodeError(f"{path}: {commit[:12]} is to be checked out here, and {found}; move that away: {moved}")


def _is_half_made(path: Path) -> bool:
    return _lock_reason(path) == HALF_MADE or [entry.name for entry in path.iterdir()] == [".git"]


def _lock_reason(path: Path) -> str | None:
    """Return the reason why a worktree is locked; None if it is not."""
    try:
        entry = (path / ".git").read_text(errors="replace").strip().removeprefix("gitdir: ")
        return (path / entry / "locked").read_text().strip()
    except OSError:
        return None


def remove(git: Git, path: Path) -> None:
    """Remove a checkout made by `add`, also one that is broken or that git no longer knows.

    Raises:
        CodeError: the user has locked it, it is a repository of its own, or its files cannot be removed.
    """
    reason = _lock_reason(path)
    if reason not in {None, HALF_MADE}:
        because = f" ({reason})" if reason else ""
        raise CodeError(f"{path}: this worktree is locked{because}; run `git worktree unlock {shlex.quote(str(path))}`")
    try:
        if (path / ".git").is_dir():
            raise CodeError(
                f"{path}: this is a repository and no worktree of ours; move it away: mv {path} {path}.moved"
            )
        _remove_files(git, path)
    except OSError as error:
        raise CodeError(f"{path}: this worktree cannot be removed: {error.strerror}; ask its owner to do it") from None


def _remove_files(git: Git, path: Path) -> None:
    command = ("worktree", "remove", "--force", "--force", str(path))
    if git.ask(*command) is None:
        # Git may no longer know the folder. Another process may be removing it at the same time.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
        # With the folder gone, git can drop its entry, if it has one.
        git.ask(*command)
