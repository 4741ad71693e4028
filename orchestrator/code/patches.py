"""The code of an experiment that changes code: a tree with a patch applied, or with the code of another ref."""

import difflib
import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from orchestrator.code.blobs import ATTRIBUTES, FILE_MODES, describe_fault
from orchestrator.code.git import GitError, split_zeros
from orchestrator.code.pathspecs import Pathspecs, complete, name_code, pick
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError

MAX_PATCH_BYTES = 64 * 2**20
"""Largest patch that is read, in bytes."""
WITHOUT_PREFIX = ("-p0",)
"""Option for a patch whose paths do not begin with a word such as `a/`."""
Way = tuple[str, ...]
"""Options by which `git apply` reads the paths of a patch."""
_COLOUR = re.compile(rb"\x1b\[[0-9;]*[mK]")
_COLOURED = re.compile(rb"^(?:\x1b\[[0-9;]*m)+(?:diff --git |--- |\+\+\+ |@@ )", re.MULTILINE)
_HEADER_WITH_CR = re.compile(rb"^(?:--- |\+\+\+ |@@ )[^\n]*\r$", re.MULTILINE)
_HASH = re.compile(r"[0-9a-f]{40,64}")


def good_diff(code: Pathspecs) -> str:
    """Return a command that makes a good patch of some code, whatever the user has set for diffs."""
    return (
        "git diff --relative --no-ext-diff --no-textconv --no-color --binary --unified=3 --src-prefix=a/ "
        f"--dst-prefix=b/ --output=PATCH <base> -- {shlex.join(code)}"
    )


class RefusedError(CodeError):
    """A patch or a ref cannot be used as an experiment's code."""


@dataclass(frozen=True)
class TakenRef:
    """A tree whose code is that of a ref."""

    tree: str
    commit: str
    """The commit that the ref names."""
    forked_from: str | None
    """Newest common commit of the ref and the base; None if there is none, or a shallow clone lacks it."""
    other_files: tuple[str, ...]
    """Files that the reference has changed since the fork: they differ though no commit of the ref changed them."""


@dataclass(frozen=True)
class _Change:
    """One path, from the campaign's folder, that differs between two trees."""

    path: str
    old: tuple[str, str]
    """Mode and blob; mode 000000 if the path does not exist."""
    new: tuple[str, str]
    is_outside: bool
    """Whether it is no file of the task's code."""

    @property
    def fault(self) -> str | None:
        """Why an experiment must not make this change; None if it may."""
        if self.is_outside:
            return "outside of it"
        if self.path.rpartition("/")[2] == ATTRIBUTES:
            return "it changes how git writes other files"
        # Only the new mode counts: a patch may delete a link of the base.
        return describe_fault(self.path, self.new[0])

    @property
    def is_in_code(self) -> bool:
        """Whether it changes more than the permission to execute the file."""
        modes = {self.old[0], self.new[0]}
        return self.old[1] != self.new[1] or not modes <= FILE_MODES


def read_patch(path: Path, code: Pathspecs) -> bytes:
    """Return the bytes of a patch; `code` are the pathspecs of what it may change.

    Raises:
        RefusedError: it is no file, cannot be read, or is larger than `MAX_PATCH_BYTES`.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            is_file = stat.S_ISREG(os.fstat(number).st_mode)
            content = file.read(MAX_PATCH_BYTES + 1) if is_file else b""
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error)
        raise RefusedError(f"{path}: the patch cannot be read: {found}") from None
    if not is_file:
        raise RefusedError(f"{path}: the patch cannot be read: this is no file; make one with `{good_diff(code)}`")
    if len(content) > MAX_PATCH_BYTES:
        limit = MAX_PATCH_BYTES // 2**20
        raise RefusedError(f"{path}: this file is larger than {limit} MiB, which is no patch of code; name another one")
    return content


def apply_patch(repository: Repository, tree: str, patch: bytes, name: str) -> str:
    """Apply a diff to a tree and return the new tree; the user's checkout and index stay as they are.

    Args:
        repository: holds the tree, and the result.
        tree: what the patch is applied to.
        patch: a diff as `git diff` prints it. Its paths begin at the campaign's folder or at the top of the repository,
            with or without a first word such as `a/`. Colours are removed.
        name: of the patch, for errors.

    Raises:
        RefusedError: it is no diff, does not apply, changes nothing, or changes more than the task's code.
        GitError: a signal ended git, or git cannot write.
    """
    if _COLOURED.search(patch):
        patch = _COLOUR.sub(b"", patch)
    # A diff made with `diff.noprefix` has no `a/`. A patch that can be read in several ways is applied in each; it is
    # refused if the results differ.
    places: list[Way] = [(f"--directory={repository.prefix}",), ()] if repository.prefix else [()]
    ways: list[Way] = [(*words, *place) for place in places for words in ((), WITHOUT_PREFIX)]
    ways = [way for way in ways if _is_in_code(repository, patch, way)]
    results: dict[str, Way] = {}
    refusals = []
    # A patch of other files is read in the first way that applies, so that the refusal can name them.
    for way in ways or places:
        if results and not ways:
            break
        try:
            results.setdefault(_apply(repository, tree, patch, way), way)
        except GitError as error:
            _require_able(repository, patch, error)
            refusals.append(error.words)
    if not results:
        raise RefusedError(_not_applied(name, refusals[0], patch, repository.code))
    if len(results) > 1:
        raise RefusedError(
            f"{name}: the paths of this patch can be read with a prefix such as `a/` and without one, and both apply; "
            f"make it with `{good_diff(repository.code)}`"
        )
    (changed,) = results
    _require_code_only(_changes(repository, tree, changed), name, repository.code)
    return changed


def _is_in_code(repository: Repository, patch: bytes, way: Way) -> bool:
    """Whether all paths of a patch, read in this way, are files of the code."""
    listed = repository.git.ask("apply", *way, "--numstat", "-z", "-", stdin=patch)
    paths = {row.split("\t", 2)[2] for row in split_zeros(listed or "")}
    return bool(paths) and pick(repository.git, paths, complete(repository.code), len(repository.base_commit)) == paths


def _apply(repository: Repository, tree: str, patch: bytes, way: Way) -> str:
    # The user's setting for whitespace must not decide whether a patch applies.
    command = ("-c", "apply.ignoreWhitespace=no", "apply", *way, "--cached", "--whitespace=nowarn")
    with repository.git.temporary_index(tree) as index:
        repository.git(*command, "-", stdin=patch, env=index)
        return repository.git("write-tree", env=index)


def _require_able(repository: Repository, patch: bytes, error: GitError) -> None:
    """Raise the error if the machine caused it: a full disk must not look like a patch that does not apply."""
    if not error.is_answer:
        raise error
    repository.git.write_blobs([patch])


def _not_applied(name: str, words: str, patch: bytes, code: Pathspecs) -> str:
    endings = " (its lines end in CRLF, also those that git writes itself)" if _HEADER_WITH_CR.search(patch) else ""
    return (
        f"{name}: git cannot apply this patch to the base's code{endings}: {words}; make it in the campaign's folder "
        f"with `{good_diff(code)}`"
    )


def _changes(repository: Repository, before: str, after: str) -> list[_Change]:
    options = ("-r", "-z", "--no-renames", "--ignore-submodules=none")
    words = split_zeros(repository.git("diff-tree", *options, "--raw", "--no-abbrev", before, after))
    only_code = ("--name-only", before, after, "--", *complete(repository.code))
    inside = set(split_zeros(repository.git("diff-tree", *options, *only_code)))
    changes = []
    for meta, path in zip(words[::2], words[1::2], strict=True):
        old_mode, new_mode, old_blob, new_blob, _ = meta.removeprefix(":").split()
        pairs = ((old_mode, old_blob), (new_mode, new_blob))
        changes.append(_Change(repository.inner(path), *pairs, is_outside=path not in inside))
    return changes


def _require_code_only(changes: list[_Change], name: str, code: Pathspecs) -> None:
    if faults := _faults(changes):
        raise RefusedError(
            f"{name}: this patch changes more than {name_code(code)}: {', '.join(faults)}; take that out of it"
        )
    if not any(change.is_in_code for change in changes):
        raise RefusedError(f"{name}: this patch changes no code; an experiment without a change has nothing to show")


def _faults(changes: list[_Change]) -> list[str]:
    return [f"{change.path} ({change.fault})" for change in changes if change.fault]


def take_ref(repository: Repository, tree: str, ref: str) -> TakenRef:
    """Return a tree whose code is replaced by that of a ref.

    Args:
        repository: holds the tree, the ref and the result.
        tree: all else is taken from it.
        ref: branch, tag or commit, as `git rev-parse` reads it.

    Raises:
        RefusedError: the ref is unknown, has no file of the code, or brings more than source files.
    """
    commit = _resolve(repository, ref)
    try:
        theirs = repository.code_files(commit)
    except CodeError as error:
        raise RefusedError(f"{ref}: {error}") from None
    ours = repository.code_files(tree)
    if not theirs:
        raise RefusedError(f"{ref}: {commit[:12]} has no file of {name_code(repository.code)}, so nothing can be run")
    # All of our files are removed first, so that no file stays that the ref does not have.
    zeros = "0" * len(commit)
    with repository.git.temporary_index(tree) as index:
        repository.git.update_index(
            index,
            [f"0 {zeros}\t{repository.outer(path)}" for path in ours]
            + [f"{mode} {blob}\t{repository.outer(path)}" for path, (mode, blob) in theirs.items()],
        )
        taken = repository.git("write-tree", env=index)
    if faults := _faults(_changes(repository, tree, taken)):
        raise RefusedError(
            f"{ref}: {commit[:12]} brings more than source files of {name_code(repository.code)}: {', '.join(faults)}; "
            "take that out of it"
        )
    forked_from = repository.git.ask("merge-base", commit, repository.base_commit)
    old = repository.code_files(forked_from) if forked_from else {}
    others = tuple(path for path in sorted(old.keys() | ours.keys()) if old.get(path) != ours.get(path))
    return TakenRef(taken, commit, forked_from, others)


def _resolve(repository: Repository, ref: str) -> str:
    command = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    found = None if ref.startswith("-") else repository.git.ask(*command)
    if found is None or not _HASH.fullmatch(found):
        raise RefusedError(
            f"{ref or 'an empty name'}: git knows no such branch, tag or commit{_suggest(repository, ref)}"
        )
    return found


def _suggest(repository: Repository, ref: str) -> str:
    places = ("refs/heads", "refs/tags", "refs/remotes")
    names = repository.git("for-each-ref", "--format=%(refname:short)", *places).splitlines()
    near = difflib.get_close_matches(ref, names)
    return f"; did you mean {' or '.join(near)}?" if near else "; `git branch --all` and `git tag` list those there are"


def changed_files(repository: Repository, before_tree: str, after_tree: str) -> tuple[str, ...]:
    """Return the files of the code that differ between two trees, as `model/x.py (+3 -1)`.

    Raises:
        CodeError: the first tree is unknown.
    """
    changes = repository.code_changes(before_tree, after_tree)
    if changes is None:
        raise CodeError(f"{repository.top}: git knows no tree {before_tree}, so the changes since are unknown")
    return tuple(changes)
