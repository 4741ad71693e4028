"""Git: one branch an experiment, made by plumbing, so that the user's checkout, index and branch are never touched.

experiment/<ID>-<YYYYmmdd_HHMMSS>     while it is open: one commit on the base, holding the resolved experiment
keeper/<ID>                           annotated tag on it, once its verdict is improved
refs/knockout/<ID>/<stamp>            where the commit stays when the branch of any other verdict is deleted
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.code import worktrees
from orchestrator.code.blobs import CODE, GONE, SUBMODULE, fault_of, few, hash_listing, in_submodule
from orchestrator.code.edits import Edit, find_edits, stored
from orchestrator.code.git import Git, GitError, NoGitError, parts
from orchestrator.code.refs import BRANCH_PATTERN, STAMP_FORMAT, BranchName, ExperimentCommit, KnownCommit
from orchestrator.errors import CodeError


class NoRepositoryError(CodeError):
    """No git repository is around a folder."""


class Repository:
    """The git repository around a campaign file. `folder` is where the campaign file and `model/` lie.

    Raises:
        CodeError: git refuses; the repository is bare or has no commit; NoRepositoryError if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not self.folder.is_dir():
            raise NoRepositoryError(f"{self.folder}: there is no such folder")
        self.git = Git(self.folder)
        self.prefix, self.top = self._find()
        base_commit = self.git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if base_commit is None:
            raise CodeError(
                f"{self.folder}: this repository has no commit yet, so no branch can start from one; "
                "run `git add -A && git commit -m start` first"
            )
        self.base_commit = base_commit

    def _find(self) -> tuple[str, Path]:
        """Return the campaign's folder inside the repository, ending in `/` unless it is the top, and the top."""
        try:
            prefix, top = self.git("rev-parse", "--show-prefix", "--show-toplevel").split("\n")
        except NoGitError:
            if any((folder / ".git").exists() for folder in (self.folder, *self.folder.parents)):
                raise
            raise NoRepositoryError(f"{self.folder}: no git repository is here") from None
        except GitError as error:
            if "not a git repository (or any" in error.words:
                raise NoRepositoryError(f"{self.folder}: no git repository is here") from None
            if "must be run in a work tree" in error.words:
                raise CodeError(
                    f"{self.folder}: this repository is bare, it has no files to run; clone it first: "
                    f"git clone {self.folder} {self.folder}-clone"
                ) from None
            raise CodeError(f"{self.folder}: git refuses this repository: {error.words}") from None
        return prefix, Path(top)

    @classmethod
    def find(cls, folder: Path) -> "Repository | None":
        """Open the repository around a folder, or None where there is none.

        Raises:
            CodeError: git refuses, or it is bare or has no commit.
        """
        try:
            return cls(folder)
        except NoRepositoryError:
            return None

    def has_code(self) -> bool:
        """Whether the base commit holds the code of a job."""
        return f"{CODE}/__main__.py" in self.code_files("HEAD")

    def uncommitted_code(self) -> list[str]:
        """Return the files under `model/` whose bytes on the disk are not those of the base commit."""
        return list(map(str, self._edits()))

    def _edits(self) -> list[Edit]:
        return find_edits(self.git, self.folder, self.code_files("HEAD"), len(self.base_commit))

    def code_files(self, tree: str) -> dict[str, tuple[str, str]]:
        """Return the files under `model/` in a commit or tree: path from the campaign's folder -> mode and blob.

        Raises:
            CodeError: one is a submodule, whose files no commit of this repository holds.
        """
        listing = self.git("ls-tree", "-r", "-z", "--full-tree", self._start(tree), "--", f"{self.prefix}{CODE}")
        files = {}
        for line in parts(listing):
            meta, _, path = line.partition("\t")
            mode, _, blob = meta.split()
            files[path.removeprefix(self.prefix)] = (mode, blob)
            if mode == SUBMODULE:
                raise CodeError(in_submodule(self.top / path, self.top))
        return files

    def _start(self, tree: str) -> str:
        """The base commit for `HEAD`: the user's may have gone on since."""
        return self.base_commit if tree == "HEAD" else tree

    def code_hash(self, tree: str = "HEAD") -> str:
        """Hash the names and contents of all files under `model/` in a commit or tree."""
        return hash_listing({path: blob for path, (_, blob) in self.code_files(tree).items()})

    def require_plain_code(self, tree: str = "HEAD") -> None:
        """Refuse a commit or tree whose `model/` holds what a patch may not bring either.

        Raises:
            CodeError: names the files.
        """
        found = ((path, fault_of(path, mode)) for path, (mode, _) in self.code_files(tree).items())
        faults = [f"{path} ({fault})" for path, fault in found if fault]
        if faults:
            raise CodeError(
                f"{self.folder / CODE}: jobs run source files, and these are none: {few(faults)}; remove each of them, "
                "or put the file itself in its place, and commit that; `git rm --cached FILE` removes it from git alone"
            )

    def snapshot_tree(self, files: Mapping[str, bytes], *, with_code: bool, tree: str = "HEAD") -> str:
        """Write a tree: that of the base commit or `tree`, plus `files`, plus the working copy of `model/` if asked.

        Raises:
            CodeError: git refuses, or a submodule is under `model/`.
        """
        with self.git.temporary_index(self._start(tree)) as index:
            entries = self._edited_entries() if with_code else []
            blobs = zip(files, self.git.write_blobs(list(files.values())), strict=True)
            entries += [f"100644 {blob}\t{self.prefix}{path}" for path, blob in blobs]
            self.git.update_index(index, entries)
            return self.git("write-tree", env=index)

    def _edited_entries(self) -> list[str]:
        """Store what is edited under `model/`; return it as entries of an index, what is gone first."""
        edits = self._edits()
        for edit in edits:
            if edit.mode == SUBMODULE:
                raise CodeError(in_submodule(self.folder / edit.path, self.top))
        gone = [edit for edit in edits if edit.mode == GONE]
        there = [edit for edit in edits if edit.mode != GONE]
        length = len(self.base_commit)
        blobs = self.git.write_blobs([stored(self.git, self.folder, edit, length) for edit in there])
        return [
            *(f"0 {'0' * length}\t{self.prefix}{edit.path}" for edit in gone),
            *(f"{edit.mode} {blob}\t{self.prefix}{edit.path}" for edit, blob in zip(there, blobs, strict=True)),
        ]

    def commit_experiment(self, experiment: str, tree: str, message: str, now: datetime) -> ExperimentCommit:
        """Return the commit of this tree on the base for an experiment, on a new branch unless one is there already.

        Raises:
            CodeError: git refuses.
        """
        taken = set()
        for name, commit, *content in self._commits_of(experiment):
            if content == [tree, self.base_commit]:
                return ExperimentCommit(branch=str(name), commit=commit, base_commit=self.base_commit)
            taken.add(name)
        command = ("commit-tree", tree, "-p", self.base_commit, "--no-gpg-sign", "-m", message)
        commit = self.git(*command, env=self.git.identity())
        branch = self._create_branch([name for name in _names(experiment, now) if name not in taken], commit)
        return ExperimentCommit(branch=str(branch), commit=commit, base_commit=self.base_commit)

    def _commits_of(self, experiment: str) -> Iterator[tuple[BranchName, str, str, str]]:
        """Return the commits of an experiment: branch, commit, tree, parent."""
        places = (f"refs/heads/experiment/{experiment}-*", f"refs/knockout/{experiment}/*")
        fields = "%(refname) %(objectname) %(tree) %(parent)"
        for line in self.git("for-each-ref", f"--format={fields}", *places).splitlines():
            ref, commit, tree, parents = line.split(" ", 3)
            name = _read_name(ref)
            # `E5-*` finds the branches of E5-wide, too.
            if name is not None and name.experiment == experiment:
                yield name, commit, tree, parents

    def _create_branch(self, names: list[BranchName], commit: str) -> BranchName:
        """Create the first of these branches that is free."""
        for name in names:
            # Retiring this branch must not take the ref of one that was retired in the same second.
            change = (f"create {name.ref} {commit}", f"verify {name.kept_ref} {'0' * len(commit)}")
            try:
                self._change_refs(*change)
            except GitError as error:
                if not self.git("for-each-ref", name.ref, name.kept_ref):
                    raise CodeError(f"git refuses the branch {name}: {error.words}") from None
            else:
                return name
        raise CodeError(
            f"{commit[:12]} needs a branch, and a hundred branches of its experiment have the stamp of this second; "
            "wait a second and run again"
        )

    def _change_refs(self, *changes: str) -> None:
        """Change all of these refs or none."""
        self.git(
            "update-ref",
            "--stdin",
            stdin="".join(f"{change}\n" for change in changes).encode(),
            env=self.git.identity(),
        )

    def add_worktree(self, commit: str, path: Path) -> Path:
        """Check a commit's code out at `path`, without a branch, and return where the campaign's folder is in it.

        Its files are those of the commit to the byte, whatever attributes, filters and `core.autocrlf` say.

        Raises:
            CodeError: git refuses, or something else is at `path`.
        """
        worktrees.add(self.git, commit, path, self.prefix)
        return path / self.prefix

    def remove_worktree(self, path: Path) -> None:
        """Remove a checkout made by `add_worktree`, also one that git no longer knows.

        Raises:
            CodeError: the user has locked it.
        """
        worktrees.remove(self.git, path)

    def keep(self, experiment: ExperimentCommit, name: str, verdict: str) -> str:
        """Tag an experiment as keeper, its verdict (JSON) as the tag's message; an older tag moves.

        Raises:
            CodeError: git refuses.
        """
        tag = f"keeper/{name}"
        options = ("--annotate", "--force", "--no-sign", "--cleanup=verbatim")
        try:
            self.git("tag", *options, "-m", verdict, tag, experiment.commit, env=self.git.identity())
        except GitError as error:
            raise CodeError(f"git refuses the tag {tag} on {experiment.commit[:12]}: {error.words}") from None
        return tag

    def retire(self, experiment: ExperimentCommit) -> None:
        """Move an experiment's commit from its branch to `refs/knockout/`.

        A branch that somebody has moved on or has checked out stays.

        Raises:
            CodeError: git refuses.
        """
        name = BranchName.parse(experiment.branch)
        found = self.git("for-each-ref", "--format=%(refname) %(objectname)%(worktreepath)", name.ref)
        changes = [f"update {name.kept_ref} {experiment.commit}"]
        if f"{name.ref} {experiment.commit}" in found.splitlines():
            changes.append(f"delete {name.ref} {experiment.commit}")
        try:
            self._change_refs(*changes)
        except GitError as error:
            raise CodeError(f"git cannot retire the branch {name}: {error.words}") from None

    def open_branches(self) -> list[ExperimentCommit]:
        """Return the branches of experiments that have not been retired, in the order of their names."""
        lines = self.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads/experiment/")
        pairs = (line.split() for line in lines.splitlines())
        return [
            ExperimentCommit(name, commit, self.base_commit) for name, commit in pairs if BRANCH_PATTERN.match(name)
        ]

    def retired_branches(self) -> list[ExperimentCommit]:
        """Return what is left of retired branches under the names that they had."""
        lines = self.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/knockout/").splitlines()
        pairs = ((f"experiment/{'-'.join(line.split()[0].rsplit('/', 1))}", line.split()[1]) for line in lines)
        return [
            ExperimentCommit(name, commit, self.base_commit) for name, commit in pairs if BRANCH_PATTERN.match(name)
        ]

    def keepers(self) -> dict[str, str]:
        """Return experiment -> commit of its tag `keeper/<ID>`."""
        fields = "%(refname:lstrip=3) %(objectname) %(*objectname)"
        rows = (
            line.split() for line in self.git("for-each-ref", f"--format={fields}", "refs/tags/keeper/").splitlines()
        )
        # The last is the commit: only an annotated tag has an object of its own before it.
        return {row[0]: row[-1] for row in rows}

    def checked_out(self) -> dict[str, Path]:
        """Return branch -> the checkout, the user's or a worktree, that stands on it."""
        found: dict[str, Path] = {}
        path = Path()
        for line in self.git("worktree", "list", "--porcelain").splitlines():
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
        lines = self.git("for-each-ref", f"--format={fields}", *places).splitlines()
        commits = [known for line in lines if (known := _read_ref(*line.split())) is not None]
        return sorted(commits, key=lambda known: (known.committed, known.stamp, known.ref))

    def code_changes(self, commit: str, tree: str) -> list[str] | None:
        """List the files under `model/` that differ from a commit to a commit or tree; None if the first is unknown."""
        if self.git.ask("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}") is None:
            return None
        command = ("diff-tree", "-r", "-z", "--numstat", "--no-renames", "--relative", commit, tree, "--", CODE)
        rows = (row.split("\t", 2) for row in parts(self.git(*command)))
        return [
            f"{path} (binary)" if added == "-" else f"{path} (+{added} -{deleted})" for added, deleted, path in rows
        ]


def _read_ref(ref: str, *objects: str) -> KnownCommit | None:
    """Read one line of `known_commits`; None for a ref that is not ours, or not on a commit."""
    if ref.startswith("refs/tags/keeper/"):
        name, stamp = ref.removeprefix("refs/tags/keeper/"), ""
    elif (branch := _read_name(ref)) is not None:
        name, stamp = branch.experiment, branch.stamp
    else:
        return None
    if len(objects) < 2 or not objects[-1].isdigit():
        return None
    # The last two are the commit and its date: only an annotated tag has an object of its own before them.
    return KnownCommit(name, stamp, ref, objects[-2], int(objects[-1]))


def _read_name(ref: str) -> BranchName | None:
    """Read the name of a branch from its ref, open or retired; None if it is not one of ours."""
    if not ref.startswith("refs/heads/"):
        folder, _, stamp = ref.rpartition("/")
        ref = f"experiment/{folder.removeprefix('refs/knockout/')}-{stamp}"
    match = BRANCH_PATTERN.match(ref.removeprefix("refs/heads/"))
    return BranchName(match["id"], match["stamp"]) if match else None


def _names(experiment: str, now: datetime) -> Iterator[BranchName]:
    """All names of branches of one second."""
    stamp = now.strftime(STAMP_FORMAT)
    yield BranchName(experiment, stamp)
    for number in range(2, 101):
        yield BranchName(experiment, f"{stamp}_{number}")
