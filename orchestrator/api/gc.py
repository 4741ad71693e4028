"""`knockout gc` and `knockout checkout`: worktrees and branches of experiments. The user's checkout stays as it is."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.code import worktrees
from orchestrator.code.checkouts import Leftover, leftover_worktrees, remove_worktree
from orchestrator.code.refs import BranchName, ExperimentCommit, KnownCommit
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError, UsageError
from orchestrator.queue.control import reconciled
from orchestrator.queue.reconcile import held_rows
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.paths import Paths, find_paths
from orchestrator.wording import did_you_mean

LEFTOVER_SECONDS = 3600.0
"""A temporary file of this age is left over: its writer would have finished."""


class Tidying(Struct, frozen=True, kw_only=True):
    """What `gc` removes and what it keeps."""

    worktrees: tuple[Leftover, ...]
    branches: tuple[ExperimentCommit, ...]
    """To be retired: their commits stay under `refs/knockout/`."""
    kept: dict[str, str]
    """Branch or folder -> why it stays."""
    temporary_files: tuple[Path, ...] = ()
    """Left-over temporary files, from a `queue add` that was killed."""

    def sentences(self, *, is_done: bool) -> list[str]:
        """Return it as sentences, before or after it is done."""
        removed, retired = ("removed", "retired") if is_done else ("would remove", "would retire")
        lines = [f"{removed} the worktree {left.path}: process {left.pid} is gone" for left in self.worktrees]
        for branch in self.branches:
            kept_ref = BranchName.parse(branch.branch).kept_ref
            lines.append(f"{retired} {branch.branch}: its commit {branch.commit[:12]} stays as {kept_ref}")
        lines += [f"{removed} the half-written file {path}" for path in self.temporary_files]
        lines += [f"kept {what}: {why}" for what, why in self.kept.items()]
        is_any = self.worktrees or self.branches or self.temporary_files
        return lines if is_any else [*lines, "there is nothing to remove"]


class Queue(Struct, frozen=True, kw_only=True):
    """The rows of the queue, and those that a living process holds."""

    rows: tuple[QueuedRun, ...] = ()
    held: tuple[QueuedRun, ...] = ()


def decide(
    leftovers: Sequence[Leftover],
    branches: Sequence[ExperimentCommit],
    queue: Queue,
    keepers: Mapping[str, str],
    checked_out: Mapping[str, Path],
) -> Tidying:
    """Decide what is removed: worktrees that no job runs in, and branches of experiments with no open run. Pure.

    Args:
        leftovers: worktrees whose `run` is gone.
        branches: the branches of experiments that are open.
        queue: every run that is known.
        keepers: experiment -> commit of its keeper tag.
        checked_out: branch -> the checkout that stands on it.
    """
    holders = [row.worker for row in queue.held if row.worker is not None]
    in_use = [left for left in leftovers if any(left.was_made_by(holder) for holder in holders)]
    kept = {str(left.path): "its job is still at work" for left in in_use}
    # A branch is only retired: its commit stays under `refs/knockout/`, so results can still be traced to their code.
    retired = []
    for branch in branches:
        why = _why_kept(branch, queue, keepers, checked_out)
        if why is None:
            retired.append(branch)
        else:
            kept[branch.branch] = why
    return Tidying(
        worktrees=tuple(left for left in leftovers if left not in in_use), branches=tuple(retired), kept=kept
    )


def _why_kept(
    branch: ExperimentCommit, queue: Queue, keepers: Mapping[str, str], checked_out: Mapping[str, Path]
) -> str | None:
    experiment = BranchName.parse(branch.branch).experiment
    rows = [row for row in queue.rows if row.experiment == experiment]
    open_rows = [row for row in rows if not row.state.is_final]
    held = [row for row in queue.held if row.experiment == experiment]
    if keepers.get(experiment) == branch.commit:
        return f"it is the keeper keeper/{experiment}"
    if branch.branch in checked_out:
        return f"it is checked out at {checked_out[branch.branch]}"
    if not rows:
        return f"no run of {experiment} is known, so nobody can say that it is settled; `knockout rebuild` reads them"
    if open_rows:
        return f"{open_rows[0].id} is {open_rows[0].state.value}"
    if held:
        return f"process {held[0].pid} may still judge {held[0].id}"
    return None


def gc(file: Path, *, dry_run: bool = False) -> list[str]:
    """Remove worktrees and branches that no run needs any more; return in sentences what was removed.

    With `dry_run` nothing is removed, and the sentences say what would be. Outside a repository there are no branches,
    and a run's own folder is a copy.

    Raises:
        CodeError: git refuses.
    """
    paths = find_paths(file)
    repository = Repository.find(paths.root)
    branches = repository.branches if repository is not None else None
    tidying = decide(
        leftover_worktrees(paths),
        branches.list_open() if branches else (),
        _read_queue(paths),
        branches.list_keepers() if branches else {},
        branches.list_checked_out() if branches else {},
    )
    files, unread = find_temporary_files(paths, time.time())
    tidying = msgspec.structs.replace(tidying, temporary_files=files, kept=tidying.kept | unread)
    return (tidying if dry_run else _remove(repository, paths, tidying)).sentences(is_done=not dry_run)


def _remove(repository: Repository | None, paths: Paths, tidying: Tidying) -> Tidying:
    """Remove what can be removed. What git refuses to remove is kept, with git's message as the reason."""
    refused: dict[str, str] = {}
    for leftover in tidying.worktrees:
        try:
            remove_worktree(repository, leftover.path)
            paths.worktree_lock(leftover.path).unlink(missing_ok=True)
        except CodeError as error:
            refused[str(leftover.path)] = str(error)
    for branch in tidying.branches:
        try:
            if repository is not None:
                repository.branches.retire(branch)
        except CodeError as error:
            refused[branch.branch] = str(error)
    for path in tidying.temporary_files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            refused[str(path)] = f"it cannot be removed: {error.strerror}"
    return msgspec.structs.replace(
        tidying,
        worktrees=tuple(left for left in tidying.worktrees if str(left.path) not in refused),
        branches=tuple(branch for branch in tidying.branches if branch.branch not in refused),
        temporary_files=tuple(path for path in tidying.temporary_files if str(path) not in refused),
        kept=tidying.kept | refused,
    )


def find_temporary_files(paths: Paths, now: float) -> tuple[tuple[Path, ...], dict[str, str]]:
    """Find temporary files that a killed `queue add` left in run folders. Young ones are skipped: they may be in use.

    Args:
        paths: the campaign's folders.
        now: seconds since 1970.

    Returns:
        The files; and each folder that could not be read, with the reason.
    """
    found: list[Path] = []
    unread: dict[str, str] = {}
    for folder in _list_folder(paths.runs, unread):
        run = paths.run(folder.name)
        starts = tuple(f".{whole.name}." for whole in (run.config, run.order))
        # Only names that `write_atomically` gives, such as `.order.json.1f2e3d4c`.
        # Other hidden files are not ours to delete.
        halves = (path for path in _list_folder(folder, unread) if path.name.startswith(starts))
        found += (half for half in halves if _is_older(half, now - LEFTOVER_SECONDS))
    return tuple(found), unread


def _list_folder(folder: Path, unread: dict[str, str]) -> list[Path]:
    """List a folder. One that is gone, or is a file, counts as empty; one that cannot be read is noted in `unread`."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unread[str(folder)] = f"it cannot be read: {error.strerror}"
        return []


def _is_older(path: Path, moment: float) -> bool:
    """Return whether a file was last written before a moment; False if it was renamed or deleted meanwhile."""
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def require_repository(paths: Paths) -> Repository:
    """Return the repository around the campaign.

    Raises:
        CodeError: there is none.
    """
    repository = Repository.find(paths.root)
    if repository is None:
        raise CodeError(
            f"{paths.root}: no git repository holds this folder, so there are no branches or worktrees; "
            "runs use a copy of the code, see results/code"
        )
    return repository


def _read_queue(paths: Paths) -> Queue:
    if not paths.has_queue:
        return Queue()
    with reconciled(paths) as store:
        return Queue(rows=tuple(store.runs()), held=tuple(held_rows(store, paths)))


def checkout(file: Path, experiment: str, path: Path | None = None) -> list[str]:
    """Put the newest commit of an experiment into a new worktree; return where it is and how to remove it.

    Args:
        file: the campaign file.
        experiment: its id.
        path: the new folder; one beside the worktrees of runs, if not said.

    Raises:
        UsageError: the folder is there already or in the user's checkout, or the experiment has no commit.
        CodeError: there is no repository, or git refuses.
    """
    paths = find_paths(file)
    repository = require_repository(paths)
    newest = pick_commit(experiment, repository.branches.list_known_commits())
    folder = (path or paths.worktrees / f"look-{experiment}-{newest.commit[:12]}").resolve()
    _refuse_folder(folder, repository.top)
    worktrees.add_whole(repository.git, newest.commit, folder)
    return [
        f"{experiment} at commit {newest.commit[:12]}, from {newest.ref}: {folder / repository.prefix}",
        f"to remove it: git worktree remove --force {folder}",
    ]


def pick_commit(experiment: str, known: Collection[KnownCommit]) -> KnownCommit:
    """Return the newest of an experiment's commits, given oldest first.

    Raises:
        UsageError: there is none.
    """
    commits = [commit for commit in known if commit.experiment == experiment]
    if not commits:
        names = sorted({commit.experiment for commit in known})
        hint = did_you_mean(experiment, names) if names else ""
        raise UsageError(
            f"no commit of `{experiment}` is known{hint}; an experiment gets one when `knockout run` trains it"
        )
    return commits[-1]


def _refuse_folder(folder: Path, top: Path) -> None:
    if folder.exists():
        raise UsageError(
            f"{folder} is there already; look there, remove it with `git worktree remove --force {folder}`, "
            "or name another folder with --path"
        )
    if folder.is_relative_to(top.resolve()):
        raise UsageError(f"{folder} lies inside your checkout {top}; name a folder outside of it with --path")
