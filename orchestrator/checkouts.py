"""Where a job's code comes from: a worktree of the experiment's commit, or, outside a repository, a copy."""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

import model
from orchestrator.branches import CODE, SPEC_FILE, BranchName, ExperimentCommit, Repository, hash_code_folder
from orchestrator.errors import CodeError
from orchestrator.launchers.local import process_started
from orchestrator.layout import Layout
from orchestrator.plan import Arm
from orchestrator.spec import ID_PATTERN

_WORKTREE = re.compile(rf"^(?P<id>{ID_PATTERN[1:-1]})-[0-9a-f]{{12}}-(?P<pid>\d{{1,10}})$")
"""Folder of a worktree that a process runs in. A look at an experiment ends in its commit, twelve digits long."""


@dataclass(frozen=True)
class Leftover:
    """A worktree whose process is gone."""

    path: Path
    experiment: str
    pid: int


def leftover_worktrees(layout: Layout) -> list[Leftover]:
    """Return the worktrees of runs that died before they could remove them."""
    found = ((path, _WORKTREE.match(path.name)) for path in sorted(layout.worktrees.glob("*-*")))
    leftovers = [Leftover(path, match["id"], int(match["pid"])) for path, match in found if match]
    return [leftover for leftover in leftovers if process_started(leftover.pid) is None]


@dataclass(frozen=True)
class Checkout:
    """A folder to start a job in, so that `model` is the code that its branch holds."""

    folder: Path
    code_hash: str
    commit: ExperimentCommit | None = None


class GitCode:
    """Code from the repository around the campaign: one branch and one worktree an experiment."""

    def __init__(self, repository: Repository, layout: Layout, *, snapshot: bool) -> None:
        changed = repository.uncommitted_code()
        if changed and not snapshot:
            listed = ", ".join(changed[:5]) + (" and more" if len(changed) > 5 else "")
            raise CodeError(
                f"uncommitted changes to the code that jobs run: {listed}; commit them, or take them "
                "onto the experiments' branches as they are with --snapshot"
            )
        self.repository, self.layout = repository, layout
        self.with_code = bool(changed)
        self.tree = repository.snapshot_tree({}, with_code=True) if changed else "HEAD"
        self.code_hash = repository.code_hash(self.tree)
        self._remove_leftovers()
        self.note = f"code: commit {repository.base_commit[:12]}" + (", with uncommitted changes" if changed else "")

    def _remove_leftovers(self) -> None:
        """Remove worktrees of runs that died before they could."""
        for leftover in leftover_worktrees(self.layout):
            self.repository.remove_worktree(leftover.path)

    def check_out(self, arm: Arm, now: datetime) -> Checkout:
        """Give an experiment its branch, and check its commit out in a worktree of its own.

        Raises:
            CodeError: git refuses.
        """
        tree = self.repository.snapshot_tree({SPEC_FILE: spec_content(arm)}, with_code=self.with_code)
        message = f"{arm.id}: {arm.title}\n\nOne change to {arm.reference or 'nothing'}; see {SPEC_FILE}."
        commit = self.repository.commit_experiment(arm.id, tree, message, now)
        folder = self.repository.add_worktree(commit.commit, self._worktree(commit))
        return Checkout(folder, self.code_hash, commit)

    def clean_up(self, checkout: Checkout) -> None:
        """Remove the worktree; the branch is the verdict's business."""
        if checkout.commit is not None:
            self.repository.remove_worktree(self._worktree(checkout.commit))

    def _worktree(self, commit: ExperimentCommit) -> Path:
        # The process's number is in the name, so that two `run` at once do not remove each other's.
        experiment = BranchName.parse(commit.branch).experiment
        return self.layout.worktrees / f"{experiment}-{commit.commit[:12]}-{os.getpid()}"

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
        self.copy = layout.results / "code" / self.code_hash[:12]
        self.note = f"code: a copy of {self.source}, since no git repository holds it; no branches are made"

    def check_out(self, arm: Arm, now: datetime) -> Checkout:
        """Copy the code once; all experiments share it."""
        if not self.copy.exists():
            self.copy.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.copy.parent) as folder:
                shutil.copytree(self.source, Path(folder) / CODE, ignore=shutil.ignore_patterns("__pycache__"))
                Path(folder).rename(self.copy)
                Path(folder).mkdir()
        return Checkout(self.copy, self.code_hash)

    def clean_up(self, checkout: Checkout) -> None:
        """Keep the copy: it is the only record of the code."""

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


def spec_content(arm: Arm) -> bytes:
    """Return the resolved experiment as its branch holds it."""
    return msgspec.json.format(msgspec.json.encode(arm), indent=2) + b"\n"
