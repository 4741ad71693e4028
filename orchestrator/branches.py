"""Git: one branch an experiment, made by plumbing, so that the user's checkout, index and branch are never touched.

experiment/<ID>-<YYYYmmdd_HHMMSS>     while it is open: one commit on the base, holding the resolved experiment
keeper/<ID>                           annotated tag on it, once its verdict is improved
refs/knockout/<ID>/<stamp>            where the commit stays when the branch of any other verdict is deleted
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import git

from orchestrator.errors import CodeError
from orchestrator.spec import ID_PATTERN

CODE = "model"
"""The folder whose code a job runs."""
NOT_CODE = ":(exclude,glob)**/__pycache__/**"
"""Byte code that Python leaves behind, where nothing tells git to ignore it."""
SPEC_FILE = ".knockout/experiment.json"
"""What an experiment's commit adds to its base."""
STAMP_FORMAT = "%Y%m%d_%H%M%S"
IDENTITY = {
    "GIT_AUTHOR_NAME": "Knockout",
    "GIT_AUTHOR_EMAIL": "knockout@localhost",
    "GIT_COMMITTER_NAME": "Knockout",
    "GIT_COMMITTER_EMAIL": "knockout@localhost",
}
_NAME = re.compile(rf"^experiment/(?P<id>{ID_PATTERN[1:-1]})-(?P<stamp>\d{{8}}_\d{{6}}(?:_\d+)?)$")


@dataclass(frozen=True)
class BranchName:
    """`experiment/E5-20260219_010041`; a second branch in the same second gets `_2` behind it."""

    experiment: str
    stamp: str

    def __str__(self) -> str:
        return f"experiment/{self.experiment}-{self.stamp}"

    @property
    def ref(self) -> str:
        """Full name of the branch."""
        return f"refs/heads/{self}"

    @property
    def kept_ref(self) -> str:
        """Where the commit stays once the branch is deleted."""
        return f"refs/knockout/{self.experiment}/{self.stamp}"

    @classmethod
    def parse(cls, name: str) -> "BranchName":
        """Read a branch name; ValueError if it is not one of ours."""
        match = _NAME.match(name)
        if match is None:
            raise ValueError(f"`{name}` is no experiment's branch")
        return cls(match["id"], match["stamp"])


@dataclass(frozen=True)
class ExperimentCommit:
    """The commit that an experiment's runs execute, and the branch that holds it."""

    branch: str
    commit: str
    base_commit: str


@dataclass(frozen=True)
class KnownCommit:
    """A commit of an experiment, and one of the refs that keep it."""

    experiment: str
    stamp: str
    ref: str
    commit: str
    committed: int
    """Seconds since 1970."""


class Repository:
    """The git repository around a campaign file. `folder` is where the campaign file and `model/` lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._repo = git.Repo(self.folder, search_parent_directories=True)
        self._git = git.Git(self.folder)
        if self._repo.bare:
            raise CodeError(f"{self.folder}: this repository is bare, it has no files to run; clone it first")
        try:
            self.base_commit = str(self._git.rev_parse("--verify", "--quiet", "HEAD^{commit}"))
        except git.GitCommandError:
            raise CodeError(
                f"{self.folder}: this repository has no commit yet, so no branch can start from one; "
                "run `git add -A && git commit -m start` first"
            ) from None

    @classmethod
    def find(cls, folder: Path) -> "Repository | None":
        """Open the repository around a folder, or None where there is none.

        Raises:
            CodeError: it is bare or has no commit.
        """
        try:
            return cls(folder)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError):
            return None

    @property
    def prefix(self) -> str:
        """The campaign's folder inside the repository, ending in `/` unless it is the top."""
        return str(self._git.rev_parse("--show-prefix"))

    def has_code(self) -> bool:
        """Whether the base commit holds the code of a job."""
        return bool(self._git.ls_tree("HEAD", "--", f"{CODE}/__main__.py"))

    def uncommitted_code(self) -> list[str]:
        """Return the files under `model/` that differ from the base commit."""
        status = self._git.status("--porcelain", "--untracked-files=all", "--", CODE, NOT_CODE)
        return [line[3:] for line in str(status).splitlines()]

    def code_hash(self, tree: str = "HEAD") -> str:
        """Hash the names and contents of all files under `model/` in a commit or tree."""
        listing = str(self._git.execute(["git", "ls-tree", "-r", "--full-tree", tree, f"{self.prefix}{CODE}/"]))
        pairs = []
        for line in listing.splitlines():
            meta, _, path = line.partition("\t")
            pairs.append((path.removeprefix(self.prefix), meta.split()[2]))
        return _hash_listing(dict(pairs))

    def snapshot_tree(self, files: Mapping[str, bytes], *, with_code: bool) -> str:
        """Write a tree: the base commit's, plus `files`, plus the working copy of `model/` if `with_code`."""
        with self._temporary_index() as environment:
            self._git.execute(["git", "read-tree", self.base_commit], env=environment)
            if with_code:
                self._git.execute(["git", "add", "--all", "--", CODE, NOT_CODE], env=environment)
            for path, content in files.items():
                blob = self._write_blob(content)
                entry = f"100644,{blob},{self.prefix}{path}"
                self._git.execute(["git", "update-index", "--add", "--cacheinfo", entry], env=environment)
            return str(self._git.execute(["git", "write-tree"], env=environment))

    @contextmanager
    def _temporary_index(self) -> Any:
        """An index of our own: the user's is never touched."""
        with tempfile.TemporaryDirectory(prefix="knockout-index-") as folder:
            yield {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index")}

    def _write_blob(self, content: bytes) -> str:
        with tempfile.NamedTemporaryFile(prefix="knockout-blob-") as file:
            file.write(content)
            file.flush()
            return str(self._git.hash_object("-w", "--no-filters", file.name))

    def commit_experiment(self, experiment: str, tree: str, message: str, now: datetime) -> ExperimentCommit:
        """Return the commit of this tree on the base for an experiment, on a new branch unless one is there already."""
        for ref, commit in self._commits_of(experiment):
            if self._is_commit_of(commit, tree):
                return ExperimentCommit(branch=_short(ref), commit=commit, base_commit=self.base_commit)
        command = ["git", "commit-tree", tree, "-p", self.base_commit, "-m", message]
        commit = str(self._git.execute(command, env=self._identity()))
        name = self._create_branch(experiment, commit, now)
        return ExperimentCommit(branch=str(name), commit=commit, base_commit=self.base_commit)

    def _commits_of(self, experiment: str) -> list[tuple[str, str]]:
        patterns = (f"refs/heads/experiment/{experiment}-*", f"refs/knockout/{experiment}/*")
        lines = str(self._git.for_each_ref("--format=%(refname) %(objectname)", *patterns)).splitlines()
        return [(ref, commit) for ref, _, commit in (line.partition(" ") for line in lines)]

    def _is_commit_of(self, commit: str, tree: str) -> bool:
        found = str(self._git.log("-1", "--format=%T %P", commit))
        return found == f"{tree} {self.base_commit}"

    def _identity(self) -> dict[str, str]:
        """The user's git identity, or ours where none is set."""
        try:
            self._git.var("GIT_COMMITTER_IDENT")
            configured = bool(self._git.config("--get", "user.email"))
        except git.GitCommandError:
            configured = False
        return dict(os.environ) if configured else {**IDENTITY, **os.environ}

    def _create_branch(self, experiment: str, commit: str, now: datetime) -> BranchName:
        stamp = now.strftime(STAMP_FORMAT)
        for number in range(1, 100):
            name = BranchName(experiment, stamp if number == 1 else f"{stamp}_{number}")
            if self._exists(name.kept_ref):
                # Retiring this branch would take the ref of one that was retired in the same second.
                continue
            try:
                # The zeros say "only if it is not there yet".
                self._git.update_ref(name.ref, commit, "0" * 40)
            except git.GitCommandError as error:
                if not self._exists(name.ref):
                    raise CodeError(f"git refuses the branch {name}: {_words(error)}") from None
                continue
            return name
        raise CodeError(f"a hundred branches of {experiment} have the stamp {stamp}; wait a second and run again")

    def _exists(self, ref: str) -> bool:
        return bool(self._git.for_each_ref("--format=%(refname)", ref))

    def add_worktree(self, commit: str, path: Path) -> Path:
        """Check a commit out at `path`, without a branch, and return where the campaign's folder is in it.

        Raises:
            CodeError: git refuses.
        """
        if not (path / ".git").exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._git.worktree("prune")
                self._git.worktree("add", "--detach", "--force", str(path), commit)
            except git.GitCommandError as error:
                raise CodeError(f"git cannot check out {commit[:12]} at {path}: {_words(error)}") from None
        return path / self.prefix

    def remove_worktree(self, path: Path) -> None:
        """Remove a checkout made by `add_worktree`, also one that git no longer knows."""
        try:
            self._git.worktree("remove", "--force", str(path))
        except git.GitCommandError:
            shutil.rmtree(path, ignore_errors=True)
            self._git.worktree("prune")

    def keep(self, experiment: ExperimentCommit, name: str, verdict: str) -> str:
        """Tag an experiment as keeper, its verdict (JSON) as the tag's message; an older tag moves."""
        tag = f"keeper/{name}"
        command = ["git", "tag", "--annotate", "--force", tag, experiment.commit, "-m", verdict]
        self._git.execute(command, env=self._identity())
        return tag

    def retire(self, experiment: ExperimentCommit) -> None:
        """Delete an experiment's branch; its commit stays under `refs/knockout/`."""
        name = BranchName.parse(experiment.branch)
        self._git.update_ref(name.kept_ref, experiment.commit)
        if self._exists(name.ref):
            self._git.update_ref("-d", name.ref, experiment.commit)

    @property
    def top(self) -> Path:
        """The top folder of the user's checkout."""
        return Path(str(self._git.rev_parse("--show-toplevel")))

    def open_branches(self) -> list[ExperimentCommit]:
        """Return the branches of experiments that have not been retired, in the order of their names."""
        lines = str(self._git.for_each_ref("--format=%(refname:lstrip=2) %(objectname)", "refs/heads/experiment/"))
        pairs = (line.split() for line in lines.splitlines())
        return [ExperimentCommit(name, commit, self.base_commit) for name, commit in pairs if _NAME.match(name)]

    def keepers(self) -> dict[str, str]:
        """Return experiment -> commit of its tag `keeper/<ID>`."""
        fields = "%(refname:lstrip=3) %(objectname) %(*objectname)"
        rows = (
            line.split() for line in str(self._git.for_each_ref(f"--format={fields}", "refs/tags/keeper/")).splitlines()
        )
        # The last is the commit: only an annotated tag has an object of its own before it.
        return {row[0]: row[-1] for row in rows}

    def checked_out(self) -> dict[str, Path]:
        """Return branch -> the checkout, the user's or a worktree, that stands on it."""
        found: dict[str, Path] = {}
        path = Path()
        for line in str(self._git.worktree("list", "--porcelain")).splitlines():
            key, _, value = line.partition(" ")
            if key == "worktree":
                path = Path(value)
            elif key == "branch":
                found[value.removeprefix("refs/heads/")] = path
        return found

    def known_commits(self) -> list[KnownCommit]:
        """Return the commits of all experiments: of branches, keepers and retired branches; the newest last."""
        fields = "%(refname) %(objectname) %(committerdate:unix) %(*objectname) %(*committerdate:unix)"
        places = ("refs/heads/experiment/", "refs/tags/keeper/", "refs/knockout/")
        lines = str(self._git.for_each_ref(f"--format={fields}", *places)).splitlines()
        commits = [known for line in lines if (known := _read_ref(*line.split())) is not None]
        return sorted(commits, key=lambda known: (known.committed, known.stamp, known.ref))

    def code_changes(self, commit: str, tree: str) -> list[str] | None:
        """List the files under `model/` that differ from a commit to a commit or tree; None for an unknown commit."""
        command = ["git", "diff", "--numstat", "--no-renames", "--relative", commit, tree, "--", CODE]
        try:
            self._git.rev_parse("--verify", "--quiet", f"{commit}^{{commit}}")
        except git.GitCommandError:
            return None
        rows = (line.split("\t") for line in str(self._git.execute(command)).splitlines())
        return [f"{path} (+{added} -{deleted})" for added, deleted, path in rows]


def _read_ref(ref: str, *objects: str) -> KnownCommit | None:
    """Read one line of `known_commits`; None for a ref that is not ours."""
    if ref.startswith("refs/tags/keeper/"):
        name, stamp = ref.removeprefix("refs/tags/keeper/"), ""
    else:
        try:
            branch = BranchName.parse(_short(ref))
        except ValueError:
            return None
        name, stamp = branch.experiment, branch.stamp
    # The last two are the commit and its date: only an annotated tag has an object of its own before them.
    return KnownCommit(name, stamp, ref, objects[-2], int(objects[-1]))


def _short(ref: str) -> str:
    if ref.startswith("refs/heads/"):
        return ref.removeprefix("refs/heads/")
    _, _, experiment, stamp = ref.split("/")
    return str(BranchName(experiment, stamp))


def _words(error: git.GitCommandError) -> str:
    return str(error.stderr).strip().removeprefix("stderr:").strip(" '\n")


def hash_code_folder(folder: Path) -> str:
    """Hash the code in a folder that git does not know, to the same value as `Repository.code_hash` gives for it."""
    blobs = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            header = f"blob {len(content)}\0".encode()
            name = f"{CODE}/{path.relative_to(folder).as_posix()}"
            blobs[name] = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    return _hash_listing(blobs)


def _hash_listing(blobs: Mapping[str, str]) -> str:
    lines = "".join(f"{blob} {path}\n" for path, blob in sorted(blobs.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
