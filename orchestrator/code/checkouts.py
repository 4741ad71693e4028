"""The folders in which jobs run: worktrees outside the user's checkout, made when a run starts.

Jobs that only read their code share a worktree of each code. A script that writes beside its code gets one for itself.

The name of a worktree says which process made it, so that a later process can remove it once that one is gone. The
process also locks a file: where processes cannot be looked up, as in another container, the free lock shows it.
"""

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.code.copies import copy_for_run, remove_copy, require_copy
from orchestrator.code.folders import is_code_unchanged
from orchestrator.code.pathspecs import Pathspecs
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError
from orchestrator.files import content_hash
from orchestrator.processes import Process, birth_of, own_boot
from orchestrator.runs import job_lock
from orchestrator.runs.identity import ID_PATTERN
from orchestrator.runs.order import AGAIN, DEFAULT_CODE, OrderedCode
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import describe_holder

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
    name: str
    """Of the experiment or run whose code it holds."""
    pid: int
    born: str = ""
    """Hash of the process's start time; empty if an older version named the folder by host and number alone."""

    def was_made_by(self, process: Process) -> bool:
        """Whether this process of this machine made it."""
        return process.pid == self.pid and self.born in ("", _short(process.born))


def leftover_worktrees(paths: Paths) -> list[Leftover]:
    """Return the worktrees whose processes have ended without removing them.

    The command of a run may outlive the process that started it. Its worktree stays until the command has ended.
    """
    names = ((path, _WORKTREE.match(path.name)) for path in sorted(paths.worktrees.glob("*-*")))
    found = [(path, match) for path, match in names if match is not None]
    leftovers = [(Leftover(path, match["id"], int(match["pid"]), match["born"] or ""), match) for path, match in found]
    return [
        left
        for left, match in leftovers
        if (_is_gone(left) if _is_ours(match) else _is_abandoned(paths.worktree_lock(left.path)))
        and describe_holder(paths.run(left.name)) is None
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


def worktree_name(name: str, commit: str, process: Process | None = None) -> str:
    """Return the name of a worktree's folder.

    Args:
        name: of the experiment whose code it holds, or of the run that alone works in it.
        commit: of that code; its hash outside a repository.
        process: the process of this machine that runs in it; this process if None.
    """
    of = process or Process.own()
    # The start time is part of the name, since the system reuses the numbers of processes.
    return f"{name}-{commit[:12]}-{_own_host()}-{of.pid}-{_short(of.born)}"


def _own_host() -> str:
    namespace = str(PID_NAMESPACE.readlink()) if PID_NAMESPACE.is_symlink() else ""
    return _short(f"{socket.gethostname()}{namespace}")


def _short(text: str) -> str:
    return content_hash(text.encode())[:8]


@dataclass(frozen=True)
class _Shared:
    """A worktree that the jobs of one code share."""

    path: Path
    blobs: Mapping[str, str]
    """Path from its top -> git's name of the content."""


@dataclass
class Checkouts:
    """The folders in which this process's jobs run.

    Attributes:
        paths: the campaign's folders.
    """

    paths: Paths
    _shared: dict[str, _Shared] = field(default_factory=dict)
    _runs: set[Path] = field(default_factory=set)
    """The folders that one run has for itself."""
    _repositories: dict[Pathspecs, Repository] = field(default_factory=dict)
    _locks: dict[Path, ExitStack] = field(default_factory=dict)

    def open(self, experiment: str, code: OrderedCode) -> Path:
        """Return a folder with the code that a run was queued with; experiments with the same code share it.

        Args:
            experiment: names a new worktree.
            code: what the run was queued with.

        Raises:
            CodeError: the code no longer exists, or git refuses.
        """
        if code.commit is None:
            return self._require_copy(code)
        repository = self._open_repository(code.pathspecs)
        path = self.paths.worktrees / worktree_name(experiment, code.commit)
        shared = self._shared.get(code.tree)
        # Since the last job started, somebody may have edited the worktree, or emptied the cache.
        if shared is None or not is_code_unchanged(shared.path, shared.blobs):
            path = shared.path if shared else path
            with self._explained(experiment, code.commit):
                self._lock(path)
                repository.add_worktree(code.commit, path)
            shared = self._shared[code.tree] = _Shared(path, repository.worktree_blobs(code.commit))
        return shared.path / repository.prefix

    def open_run(self, run_id: str, experiment: str, code: OrderedCode) -> Path:
        """Return a fresh folder with all files of a run's commit, which no other run sees.

        Outside a repository it holds the files of the code alone.

        Args:
            run_id: names the folder. A folder that an earlier attempt of this process left is removed.
            experiment: for messages.
            code: what the run was queued with.

        Raises:
            CodeError: the code no longer exists, or git refuses.
        """
        path = self.paths.worktrees / worktree_name(run_id, code.commit or code.tree)
        copy = self._require_copy(code) if code.commit is None else None
        self._lock(path)
        self._runs.add(path)
        if copy is not None:
            copy_for_run(copy, path)
            return path
        with self._explained(experiment, str(code.commit)):
            return self._open_repository(code.pathspecs).add_whole_worktree(str(code.commit), path)

    def _require_copy(self, code: OrderedCode) -> Path:
        copy = self.paths.code_copy(code.tree)
        if not copy.is_dir():
            raise CodeError(f"{copy}: the copy of the code that the run was queued with is gone; {AGAIN}")
        require_copy(copy, code.tree)
        return copy

    @contextmanager
    def _explained(self, experiment: str, commit: str) -> Iterator[None]:
        """Explain an error of git if the reason is that the commit does not exist."""
        try:
            yield
        except CodeError:
            if self._open_repository().git.ask("cat-file", "-e", f"{commit}^{{commit}}") is None:
                raise CodeError(
                    f"commit {commit[:12]}, which runs of {experiment} were queued with, is not in the repository; "
                    f"{AGAIN}"
                ) from None
            raise

    def _lock(self, path: Path) -> None:
        """Lock the file beside a worktree, once: other name spaces see by it that this process lives."""
        if path not in self._locks:
            lock = self.paths.worktree_lock(path)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                stack.enter_context(job_lock.hold(lock))
                self._locks[path] = stack.pop_all()

    def _unlock(self, path: Path) -> None:
        # Deleted while it is locked: otherwise another process could lock a file that then loses its name.
        self.paths.worktree_lock(path).unlink(missing_ok=True)
        if path in self._locks:
            self._locks.pop(path).close()

    def _open_repository(self, code: Pathspecs = DEFAULT_CODE) -> Repository:
        if code not in self._repositories:
            self._repositories[code] = Repository(self.paths.root, code)
        return self._repositories[code]

    def remove_leftovers(self) -> list[str]:
        """Remove the worktrees of processes that are gone; return a sentence for each that git refuses to remove."""
        for lock in abandoned_locks(self.paths):
            lock.unlink(missing_ok=True)
        return self._remove(leftover.path for leftover in leftover_worktrees(self.paths))

    def remove(self, path: Path) -> list[str]:
        """Remove a folder that `open_run` returned; return a sentence for it if it cannot be removed.

        Raises:
            ValueError: it is no such folder.
        """
        # The campaign's folder may lie deeper in the worktree.
        top = next((folder for folder in (path, *path.parents) if folder in self._runs), None)
        if top is None:
            raise ValueError(f"{path} is no folder of a run of this process")
        self._runs.remove(top)
        return self._remove([top])

    def close(self) -> list[str]:
        """Remove this process's worktrees; return a sentence for each that git refuses to remove.

        Branches stay: the verdicts decide about them. Copies stay: a copy is the only record of its code.
        """
        folders = (*(shared.path for shared in self._shared.values()), *sorted(self._runs))
        self._shared.clear()
        self._runs.clear()
        refused = self._remove(folders)
        for path in tuple(self._locks):
            self._unlock(path)
        return refused

    def _remove(self, folders: Iterable[Path]) -> list[str]:
        refused = []
        for folder in folders:
            try:
                remove_worktree(self._find_repository(), folder)
                self._unlock(folder)
            except CodeError as error:
                refused.append(str(error))
        return refused

    def _find_repository(self) -> Repository | None:
        return next(iter(self._repositories.values()), None) or Repository.find(self.paths.root)


def remove_worktree(repository: Repository | None, folder: Path) -> None:
    """Remove a worktree of jobs; outside a repository it is a copy.

    Raises:
        CodeError: it cannot be removed.
    """
    if repository is None:
        remove_copy(folder)
    else:
        repository.remove_worktree(folder)
