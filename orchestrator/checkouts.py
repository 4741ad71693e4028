"""Where a job's code comes from: a commit of its experiment, or, outside a repository, a copy.

When a run is queued its code is fixed (`GitCode`, `CopiedCode`); when it starts that code is put into a folder
(`Checkouts`), maybe days later and by another process.
"""

import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

import model
from orchestrator.branches import CODE, SPEC_FILE, ExperimentCommit, Repository, hash_code_folder
from orchestrator.errors import CodeError
from orchestrator.layout import Layout
from orchestrator.orders import AGAIN, OrderedCode
from orchestrator.patches import RefusedError, apply_patch, changed_files, take_ref
from orchestrator.plan import Arm, CodeStep
from orchestrator.processes import birth_of
from orchestrator.spec import ID_PATTERN

_WORKTREE = re.compile(rf"^(?P<id>{ID_PATTERN[1:-1]})-[0-9a-f]{{12}}-(?P<host>[0-9a-f]{{8}})-(?P<pid>\d{{1,10}})$")
"""Folder of a worktree that a process of a host runs in. A look at an experiment ends in its commit."""


@dataclass(frozen=True)
class Leftover:
    """A worktree whose process is gone."""

    path: Path
    experiment: str
    pid: int


def leftover_worktrees(layout: Layout) -> list[Leftover]:
    """Return the worktrees of workers that died before they could remove them."""
    found = ((path, _WORKTREE.match(path.name)) for path in sorted(layout.worktrees.glob("*-*")))
    # Machines may share a home; whether a process of another one lives cannot be told here.
    ours = ((path, match) for path, match in found if match and match["host"] == _own_host())
    leftovers = [Leftover(path, match["id"], int(match["pid"])) for path, match in ours]
    return [leftover for leftover in leftovers if birth_of(leftover.pid) is None]


def worktree_name(experiment: str, commit: str, pid: int | None = None) -> str:
    """Name the folder of a worktree after the process that runs in it, this one unless another is said."""
    return f"{experiment}-{commit[:12]}-{_own_host()}-{pid or os.getpid()}"


def _own_host() -> str:
    return _hash(socket.gethostname().encode())[:8]


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
            listed = ", ".join(changed[:5]) + (" and more" if len(changed) > 5 else "")
            raise CodeError(
                f"uncommitted changes to the code that jobs run: {listed}; commit them, or take them "
                "onto the experiments' branches as they are with --snapshot"
            )
        self.repository, self.layout = repository, layout
        self.tree = repository.snapshot_tree({}, with_code=True) if changed else "HEAD"
        self.code_hash = repository.code_hash(self.tree)
        self.note = f"code: commit {repository.base_commit[:12]}" + (", with uncommitted changes" if changed else "")
        self._known: dict[tuple[CodeStep, ...], ArmCode] = {(): ArmCode(self.tree, self.code_hash)}

    def code_of(self, arm: Arm) -> ArmCode:
        """Apply an experiment's patches and refs, those of its stack first."""
        for number in range(1, len(arm.code) + 1):
            steps = arm.code[:number]
            if steps not in self._known:
                before = self._known[steps[:-1]]
                self._known[steps] = before if before.refusal else self._apply(before, steps[-1])
        return self._known[arm.code]

    def _apply(self, before: ArmCode, step: CodeStep) -> ArmCode:
        beyond: tuple[str, ...] = ()
        try:
            if step.ref is not None:
                taken = take_ref(self.repository, before.tree, step.ref)
                tree, beyond = taken.tree, tuple(taken.other_files)
            else:
                tree = apply_patch(self.repository, before.tree, self._read_patch(step), str(step.patch))
        except RefusedError as error:
            # The attempt has an identity too: a patch that is mended is another run.
            attempt = msgspec.json.encode([before.hash, step, str(error)])
            return ArmCode("", _hash(attempt), before.changes, before.differs_beyond, str(error))
        changes = changed_files(self.repository, self.tree, tree)
        return ArmCode(tree, self.repository.code_hash(tree), changes, (*before.differs_beyond, *beyond))

    def _read_patch(self, step: CodeStep) -> bytes:
        path = self.layout.root / str(step.patch)
        try:
            return path.read_bytes()
        except OSError as error:
            raise RefusedError(f"{path}: the patch cannot be read: {error.strerror}") from None

    def commit(self, arm: Arm, now: datetime) -> OrderedCode:
        """Give an experiment its branch, with a commit that holds its code and what it is.

        Raises:
            CodeError: git refuses.
        """
        code = self.code_of(arm)
        if code.refusal:
            return OrderedCode(tree=code.hash)
        tree = self.repository.snapshot_tree({SPEC_FILE: spec_content(arm)}, with_code=False, tree=code.tree)
        message = f"{arm.id}: {arm.title}\n\nOne change to {arm.reference or 'nothing'}; see {SPEC_FILE}."
        commit = self.repository.commit_experiment(arm.id, tree, message, now)
        return OrderedCode(
            tree=code.hash,
            commit=commit.commit,
            branch=commit.branch,
            base_commit=commit.base_commit,
            changes=code.changes,
            differs_beyond=code.differs_beyond,
            is_own=bool(arm.code),
        )

    def settle(self, name: str, commit: ExperimentCommit, keeper_verdict: str | None) -> None:
        """Tag an experiment that improved with its verdict (JSON); retire the branch of any other."""
        if keeper_verdict is not None:
            self.repository.keep(commit, name, keeper_verdict)
        else:
            self.repository.retire(commit)


class CopiedCode:
    """Code outside a repository: a copy of the campaign's `model/`, or of the installed one."""

    def __init__(self, layout: Layout) -> None:
        local = layout.root / CODE
        self.source = local if (local / "__main__.py").exists() else Path(model.__file__).parent
        self.code_hash = hash_code_folder(self.source)
        self.copy = layout.code_copy(self.code_hash)
        self.note = f"code: a copy of {self.source}, since no git repository holds it; no branches are made"

    def code_of(self, arm: Arm) -> ArmCode:
        """Return the one code that there is."""
        if not arm.code:
            return ArmCode("", self.code_hash)
        step = arm.code[-1]
        refusal = f"`{step.patch or step.ref}` needs a git repository around {self.source}; make one with `git init`"
        return ArmCode("", _hash(msgspec.json.encode([self.code_hash, arm.code])), refusal=refusal)

    def commit(self, arm: Arm, now: datetime) -> OrderedCode:
        """Copy the code once; all experiments share it."""
        if not self.copy.exists():
            self.copy.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.copy.parent) as folder:
                shutil.copytree(self.source, Path(folder) / CODE, ignore=shutil.ignore_patterns("__pycache__"))
                Path(folder).rename(self.copy)
                Path(folder).mkdir()
        return OrderedCode(tree=self.code_of(arm).hash)

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


@dataclass
class Checkouts:
    """The folders that this process's jobs run in, outside the user's checkout.

    A worktree for each code: experiments that differ in knobs alone share one, since jobs only read it.
    """

    layout: Layout
    _folders: dict[str, Path] = field(default_factory=dict)
    _repository: Repository | None = None

    def open(self, experiment: str, code: OrderedCode) -> Path:
        """Return a folder whose `model` is the code that a run was queued with.

        Raises:
            CodeError: the code is not there any more, or git refuses.
        """
        if code.commit is None:
            copy = self.layout.code_copy(code.tree)
            if not copy.is_dir():
                raise CodeError(f"{copy}: the copy of the code that the run was queued with is gone; {AGAIN}")
            return copy
        if code.tree not in self._folders:
            path = self.layout.worktrees / worktree_name(experiment, code.commit)
            try:
                self._git().add_worktree(code.commit, path)
            except CodeError:
                self._require(code.commit)
                raise
            self._folders[code.tree] = path
        return self._folders[code.tree] / self._git().prefix

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
        return self._remove(leftover.path for leftover in leftover_worktrees(self.layout))

    def close(self) -> list[str]:
        """Remove this process's worktrees; return what git refused.

        The branches are the verdicts' business, and a copy is the only record of its code.
        """
        folders = tuple(self._folders.values())
        self._folders.clear()
        return self._remove(folders)

    def _remove(self, folders: Iterable[Path]) -> list[str]:
        refused = []
        for folder in folders:
            try:
                self._git().remove_worktree(folder)
            except CodeError as error:
                refused.append(str(error))
        return refused


def spec_content(arm: Arm) -> bytes:
    """Return the resolved experiment as its branch holds it."""
    return msgspec.json.format(msgspec.json.encode(arm), indent=2) + b"\n"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
