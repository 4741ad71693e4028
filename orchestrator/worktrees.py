"""Checkouts of a commit outside the user's, made by `git worktree`: whole or not at all, and never over other files."""

import shlex
import shutil
from pathlib import Path

from orchestrator.errors import CodeError
from orchestrator.plumbing import Git, GitError

AS_COMMITTED = (
    "-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null",
    "-c", "core.sparseCheckout=false",
)  # fmt: skip
"""A job runs the bytes of the commit, whatever line endings and folders the user's own checkout has."""
HALF_MADE = "initializing"
"""Reason of the lock that git holds while it makes a worktree."""


def add(git: Git, commit: str, path: Path) -> None:
    """Check a commit out at `path`, without a branch, unless it is there already.

    Raises:
        CodeError: git refuses, or something else is at `path`.
    """
    if _is_there(git, commit, path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Forced twice, it takes over the entry of a worktree that was deleted, also of a locked one. `git worktree
        # prune` would do that too, and with it remove what another process is about to make.
        git(*AS_COMMITTED, "worktree", "add", "--detach", "--force", "--force", str(path), commit)
    except GitError as error:
        raise CodeError(f"git cannot check out {commit[:12]} at {path}: {error.words}") from None


def _is_there(git: Git, commit: str, path: Path) -> bool:
    """Whether the whole commit is at `path`; remains of a process that was killed are removed."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if not (path / ".git").is_file():
        raise _in_the_way(commit, path, "other files are there", "mv")
    if _is_half_made(path):
        remove(git, path)
        return False
    here = Git(path)
    if (found := here.ask("rev-parse", "--verify", "--quiet", "HEAD")) is None:
        raise _in_the_way(commit, path, "a checkout is there that git no longer knows", "mv")
    if found != commit:
        raise _in_the_way(commit, path, f"{found[:12]} is checked out there", "git worktree move")
    return _is_whole(git, here, commit, path)


def _is_whole(git: Git, here: Git, commit: str, path: Path) -> bool:
    states = here(*AS_COMMITTED, "status", "--porcelain", "--no-renames", "--untracked-files=no").splitlines()
    if not all(state.startswith(" D ") for state in states):
        raise _in_the_way(commit, path, "its files were changed", "git worktree move")
    if states:
        # Removing it was cut short.
        remove(git, path)
    return not states


def _in_the_way(commit: str, path: Path, found: str, command: str) -> CodeError:
    moved = f"{command} {shlex.quote(str(path))} {shlex.quote(f'{path}.moved')}"
    return CodeError(f"{path}: {commit[:12]} is to be checked out here, and {found}; move that away: {moved}")


def _is_half_made(path: Path) -> bool:
    return _lock_reason(path) == HALF_MADE or [entry.name for entry in path.iterdir()] == [".git"]


def _lock_reason(path: Path) -> str | None:
    """Return why a worktree is locked; None where it is not."""
    try:
        entry = (path / ".git").read_text(errors="replace").strip().removeprefix("gitdir: ")
        return (path / entry / "locked").read_text().strip()
    except OSError:
        return None


def remove(git: Git, path: Path) -> None:
    """Remove a checkout made by `add`, also one that is broken or that git no longer knows.

    Raises:
        CodeError: the user has locked it, or it is a repository of its own.
    """
    reason = _lock_reason(path)
    if reason not in {None, HALF_MADE}:
        because = f" ({reason})" if reason else ""
        raise CodeError(f"{path}: this worktree is locked{because}; run `git worktree unlock {shlex.quote(str(path))}`")
    if (path / ".git").is_dir():
        raise CodeError(f"{path}: this is a repository and no worktree of ours; move it away: mv {path} {path}.moved")
    command = ("worktree", "remove", "--force", "--force", str(path))
    if git.ask(*command) is None:
        shutil.rmtree(path, ignore_errors=True)
        # Now only git's entry is left, if any.
        git.ask(*command)
