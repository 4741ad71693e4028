"""The folders in which jobs run: worktrees outside the user's checkout, made when a run starts.

The name of a worktree says which process made it, so that a later process can remove it once that one is gone. The
process also locks a file: where processes cannot be looked up, as in another container, the free lock shows it.
"""

import re
import shutil
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.code.blobs import CODE
from orchestrator.code.folders import hash_code_folder
from orchestrator.code.repository import Repository
from orchestrator.code.sources import require_copy
from orchestrator.errors import CodeError
from orchestrator.files import content_hash
from orchestrator.processes import Process, birth_of, own_boot
from orchestrator.runs import job_lock
from orchestrator.runs.identity import ID_PATTERN
from orchestrator.runs.order import AGAIN, OrderedCode
from orchestrator.runs.paths import Paths

_WORKTREE = re.compile(
    rf"^(?P<id>{ID_PATTERN[1:-1]})-[0-9a-f]{{12}}-(?P<host>[0-9a-f]{{8}})-(?P<pid>\d{{1,10}})(-(?P<born>[0-9a-f]{{8}}))?$"
)
"""Name of a job's worktree. The folder of `knockout checkout` ends with the commit and does not match."""
PID_NAMESPACE = Path("/proc/self/ns/pid")
"""Link to the name space of process numbers; a container has its own."""


@dataclass(frozen=True)
class Leftover:
    """A worktree whose process is gone."""

    path: Path
    experiment: str
    pid: int
    born: str = ""
    """Hash of the process's start time; empty if an older version named the folder by host and number alone."""

    def was_made_by(self, process: Process) -> bool:
        """Whether this process of this machine made it."""
        return process.pid == self.pid and self.born in ("", _short(process.born))


def leftover_worktrees(paths: Paths) -> list[Leftover]:
    """Return the worktrees whose processes have ended without removing them."""
    names = ((path, _WORKTREE.match(path.name)) for path in sorted(paths.worktrees.glob("*-*")))
    found = [(path, match) for path, match in names if match is not None]
    leftovers = [(Leftover(path, match["id"], int(match["pid"]), match["born"] or ""), match) for path, match in found]
    return [
        left
        for left, match in leftovers
        if (_is_gone(left) if _is_ours(match) else _is_abandoned(paths.worktree_lock(left.path)))
    ]


def _is_ours(match: re.Match[str]) -> bool:
    """Whether a worktree's process belongs to this host and name space, so that it can be looked up."""
    return match["host"] == (_own_host() if match["born"] is not None else _short(socket.gethostname()))


def _is_abandoned(lock: Path) -> bool:
    """Whether the lock of a worktree is free, and its process ran in this boot: then that process is gone.

    A process of another machine counts as alive. Machines may share a home without sharing its locks.
    """
    last = job_lock.last_holder(lock)
    # Locks are shared within one boot of one machine, so only there a free lock means a dead process.
    if last is None or not (last.born or "").startswith(f"{own_boot()}/"):
        return False
    try:
        return job_lock.find_holder(lock) is None
    except (job_lock.HeldError, OSError):
        return False


def _is_gone(leftover: Leftover) -> bool:
    born = birth_of(leftover.pid)
    return born is None or leftover.born not in ("", _short(born))


def abandoned_locks(paths: Paths) -> list[Path]:
    """Return the locks whose worktrees do not exist and whose processes are gone."""
    locks = sorted(paths.worktree_locks.iterdir()) if paths.worktree_locks.is_dir() else []
    return [lock for lock in locks if not (paths.worktrees / lock.name).exists() and _is_abandoned(lock)]


def worktree_name(experiment: str, commit: str, process: Process | None = None) -> str:
    """Return the name of a worktree's folder.

    Args:
        experiment: whose code it holds.
        commit: of that code.
        process: the process of this machine that runs in it; this process if None.
    """
    of = process or Process.own()
    # The start time is part of the name, since the system reuses the numbers of processes.
    return f"{experiment}-{commit[:12]}-{_own_host()}-{of.pid}-{_short(of.born)}"


def _own_host() -> str:
    namespace = str(PID_NAMESPACE.readlink()) if PID_NAMESPACE.is_symlink() else ""
    return _short(f"{socket.gethostname()}{namespace}")


def _short(text: str) -> str:
    return content_hash(text.encode())[:8]


@dataclass
class Checkouts:
    """The folders in which this process's jobs run.

    Each code has one worktree. Experiments with the same code share it, since jobs only read it.

    Attributes:
        paths: the campaign's folders.
    """

    paths: Paths
    _folders: dict[str, Path] = field(default_factory=dict)
    _repository: Repository | None = None
    _locks: ExitStack = field(default_factory=ExitStack)
    _locked: set[Path] = field(default_factory=set)

    def open(self, experiment: str, code: OrderedCode) -> Path:
        """Return a folder whose `model` is the code that a run was queued with.

        Args:
            experiment: names a new worktree.
            code: what the run was queued with.

        Raises:
            CodeError: the code no longer exists, or git refuses.
        """
        if code.commit is None:
            copy = self.paths.code_copy(code.tree)
            if not copy.is_dir():
                raise CodeError(f"{copy}: the copy of the code that the run was queued with is gone; {AGAIN}")
            require_copy(copy, code.tree)
            return copy
        path = self._folders.get(code.tree, self.paths.worktrees / worktree_name(experiment, code.commit))
        folder = path / self._open_repository().prefix
        # Since the last job started, somebody may have edited the worktree, or emptied the cache.
        if code.tree not in self._folders or hash_code_folder(folder / CODE, len(code.commit)) != code.tree:
            self._add(code.commit, path)
        self._folders[code.tree] = path
        return folder

    def open_run(self, run_id: str, experiment: str, code: OrderedCode) -> Path:
        """Return a fresh folder with all files of a run's commit, which no other run sees.

        Args:
            run_id: names the folder.
            experiment: for messages.
            code: what the run was queued with.

        Raises:
            CodeError: the code no longer exists, or git refuses.
        """
        path = self.paths.worktrees / worktree_name(run_id, code.commit or code.tree)
        if code.commit is None:
            shutil.copytree(self.open(experiment, code), path)
            return path
        self._add(code.commit, path)
        self._folders[run_id] = path
        return path / self._open_repository().prefix

    def remove(self, path: Path) -> list[str]:
        """Remove a folder that `open_run` returned; return a sentence for it if it cannot be removed."""
        top = next((run_id for run_id, folder in self._folders.items() if path.is_relative_to(folder)), None)
        if top is None:
            shutil.rmtree(path)
            return []
        return self._remove([self._folders.pop(top)])

    def _add(self, commit: str, path: Path) -> None:
        try:
            self._lock(path)
            self._open_repository().add_worktree(commit, path)
        except CodeError:
            self._require_commit(commit)
            raise

    def _lock(self, path: Path) -> None:
        """Lock the file beside a worktree, once: other name spaces see by it that this process lives."""
        if path not in self._locked:
            lock = self.paths.worktree_lock(path)
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._locks.enter_context(job_lock.hold(lock))
            self._locked.add(path)

    def _require_commit(self, commit: str) -> None:
        """Explain the error of git if the reason is that the commit does not exist."""
        if self._open_repository().git.ask("cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise CodeError(f"commit {commit[:12]}, which the run was queued with, is not in the repository; {AGAIN}")

    def _open_repository(self) -> Repository:
        if self._repository is None:
            self._repository = Repository(self.paths.root)
        return self._repository

    def remove_leftovers(self) -> list[str]:
        """Remove the worktrees of processes that are gone; return a sentence for each that git refuses to remove."""
        for lock in abandoned_locks(self.paths):
            lock.unlink(missing_ok=True)
        return self._remove(leftover.path for leftover in leftover_worktrees(self.paths))

    def close(self) -> list[str]:
        """Remove this process's worktrees; return a sentence for each that git refuses to remove.

        Branches stay: the verdicts decide about them. Copies stay: a copy is the only record of its code.
        """
        folders = tuple(self._folders.values())
        self._folders.clear()
        refused = self._remove(folders)
        # Deleted while it is locked: otherwise another process could lock a file that then loses its name.
        for path in self._locked:
            self.paths.worktree_lock(path).unlink(missing_ok=True)
        self._locked.clear()
        self._locks.close()
        return refused

    def _remove(self, folders: Iterable[Path]) -> list[str]:
        refused = []
        for folder in folders:
            try:
                self._open_repository().remove_worktree(folder)
                self.paths.worktree_lock(folder).unlink(missing_ok=True)
            except CodeError as error:
                refused.append(str(error))
        return refused
