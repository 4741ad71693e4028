"""The git repository around a campaign: the code in its commits, on the disk, and in trees made from both.

Everything is made by git's plumbing commands: the user's checkout, index and branch are never touched.
"""

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.code import worktrees
from orchestrator.code.blobs import GONE, SUBMODULE, describe_fault, describe_submodule, hash_listing, list_few
from orchestrator.code.branches import Branches
from orchestrator.code.edits import Edit, find_edits, read_stored
from orchestrator.code.git import Git, GitError, NoGitError, split_zeros
from orchestrator.code.pathspecs import (
    Pathspecs,
    complete,
    is_exclusion,
    is_plain,
    list_tree,
    name_code,
    pick,
    refuse_unmatched,
    with_spec,
)
from orchestrator.errors import CodeError
from orchestrator.runs.order import DEFAULT_CODE

MAX_NAMES = 5000
"""Most files of a repository among which a name that is nearly right is looked for."""


class NoRepositoryError(CodeError):
    """No git repository is around a folder."""


class Repository:
    """The git repository around a campaign file.

    Attributes:
        folder: where the campaign file lies.
        code: git pathspecs of the task's code, relative to that folder.
        git: git in that folder.
        prefix: the folder inside the repository, ending in `/`; empty at the top.
        top: the folder at the top of the repository.
        base_commit: what `HEAD` was when the repository was opened.
        branches: the branches of experiments on that commit.

    Raises:
        CodeError: git refuses, or the repository is bare or has no commit.
        NoRepositoryError: there is none.
    """

    def __init__(self, folder: Path, code: Pathspecs = DEFAULT_CODE) -> None:
        self.folder, self.code = folder.resolve(), code
        self._files: dict[str, dict[str, tuple[str, str]]] = {}
        if not self.folder.is_dir():
            raise NoRepositoryError(f"{self.folder}: there is no such folder")
        self.git = Git(self.folder)
        self.prefix, self.top = self._find_place()
        base_commit = self.git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if base_commit is None:
            raise CodeError(
                f"{self.folder}: this repository has no commit yet, so no branch can start from one; "
                "run `git add -A && git commit -m start` first"
            )
        self.base_commit = base_commit
        self.branches = Branches(self.git, base_commit)

    def _find_place(self) -> tuple[str, Path]:
        """Return the prefix of the campaign's folder, and the top of the repository."""
        try:
            prefix, top = self.git("rev-parse", "--show-prefix", "--show-toplevel").split("\n")
        except NoGitError:
            # Without git, only a `.git` shows that the code is in a repository: then a copy would be wrong.
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
    def find(cls, folder: Path, code: Pathspecs = DEFAULT_CODE) -> "Repository | None":
        """Open the repository around a folder, for some code; None where there is none.

        Raises:
            CodeError: git refuses, or the repository is bare or has no commit.
        """
        try:
            return cls(folder, code)
        except NoRepositoryError:
            return None

    def has_code(self) -> bool:
        """Whether the base commit holds a file of the code."""
        return bool(self.code_files("HEAD"))

    def uncommitted_code(self) -> list[str]:
        """Return the files of the code that differ between the disk and the base commit, with a note on each."""
        return [str(edit) for edit in self.find_edits()]

    def find_edits(self) -> list[Edit]:
        """Return the differences of the code between the disk and the base commit."""
        words = complete(self.code)
        return find_edits(self.git, self.folder, self.code_files("HEAD"), words, len(self.base_commit))

    def require_matches(self, edits: Iterable[Edit]) -> None:
        """Refuse a pathspec that matches no file, since it is mistyped.

        Args:
            edits: what differs between the disk and the base commit.

        Raises:
            CodeError: names the pathspec, and the file or folder with the nearest name.
        """
        held = {*self.code_files("HEAD"), *(edit.path for edit in edits)}
        for word in self.code:
            if not is_exclusion(word) and not self._matches(word, held):
                raise self._refuse_unmatched(word)

    def _matches(self, word: str, held: set[str]) -> bool:
        if is_plain(word) and not Path(word).is_absolute():
            path = posixpath.normpath(word)
            return (path == "." and bool(held)) or any(name == path or name.startswith(f"{path}/") for name in held)
        return bool(pick(self.git, map(self.outer, held), complete((word,)), len(self.base_commit)))

    def _refuse_unmatched(self, word: str) -> CodeError:
        found = "`git ls-files` lists those there are"
        if is_plain(word) and (self.folder / word).exists():
            add = f"git add --force {shlex.quote(word)}"
            return refuse_unmatched(self.folder, word, (), f"git ignores it, or it is empty: `{add}` takes its files")
        listed = split_zeros(self.git("ls-tree", "-r", "--name-only", "-z", self.base_commit))[:MAX_NAMES]
        names = {*listed, *(folder for path in listed if (folder := posixpath.dirname(path)))}
        return refuse_unmatched(self.folder, word, names, found)

    def inner(self, path: str) -> str:
        """Return a path from the campaign's folder, given that from the top of the repository."""
        return path.removeprefix(self.prefix) if path.startswith(self.prefix) else posixpath.relpath(path, self.prefix)

    def outer(self, path: str) -> str:
        """Return a path from the top of the repository, given that from the campaign's folder."""
        return posixpath.normpath(f"{self.prefix}{path}")

    def code_files(self, tree: str) -> dict[str, tuple[str, str]]:
        """Return the files of the code in a commit or tree: path from the campaign's folder -> mode and blob.

        Raises:
            CodeError: the code has a submodule, whose files no commit of this repository holds.
        """
        files = {}
        name, length = self._resolve(tree), len(self.base_commit)
        if name in self._files:
            return self._files[name]
        for path, (mode, blob) in list_tree(self.git, name, complete(self.code), length).items():
            files[self.inner(path)] = (mode, blob)
            if mode == SUBMODULE:
                raise CodeError(describe_submodule(self.top / path, self.top))
        # The name of a branch may stand for another commit later.
        if len(name) == length:
            self._files[name] = files
        return files

    def _resolve(self, tree: str) -> str:
        """Return the base commit for `HEAD`: the user's `HEAD` may have moved since."""
        return self.base_commit if tree == "HEAD" else tree

    def code_hash(self, tree: str = "HEAD") -> str:
        """Hash the names and contents of all files of the code in a commit or tree."""
        return hash_listing({path: blob for path, (_, blob) in self.code_files(tree).items()})

    def require_plain_code(self, tree: str = "HEAD") -> None:
        """Refuse a commit or tree whose code holds anything but source files, such as a link.

        Raises:
            CodeError: names the files.
        """
        found = ((path, describe_fault(path, mode)) for path, (mode, _) in self.code_files(tree).items())
        faults = [f"{path} ({fault})" for path, fault in found if fault]
        if faults:
            raise CodeError(
                f"{self.folder}: {name_code(self.code)} must be source files, and these are none: {list_few(faults)}; "
                "remove each of them, or put the file itself in its place, and commit that; `git rm --cached FILE` "
                "removes it from git alone"
            )

    def snapshot_tree(self, files: Mapping[str, bytes], *, with_code: bool, tree: str = "HEAD") -> str:
        """Write a tree that holds another tree and some files; return its name.

        Args:
            files: path from the campaign's folder -> content; these are added.
            with_code: whether the code is taken from the disk, uncommitted changes included.
            tree: the commit or tree that all else is taken from.

        Raises:
            CodeError: git refuses, or a submodule is in the code.
        """
        with self.git.temporary_index(self._resolve(tree)) as index:
            entries = self._edited_entries() if with_code else []
            blobs = zip(files, self.git.write_blobs(list(files.values())), strict=True)
            entries += [f"100644 {blob}\t{self.prefix}{path}" for path, blob in blobs]
            self.git.update_index(index, entries)
            return self.git("write-tree", env=index)

    def _edited_entries(self) -> list[str]:
        """Store the edited files of the code; return entries of an index, those of deleted files first."""
        edits = self.find_edits()
        for edit in edits:
            if edit.mode == SUBMODULE:
                raise CodeError(describe_submodule(self.folder / edit.path, self.top))
        # A deleted file may have the name of a new folder, so git must drop it first.
        gone = [edit for edit in edits if edit.mode == GONE]
        there = [edit for edit in edits if edit.mode != GONE]
        length = len(self.base_commit)
        blobs = self.git.write_blobs([read_stored(self.git, self.folder, edit, length) for edit in there])
        return [
            *(f"0 {'0' * length}\t{self.outer(edit.path)}" for edit in gone),
            *(f"{edit.mode} {blob}\t{self.outer(edit.path)}" for edit, blob in zip(there, blobs, strict=True)),
        ]

    def add_worktree(self, commit: str, path: Path) -> Path:
        """Check out a commit's code at `path`, without a branch; return the campaign's folder in it.

        The files are those of the commit to the byte, whatever attributes, filters and `core.autocrlf` say.

        Raises:
            CodeError: git refuses, or something else is at `path`.
        """
        worktrees.add(self.git, commit, path, self.code)
        return path / self.prefix

    def worktree_blobs(self, commit: str) -> dict[str, str]:
        """Return what a worktree of a commit's code holds: path from its top -> git's name of the content."""
        return {
            path: blob for path, (_, blob) in list_tree(self.git, commit, with_spec(self.code), len(commit)).items()
        }

    def add_whole_worktree(self, commit: str, path: Path) -> Path:
        """Check out all files of a commit at `path`, for one run; return the campaign's folder in it.

        What was at `path` is removed. The files are those of the commit to the byte.

        Raises:
            CodeError: git refuses, or `path` cannot be written.
        """
        worktrees.add_for_run(self.git, commit, path)
        folder = path / self.prefix
        # A campaign file that is in no commit may lie in a folder that no commit has.
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def remove_worktree(self, path: Path) -> None:
        """Remove a checkout made by `add_worktree`, also one that git no longer knows.

        Raises:
            CodeError: the user has locked it.
        """
        worktrees.remove(self.git, path)

    def code_changes(self, commit: str, tree: str) -> list[str] | None:
        """List the files of the code that differ between two commits or trees, as `model/x.py (+3 -1)`.

        Returns:
            None if git does not know the first.
        """
        if self.git.ask("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}") is None:
            return None
        command = ("diff-tree", "-r", "-z", "--numstat", "--no-renames", commit, tree, "--", *complete(self.code))
        rows = (row.split("\t", 2) for row in split_zeros(self.git(*command)))
        return [
            f"{self.inner(path)} (binary)" if added == "-" else f"{self.inner(path)} (+{added} -{deleted})"
            for added, deleted, path in rows
        ]
