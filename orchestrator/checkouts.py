"""Where a job's code comes from: a commit of its experiment, or, outside a repository, a copy.

When a run is queued its code is fixed (`GitCode`, `CopiedCode`); when it starts that code is put into a folder
(`Checkouts`), maybe days later and by another process.
"""

import hashlib
import os
import re
import shlex
import socket
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

import model
from model import job_lock
from orchestrator.branches import ExperimentCommit, Repository
from orchestrator.code_files import CODE, blob_name, few, hash_listing, write_listing
from orchestrator.code_folders import hash_code_folder, is_code_unchanged, read_code_folder
from orchestrator.code_steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import CodeError
from orchestrator.patches import RefusedError, apply_patch, changed_files, read_patch, take_ref
from orchestrator.plumbing import NoGitError
from orchestrator.processes import Process, birth_of, own_boot
from orchestrator.runs.identity import ID_PATTERN
from orchestrator.runs.order import AGAIN, OrderedCode
from orchestrator.runs.paths import Layout

_WORKTREE = re.compile(
    rf"^(?P<id>{ID_PATTERN[1:-1]})-[0-9a-f]{{12}}-(?P<host>[0-9a-f]{{8}})-(?P<pid>\d{{1,10}})(-(?P<born>[0-9a-f]{{8}}))?$"
)
"""Folder of a worktree that a process of a host runs in. A look at an experiment ends in its commit."""
LISTING = "listing"
"""File beside a copy of the code: what lies in it, to the byte."""
PID_NAMESPACE = Path("/proc/self/ns/pid")
"""Names the numbers of processes that mean the same: a container has its own."""


@dataclass(frozen=True)
class Leftover:
    """A worktree whose process is gone."""

    path: Path
    experiment: str
    pid: int
    born: str = ""
    """Hash of the process's birth; empty where an older version named the folder by host and number alone."""

    def is_of(self, process: Process) -> bool:
        """Whether a process of this machine made it."""
        return process.pid == self.pid and self.born in ("", _short(process.born))


def leftover_worktrees(layout: Layout) -> list[Leftover]:
    """Return the worktrees of workers that died before they could remove them."""
    names = ((path, _WORKTREE.match(path.name)) for path in sorted(layout.worktrees.glob("*-*")))
    found = [(path, match) for path, match in names if match is not None]
    leftovers = [(Leftover(path, match["id"], int(match["pid"]), match["born"] or ""), match) for path, match in found]
    return [left for left, match in leftovers if (_is_gone(left) if _is_ours(match) else _is_abandoned(left.path))]


def _is_ours(match: re.Match[str]) -> bool:
    """Whether a worktree's process is one of this host and name space, so that it can be looked up."""
    return match["host"] == (_own_host() if match["born"] is not None else _short(socket.gethostname()))


def _is_abandoned(path: Path) -> bool:
    """Whether the process of a worktree is gone that ran in another name space of this boot: its lock is free then.

    Of another machine nobody can tell here: machines may share a home, and their locks may be each its own.
    """
    lock = lock_of(path)
    last = job_lock.last_holder(lock)
    if last is None or not (last.born or "").startswith(f"{own_boot()}/"):
        return False
    try:
        return job_lock.find_holder(lock) is None
    except (job_lock.HeldError, OSError):
        return False


def lock_of(worktree: Path) -> Path:
    """Return the file that is locked as long as the process of a worktree lives."""
    return worktree.parent.with_name(f"{worktree.parent.name}.locks") / worktree.name


def _is_gone(leftover: Leftover) -> bool:
    born = birth_of(leftover.pid)
    return born is None or leftover.born not in ("", _short(born))


def abandoned_locks(layout: Layout) -> list[Path]:
    """Return the locks of worktrees that are not there, and whose processes are gone."""
    folder = lock_of(layout.worktrees / "any").parent
    locks = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        lock
        for lock in locks
        if not (layout.worktrees / lock.name).exists() and _is_abandoned(layout.worktrees / lock.name)
    ]


def worktree_name(experiment: str, commit: str, process: Process | None = None) -> str:
    """Name the folder of a worktree after the process that runs in it, this one unless another of this machine is."""
    of = process or Process.own()
    return f"{experiment}-{commit[:12]}-{_own_host()}-{of.pid}-{_short(of.born)}"


def _own_host() -> str:
    namespace = str(PID_NAMESPACE.readlink()) if PID_NAMESPACE.is_symlink() else ""
    return _short(f"{socket.gethostname()}{namespace}")


def _short(text: str) -> str:
    return _hash(text.encode())[:8]


@dataclass(frozen=True)
class ArmCode:
    """What an experiment's stack makes of the code, or why that is refused."""

    tree: str
    """The repository's whole tree; empty if it is refused."""
    hash: str
    """Of `model/` in it; of the attempt, if it is refused."""
    changes: tuple[str, ...] = ()
    differs_beyond: tuple[str, ...] = ()
    refusal: str | None = None


class GitCode:
    """Code from the repository around the campaign: one branch an experiment."""

    def __init__(self, repository: Repository, layout: Layout, *, snapshot: bool) -> None:
        changed = repository.uncommitted_code()
        if changed and not snapshot:
            raise CodeError(
                f"uncommitted changes to the code that jobs run: {few(changed)}; commit them, or take them "
                "onto the experiments' branches as they are with --snapshot"
            )
        self.repository, self.layout = repository, layout
        self.tree = repository.snapshot_tree({}, with_code=True) if changed else "HEAD"
        repository.require_plain_code(self.tree)
        self.code_hash = repository.code_hash(self.tree)
        with_changes = f", with uncommitted changes: {few(changed)}" if changed else ""
        self.note = f"code: commit {repository.base_commit[:12]}{with_changes}"
        self._known: dict[tuple[CodeStep, ...], ArmCode] = {(): ArmCode(self.tree, self.code_hash)}

    def code_of(self, steps: tuple[CodeStep, ...]) -> ArmCode:
        """Apply an experiment's patches and refs, those of its stack first."""
        for number in range(1, len(steps) + 1):
            first = steps[:number]
            if first not in self._known:
                before = self._known[first[:-1]]
                self._known[first] = before if before.refusal else self._apply(before, first[-1])
        return self._known[steps]

    def _apply(self, before: ArmCode, step: CodeStep) -> ArmCode:
        beyond: tuple[str, ...] = ()
        try:
            if step.ref is not None:
                taken = take_ref(self.repository, before.tree, step.ref)
                tree, beyond = taken.tree, tuple(taken.other_files)
            else:
                patch = read_patch(self.layout.root / str(step.patch))
                tree = apply_patch(self.repository, before.tree, patch, str(step.patch))
        except RefusedError as error:
            # The attempt has an identity too: a patch that is mended is another run.
            attempt = msgspec.json.encode([before.hash, step, str(error)])
            return ArmCode("", _hash(attempt), before.changes, before.differs_beyond, str(error))
        changes = changed_files(self.repository, self.tree, tree)
        return ArmCode(tree, self.repository.code_hash(tree), changes, (*before.differs_beyond, *beyond))

    def commit(self, content: BranchContent, now: datetime) -> OrderedCode:
        """Give an experiment its branch, with a commit that holds its code and what it is.

        Raises:
            CodeError: git refuses.
        """
        code = self.code_of(content.steps)
        if code.refusal:
            return OrderedCode(tree=code.hash)
        tree = self.repository.snapshot_tree({SPEC_FILE: content.spec}, with_code=False, tree=code.tree)
        commit = self.repository.commit_experiment(content.experiment, tree, content.message, now)
        return OrderedCode(
            tree=code.hash,
            commit=commit.commit,
            branch=commit.branch,
            base_commit=commit.base_commit,
            changes=code.changes,
            differs_beyond=code.differs_beyond,
            is_own=bool(content.steps),
        )

    def settle(self, name: str, commit: ExperimentCommit, keeper_verdict: str | None) -> None:
        """Tag an experiment that improved with its verdict (JSON); retire the branch of any other."""
        if keeper_verdict is not None:
            self.repository.keep(commit, name, keeper_verdict)
        else:
            self.repository.retire(commit)


class CopiedCode:
    """Code outside a repository: a copy of the campaign's `model/`, or of the installed one."""

    def __init__(self, layout: Layout, why: str = "no git repository holds it") -> None:
        local = layout.root / CODE
        self.source = local if (local / "__main__.py").exists() else Path(model.__file__).parent
        # Read once: what is copied later is what was hashed.
        self._files = read_code_folder(self.source)
        self._blobs = {path: blob_name(content) for path, content in self._files.items()}
        self.code_hash = hash_listing(self._blobs)
        self.copy = layout.code_copy(self.code_hash)
        self.note = f"code: a copy of {self.source}, since {why}; no branches are made"

    def code_of(self, steps: tuple[CodeStep, ...]) -> ArmCode:
        """Return the one code that there is."""
        if not steps:
            return ArmCode("", self.code_hash)
        step = steps[-1]
        refusal = f"`{step.patch or step.ref}` needs a git repository around {self.source}; make one with `git init`"
        return ArmCode("", _hash(msgspec.json.encode([self.code_hash, steps])), refusal=refusal)

    def commit(self, content: BranchContent, now: datetime) -> OrderedCode:
        """Copy the code once; all experiments share it."""
        try:
            if not self.copy.exists():
                self._write_copy()
        except OSError as error:
            # Another process may have been first; its copy is looked at like this one.
            if not self.copy.exists():
                where = error.filename or self.copy.parent
                raise CodeError(f"{where}: a copy of the code is to be written here: {error.strerror}") from None
        _require_copy(self.copy, self.code_hash)
        return OrderedCode(tree=self.code_of(content.steps).hash)

    def _write_copy(self) -> None:
        self.copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.copy.parent) as folder:
            whole = Path(folder) / "whole"
            for path, content in self._files.items():
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).write_bytes(content)
            (whole / LISTING).write_bytes(write_listing(self._blobs))
            whole.rename(self.copy)

    def settle(self, name: str, commit: ExperimentCommit, keeper_verdict: str | None) -> None:
        """There is no branch to settle."""


Code = GitCode | CopiedCode


def find_code(layout: Layout, *, snapshot: bool) -> Code:
    """Choose where jobs' code comes from.

    Raises:
        CodeError: the repository is bare, has no commit, or has uncommitted changes to the code.
    """
    repository = Repository.find(layout.root)
    if repository is None:
        return CopiedCode(layout)
    if not repository.has_code() and not repository.uncommitted_code():
        return CopiedCode(layout)
    return GitCode(repository, layout, snapshot=snapshot)


def look_at_code(layout: Layout) -> Code:
    """Choose the code that results are compared with, where nothing is trained: without git, that of the folder.

    Raises:
        CodeError: git is there, and refuses.
    """
    try:
        return find_code(layout, snapshot=True)
    except NoGitError as error:
        return CopiedCode(layout, why=str(error))


@dataclass
class Checkouts:
    """The folders that this process's jobs run in, outside the user's checkout.

    A worktree for each code: experiments that differ in knobs alone share one, since jobs only read it.
    """

    layout: Layout
    _folders: dict[str, Path] = field(default_factory=dict)
    _repository: Repository | None = None
    _locks: ExitStack = field(default_factory=ExitStack)
    _locked: set[Path] = field(default_factory=set)

    def open(self, experiment: str, code: OrderedCode) -> Path:
        """Return a folder whose `model` is the code that a run was queued with.

        Raises:
            CodeError: the code is not there any more, or git refuses.
        """
        if code.commit is None:
            copy = self.layout.code_copy(code.tree)
            if not copy.is_dir():
                raise CodeError(f"{copy}: the copy of the code that the run was queued with is gone; {AGAIN}")
            _require_copy(copy, code.tree)
            return copy
        path = self._folders.get(code.tree, self.layout.worktrees / worktree_name(experiment, code.commit))
        folder = path / self._git().prefix
        # Somebody may have edited the first job's worktree, or emptied the cache, before the next one starts.
        if code.tree not in self._folders or hash_code_folder(folder / CODE, len(code.commit)) != code.tree:
            self._add(code.commit, path)
        self._folders[code.tree] = path
        return folder

    def _add(self, commit: str, path: Path) -> None:
        try:
            self._lock(path)
            self._git().add_worktree(commit, path)
        except CodeError:
            self._require(commit)
            raise

    def _lock(self, path: Path) -> None:
        """Show other name spaces that this process lives; it may make a worktree more than once."""
        if path not in self._locked:
            lock_of(path).parent.mkdir(parents=True, exist_ok=True)
            self._locks.enter_context(job_lock.hold(lock_of(path)))
            self._locked.add(path)

    def _require(self, commit: str) -> None:
        """Say it in other words than git's where the commit itself is gone."""
        if self._git().git.ask("cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise CodeError(f"commit {commit[:12]}, which the run was queued with, is not in the repository; {AGAIN}")

    def _git(self) -> Repository:
        if self._repository is None:
            self._repository = Repository(self.layout.root)
        return self._repository

    def remove_leftovers(self) -> list[str]:
        """Remove worktrees of workers that died before they could; return what git refused."""
        for lock in abandoned_locks(self.layout):
            lock.unlink(missing_ok=True)
        return self._remove(leftover.path for leftover in leftover_worktrees(self.layout))

    def close(self) -> list[str]:
        """Remove this process's worktrees; return what git refused.

        The branches are the verdicts' business, and a copy is the only record of its code.
        """
        folders = tuple(self._folders.values())
        self._folders.clear()
        refused = self._remove(folders)
        for path in self._locked:
            lock_of(path).unlink(missing_ok=True)
        self._locked.clear()
        self._locks.close()
        return refused

    def _remove(self, folders: Iterable[Path]) -> list[str]:
        refused = []
        for folder in folders:
            try:
                self._git().remove_worktree(folder)
                lock_of(folder).unlink(missing_ok=True)
            except CodeError as error:
                refused.append(str(error))
        return refused


def _require_copy(copy: Path, code_hash: str) -> None:
    """Refuse a copy whose files are not those of its listing, which the hash is of; an older copy has no listing."""
    try:
        listing = (copy / LISTING).read_bytes()
    except FileNotFoundError:
        return
    pairs = (line.split(" ", 1) for line in os.fsdecode(listing).split("\n")[:-1])
    if _hash(listing) != code_hash or not is_code_unchanged(copy, {path: blob for blob, path in pairs}):
        raise CodeError(
            f"{copy}: this copy of the code is not what it was when runs were queued with it; remove it, and queue the "
            f"runs again: rm -r {shlex.quote(str(copy))}"
        )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
