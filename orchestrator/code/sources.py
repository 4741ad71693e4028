"""The code that an experiment's runs execute: commits of a repository, or a copy outside one.

It is fixed when runs are queued. Later changes of the user's files do not reach them.
"""

import os
import shlex
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from orchestrator.code.blobs import CODE, blob_name, hash_listing, list_few, write_listing
from orchestrator.code.folders import is_code_unchanged, read_code_folder
from orchestrator.code.git import NoGitError
from orchestrator.code.patches import RefusedError, apply_patch, changed_files, read_patch, take_ref
from orchestrator.code.refs import ExperimentCommit
from orchestrator.code.repository import Repository
from orchestrator.code.steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import CodeError
from orchestrator.files import content_hash
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths
from orchestrator.task.call import installed_folder

LISTING = "listing"
"""File in a copy of the code: the names and contents of all its files."""


@dataclass(frozen=True)
class ArmCode:
    """The code of an experiment's stack, or why it is refused."""

    tree: str
    """The repository's whole tree; empty if the stack is refused."""
    hash: str
    """Hash of its `model/`; if the stack is refused, hash of the attempt."""
    changes: tuple[str, ...] = ()
    """Files that the stack changes, as `model/x.py (+3 -1)`."""
    differs_beyond: tuple[str, ...] = ()
    """Files that differ because a ref forked from an older reference."""
    refusal: str | None = None


class GitCode:
    """Code in the repository around the campaign: each experiment has a branch.

    Args:
        repository: around the campaign.
        paths: the campaign's folders.
        snapshot: whether uncommitted changes to the code are taken along; otherwise they are refused.

    Raises:
        CodeError: the code has uncommitted changes, or holds more than source files.
    """

    def __init__(self, repository: Repository, paths: Paths, *, snapshot: bool) -> None:
        self.repository, self.paths = repository, paths
        self.changed = changed = repository.uncommitted_code()
        """Files of the code with uncommitted changes."""
        if not snapshot:
            self.require_committed()
        self.tree = repository.snapshot_tree({}, with_code=True) if changed else "HEAD"
        repository.require_plain_code(self.tree)
        self.code_hash = repository.code_hash(self.tree)
        with_changes = f", with uncommitted changes: {list_few(changed)}" if changed else ""
        self.note = f"code: commit {repository.base_commit[:12]}{with_changes}"
        self._known: dict[tuple[CodeStep, ...], ArmCode] = {(): ArmCode(self.tree, self.code_hash)}

    def require_committed(self) -> None:
        """Refuse uncommitted changes.

        Raises:
            CodeError: the code that jobs run has some.
        """
        if self.changed:
            raise CodeError(
                f"uncommitted changes to the code that jobs run: {list_few(self.changed)}; commit them, or take them "
                "onto the experiments' branches as they are with --snapshot"
            )

    def code_of(self, steps: tuple[CodeStep, ...]) -> ArmCode:
        """Return the code of a stack: all its patches and refs, applied in order."""
        # Each beginning of the stack is kept.
        # Experiments that stand on one stack share its tree, and git applies it once.
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
                patch = read_patch(self.paths.root / str(step.patch))
                tree = apply_patch(self.repository, before.tree, patch, str(step.patch))
        except RefusedError as error:
            # A refused attempt needs a hash of its own: once the patch is mended, it is another run.
            attempt = msgspec.json.encode([before.hash, step, str(error)])
            return ArmCode("", content_hash(attempt), before.changes, before.differs_beyond, str(error))
        changes = changed_files(self.repository, self.tree, tree)
        return ArmCode(tree, self.repository.code_hash(tree), changes, (*before.differs_beyond, *beyond))

    def commit(self, content: BranchContent, now: datetime) -> OrderedCode:
        """Give an experiment its branch: one commit with its code and its description.

        Args:
            content: what the branch is made of.
            now: the time in the name of a new branch.

        Raises:
            CodeError: git refuses.
        """
        code = self.code_of(content.steps)
        if code.refusal:
            return OrderedCode(tree=code.hash)
        tree = self.repository.snapshot_tree({SPEC_FILE: content.spec}, with_code=False, tree=code.tree)
        commit = self.repository.branches.commit_experiment(content.experiment, tree, content.message, now)
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
        """Tag an experiment as keeper with its verdict (JSON); without a verdict, retire its branch."""
        if keeper_verdict is not None:
            self.repository.branches.keep(commit, name, keeper_verdict)
        else:
            self.repository.branches.retire(commit)


def _installed_model() -> Path:
    """Return the installed `model`, which is not imported: that would load torch.

    Raises:
        CodeError: it is not installed.
    """
    folder = installed_folder(CODE)
    if folder is None:
        raise CodeError(f"there is no `{CODE}/` beside the campaign file, and none is installed; install the studies")
    return folder / CODE


class CopiedCode:
    """Code outside a repository: a copy of the campaign's `model/`, or of the installed one.

    Args:
        paths: the campaign's folders.
        why: the reason for a copy, for the note about the code.
    """

    def __init__(self, paths: Paths, why: str = "no git repository holds it") -> None:
        local = paths.root / CODE
        self.source = local if (local / "__main__.py").exists() else _installed_model()
        # Read once, so that the copy made later has the bytes that were hashed.
        self._files = read_code_folder(self.source)
        self._blobs = {path: blob_name(content) for path, content in self._files.items()}
        self.code_hash = hash_listing(self._blobs)
        self.copy = paths.code_copy(self.code_hash)
        self.note = f"code: a copy of {self.source}, since {why}; no branches are made"

    def require_committed(self) -> None:
        """There is nothing to commit."""

    def code_of(self, steps: tuple[CodeStep, ...]) -> ArmCode:
        """Return the only code there is; without git, an experiment that changes code is refused."""
        if not steps:
            return ArmCode("", self.code_hash)
        step = steps[-1]
        refusal = f"`{step.patch or step.ref}` needs a git repository around {self.source}; make one with `git init`"
        return ArmCode("", content_hash(msgspec.json.encode([self.code_hash, steps])), refusal=refusal)

    def commit(self, content: BranchContent, now: datetime) -> OrderedCode:
        """Copy the code once; all experiments share it."""
        try:
            if not self.copy.exists():
                self._write_copy()
        except OSError as error:
            # Another process may have made the copy first; it is checked below too.
            if not self.copy.exists():
                where = error.filename or self.copy.parent
                raise CodeError(f"{where}: a copy of the code is to be written here: {error.strerror}") from None
        require_copy(self.copy, self.code_hash)
        return OrderedCode(tree=self.code_of(content.steps).hash)

    def _write_copy(self) -> None:
        self.copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.copy.parent) as folder:
            whole = Path(folder) / "whole"
            for path, content in self._files.items():
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).write_bytes(content)
            (whole / LISTING).write_bytes(write_listing(self._blobs))
            # Renamed when complete, so that no process ever sees half a copy.
            whole.rename(self.copy)

    def settle(self, name: str, commit: ExperimentCommit, keeper_verdict: str | None) -> None:
        """Do nothing: there is no branch."""


Code = GitCode | CopiedCode


def find_code(paths: Paths, *, snapshot: bool) -> Code:
    """Find the code that jobs run: the repository around the campaign, or a copy.

    Args:
        paths: the campaign's folders.
        snapshot: whether uncommitted changes are taken along.

    Raises:
        CodeError: the repository is bare, has no commit, or its code has uncommitted changes.
    """
    repository = Repository.find(paths.root)
    if repository is None:
        return CopiedCode(paths)
    # A repository around the folder may have nothing to do with the campaign.
    if not repository.has_code() and not repository.uncommitted_code():
        return CopiedCode(paths)
    return GitCode(repository, paths, snapshot=snapshot)


def look_at_code(paths: Paths) -> Code:
    """Find the code that results are compared with, for a command that trains nothing.

    If git is missing, this is the code in the folder.


    Raises:
        CodeError: git refuses.
    """
    try:
        return find_code(paths, snapshot=True)
    except NoGitError as error:
        return CopiedCode(paths, why=str(error))


def require_copy(copy: Path, code_hash: str) -> None:
    """Refuse a copy that was changed: its listing must have the hash, and its files must be those of the listing.

    A copy of an older version has no listing, and is accepted.

    Raises:
        CodeError: it was changed.
    """
    try:
        listing = (copy / LISTING).read_bytes()
    except FileNotFoundError:
        return
    pairs = (line.split(" ", 1) for line in os.fsdecode(listing).split("\n")[:-1])
    if content_hash(listing) != code_hash or not is_code_unchanged(copy, {path: blob for blob, path in pairs}):
        raise CodeError(
            f"{copy}: this copy of the code is not what it was when runs were queued with it; remove it, and queue the "
            f"runs again: rm -r {shlex.quote(str(copy))}"
        )
