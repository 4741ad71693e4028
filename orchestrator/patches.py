"""Code of an experiment that is not the base's: the base with a patch, or with another ref's `model/`."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.branches import CODE, Repository
from orchestrator.errors import CodeError
from orchestrator.plumbing import GitError, parts

FILE_MODES = {"100644", "100755"}
GONE = "000000"
MODES = {"120000": "a symbolic link", "160000": "a submodule"}
ATTRIBUTES = ".gitattributes"
"""They change what git writes into a worktree, so that a job would not run the files that its commit holds."""
BYTE_CODE = "__pycache__"
"""Python may run it in place of the source beside it."""
_HASH = re.compile(r"[0-9a-f]{40,64}")


class RefusedError(CodeError):
    """A patch or a ref cannot be an experiment's code."""


@dataclass(frozen=True)
class TakenRef:
    """A tree with the `model/` of a ref."""

    tree: str
    commit: str
    """What the ref resolved to."""
    forked_from: str | None
    """The newest commit that the ref and the base share; None where there is none, or a shallow clone lacks it."""
    other_files: tuple[str, ...]
    """Files that the ref's code differs in without a commit of its own: the reference's have gone on since the fork."""


@dataclass(frozen=True)
class _Change:
    """One path that differs from one tree to another; it starts at the campaign's folder."""

    path: str
    old: tuple[str, str]
    """Mode and blob; mode 000000 where the path is not there."""
    new: tuple[str, str]

    @property
    def fault(self) -> str | None:
        """Why an experiment's patch may not make this change; None where it may."""
        if not self.path.startswith(f"{CODE}/"):
            return f"outside {CODE}/"
        if self.new[0] in MODES:
            return MODES[self.new[0]]
        names = Path(self.path).parts
        if names[-1] == ATTRIBUTES:
            return "it changes how git writes other files"
        return "byte code" if BYTE_CODE in names else None

    @property
    def is_in_code(self) -> bool:
        """Whether the change is more than one of the permission to execute a file."""
        modes = {self.old[0], self.new[0]}
        return self.old[1] != self.new[1] or not modes <= FILE_MODES


def apply_patch(repository: Repository, tree: str, patch: bytes, name: str) -> str:
    """Return the tree that results from applying a diff to a tree; the user's checkout and index stay as they are.

    Args:
        repository: where the tree is, and where the result is written.
        tree: what the patch is applied to.
        patch: a diff as `git diff --relative` prints it in the campaign's folder: its paths start there.
        name: what errors call the patch.

    Raises:
        RefusedError: it is no diff, it does not apply, it changes nothing, or anything but the files of `model/`.
    """
    # What the user has set on whitespace decides nothing here.
    command = ("-c", "apply.ignoreWhitespace=no", "apply", "--cached", "--whitespace=nowarn")
    inside = (f"--directory={repository.prefix}",) if repository.prefix else ()
    with repository.git.temporary_index(tree) as index:
        try:
            repository.git(*command, *inside, "-", stdin=patch, env=index)
        except GitError as error:
            raise RefusedError(_not_applied(name, error.words)) from None
        changed = repository.git("write-tree", env=index)
    _check(_changes(repository, tree, changed), name)
    return changed


def _not_applied(name: str, words: str) -> str:
    return (
        f"{name}: git cannot apply this patch to the base's code: {words}; make it in the campaign's folder with "
        f"`git diff --relative <base> -- {CODE}`"
    )


def _changes(repository: Repository, before: str, after: str) -> list[_Change]:
    words = parts(repository.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", before, after))
    changes = []
    for meta, path in zip(words[::2], words[1::2], strict=True):
        old_mode, new_mode, old_blob, new_blob, _ = meta.removeprefix(":").split()
        name = path.removeprefix(repository.prefix) if path.startswith(repository.prefix) else f"/{path}"
        changes.append(_Change(name, (old_mode, old_blob), (new_mode, new_blob)))
    return changes


def _check(changes: list[_Change], name: str) -> None:
    faults = [f"{change.path} ({change.fault})" for change in changes if change.fault]
    if faults:
        raise RefusedError(
            f"{name}: this patch changes more than the files of {CODE}/: {', '.join(faults)}; take that out of it"
        )
    if not any(change.is_in_code for change in changes):
        raise RefusedError(f"{name}: this patch changes no code; an experiment without a change has nothing to show")


def take_ref(repository: Repository, tree: str, ref: str) -> TakenRef:
    """Return a tree with its `model/` replaced by that of a ref.

    Args:
        repository: where tree and ref are, and where the result is written.
        tree: where all else comes from.
        ref: branch, tag or commit, as `git rev-parse` reads it.

    Raises:
        RefusedError: the ref is unknown, or its `model/` is missing, a submodule, or has one.
    """
    commit = _resolve(repository, ref)
    try:
        theirs = repository.code_files(commit)
    except CodeError as error:
        raise RefusedError(f"{ref}: {error}") from None
    ours = repository.code_files(tree)
    if not any(path.startswith(f"{CODE}/") for path in theirs):
        raise RefusedError(f"{ref}: {commit[:12]} has no {repository.prefix}{CODE}/, so there is no code to run in it")
    zeros = "0" * len(commit)
    with repository.git.temporary_index(tree) as index:
        repository.git.update_index(
            index,
            [f"0 {zeros}\t{repository.prefix}{path}" for path in ours]
            + [f"{mode} {blob}\t{repository.prefix}{path}" for path, (mode, blob) in theirs.items()],
        )
        taken = repository.git("write-tree", env=index)
    forked_from = repository.git.ask("merge-base", commit, repository.base_commit)
    old = repository.code_files(forked_from) if forked_from else {}
    others = tuple(path for path in sorted(old.keys() | ours.keys()) if old.get(path) != ours.get(path))
    return TakenRef(taken, commit, forked_from, others)


def _resolve(repository: Repository, ref: str) -> str:
    command = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    found = None if ref.startswith("-") else repository.git.ask(*command)
    if found is None or not _HASH.fullmatch(found):
        raise RefusedError(f"{ref or 'an empty name'}: git knows no such branch, tag or commit{_near(repository, ref)}")
    return found


def _near(repository: Repository, ref: str) -> str:
    places = ("refs/heads", "refs/tags", "refs/remotes")
    names = repository.git("for-each-ref", "--format=%(refname:short)", *places).splitlines()
    near = difflib.get_close_matches(ref, names)
    return f"; did you mean {' or '.join(near)}?" if near else "; `git branch --all` and `git tag` list those there are"


def changed_files(repository: Repository, before_tree: str, after_tree: str) -> tuple[str, ...]:
    """Return the files under `model/` that differ from one tree to another, as `model/x.py (+3 -1)`.

    Raises:
        CodeError: the first tree is unknown.
    """
    changes = repository.code_changes(before_tree, after_tree)
    if changes is None:
        raise CodeError(f"{repository.top}: git knows no tree {before_tree}, so nobody can say what changed since")
    return tuple(changes)
