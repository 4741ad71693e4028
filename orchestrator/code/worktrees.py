"""Checkouts of a commit outside the user's own, made by `git worktree`. None is ever made over other files.

A job's worktree holds exactly the campaign's code. Git's attributes and filters are bypassed, so the bytes that were
hashed are the bytes that run. Large files elsewhere in the repository are never fetched.
"""

import contextlib
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from orchestrator.code.blobs import CODE, EXECUTABLE, blob_name, describe_fault
from orchestrator.code.folders import is_code_unchanged, list_code
from orchestrator.code.git import Git, GitError, split_zeros
from orchestrator.code.steps import SPEC_FILE
from orchestrator.errors import CodeError

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
SPEC_FOLDER = str(PurePosixPath(SPEC_FILE).parent)
"""Folder in an experiment's commit that says what the experiment is."""
Files = Mapping[str, tuple[str, str]]
"""Path from the top of the repository -> mode and blob."""


def add(git: Git, commit: str, path: Path, prefix: str = "") -> None:
    """Check out the code of a commit at `path`, without a branch, unless it is there already.

    Args:
        git: git in the repository.
        commit: its full name.
        path: the new folder.
        prefix: the campaign's folder inside the repository, ending in `/` unless it is the top.

    Raises:
        CodeError: git refuses, something else is at `path`, or it cannot be written.
    """
    try:
        files = _list_files(git, commit, prefix)
        if _is_there(git, commit, path, prefix, files):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Git would convert line ends and run filters while it checks out. So the blobs are written by `_write_files`.
        git(*ADD, "--no-checkout", "--lock", "--reason", HALF_MADE, str(path), commit)
        _write_files(git, commit, path, files)
        # The lock marks a half-made worktree: if this process is killed before here, the next one starts over.
        git("worktree", "unlock", str(path))
    except GitError as error:
        raise CodeError(f"git cannot check out {commit[:12]} at {path}: {error.words}") from None
    except OSError as error:
        raise _unwritable(path, error) from None


def add_whole(git: Git, commit: str, path: Path) -> None:
    """Check out a whole commit at a new `path`, for a person. Filters do not run: files are as git stores them.

    Raises:
        CodeError: git refuses, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        git(*git.without_filters(), *AS_COMMITTED, *ADD, str(path), commit)
    except GitError as error:
        raise CodeError(f"git cannot check out {commit[:12]} at {path}: {error.words}") from None
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> CodeError:
    return CodeError(
        f"{error.filename or path}: {error.strerror}; worktrees of experiments go to {path.parent}: free or mend that "
        "folder, or name another one for all caches in the variable XDG_CACHE_HOME"
    )


def _list_files(git: Git, commit: str, prefix: str) -> Files:
    command = ("ls-tree", "-r", "-z", "--full-tree", commit, "--", f"{prefix}{CODE}", f"{prefix}{SPEC_FOLDER}")
    files = {}
    for line in split_zeros(git(*command)):
        meta, _, path = line.partition("\t")
        mode, _, blob = meta.split()
        if fault := describe_fault(path, mode):
            raise CodeError(
                f"{commit[:12]} has {path}, which is {fault}: jobs run source files; commit the file itself"
            )
        files[path] = (mode, blob)
    return files


def _write_files(git: Git, commit: str, folder: Path, files: Files) -> None:
    try:
        contents = _read_blobs(git, [blob for _, blob in files.values()])
    except GitError:
        # In a clone that lacks contents git fails at the first missing one. Without contents the loop names its file.
        if git.ask("config", "--get-regexp", r"^remote\..*\.promisor$") is None:
            raise
        contents = {}
    for path, (mode, blob) in files.items():
        if blob not in contents or blob_name(contents[blob], len(blob)) != blob:
            raise CodeError(
                f"{path} of commit {commit[:12]}: its content is not in this repository, as in a clone that fetches "
                f"contents only when they are needed; fetch it: git archive --output=/dev/null {commit} {CODE}"
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[blob])
        if mode == EXECUTABLE:
            target.chmod(target.stat().st_mode | 0o111)


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


def _is_there(git: Git, commit: str, path: Path, prefix: str, files: Files) -> bool:
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
    return _is_whole(git, commit, path, prefix, files)


def _is_whole(git: Git, commit: str, path: Path, prefix: str, files: Files) -> bool:
    wanted = {
        name.removeprefix(prefix): blob for name, (_, blob) in files.items() if name.startswith(f"{prefix}{CODE}/")
    }
    there = {name for name, _ in list_code(path / prefix)}
    if not is_code_unchanged(path / prefix, {name: blob for name, blob in wanted.items() if name in there}):
        raise _in_the_way(commit, path, "its files were changed", "git worktree move")
    if wanted.keys() - there:
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
