"""The git pathspecs that say which files are a task's code: what they hold in a tree, on the disk, and in a list.

Git itself matches them, so each of its pathspecs is understood. They are relative to the campaign's folder.
"""

import difflib
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from orchestrator.code.blobs import blob_name
from orchestrator.code.git import Git, GitError, split_zeros
from orchestrator.code.steps import SPEC_FILE
from orchestrator.errors import CodeError

Pathspecs = tuple[str, ...]
"""Words such as `train.py`, `lib` and `:!lib/docs`; files that match a word with `!` or `^` are left out."""
Files = Mapping[str, tuple[str, str]]
"""Path from the top of the repository -> mode and blob."""
SPEC_FOLDER = str(PurePosixPath(SPEC_FILE).parent)
"""Folder in an experiment's commit that says what the experiment is; it is never code."""
WITH_SPEC = f":(literal){SPEC_FOLDER}"
WITHOUT_SPEC = f":(exclude,literal){SPEC_FOLDER}"
EMPTY_TREES = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
"""Digits of a name in a repository -> the tree without a file, which every git knows."""
_EXCLUDED = re.compile(r":(?:[/!^]*[!^]|\([^)]*\bexclude\b)")
_UNREADABLE = re.compile(r"pathspec|outside repository")


def name_code(code: Pathspecs) -> str:
    """Return how a message names a task's code."""
    return f"the task's code ({', '.join(code)})"


def is_exclusion(word: str) -> bool:
    """Whether files that match a pathspec are left out."""
    return _EXCLUDED.match(word) is not None


def is_plain(word: str) -> bool:
    """Whether a pathspec is a path: without patterns and without git's magic."""
    return not word.startswith(":") and not re.search(r"[*?\[\\]", word)


def refuse_unmatched(root: Path, word: str, names: Iterable[str], found: str) -> CodeError:
    """Return the error that a word of a task's code matches no file.

    Args:
        root: the campaign's folder.
        word: the word.
        names: of files and folders that there are.
        found: said where no name is near.
    """
    near = difflib.get_close_matches(word.rstrip("/"), sorted(set(names)), n=1)
    hint = f"did you mean `{near[0]}`?" if near else found
    return CodeError(f"{root}: `{word}` in `task.code` matches no file; {hint}")


def complete(code: Pathspecs) -> Pathspecs:
    """Return pathspecs that hold the code alone, and not what an experiment's commit says of the experiment."""
    # With a word that only leaves out, git means all other files; a further word would change that.
    start = () if any(not is_exclusion(word) for word in code) else (".",)
    return (*start, *code, WITHOUT_SPEC)


def with_spec(code: Pathspecs) -> Pathspecs:
    """Return pathspecs that hold the code, and what an experiment's commit says of the experiment."""
    return (*complete(code)[:-1], WITH_SPEC)


def list_tree(git: Git, tree: str, words: Pathspecs, length: int) -> Files:
    """Return the files of a commit or tree that match.

    Args:
        git: git in the campaign's folder.
        tree: its name.
        words: the pathspecs.
        length: digits of git's names in this repository.

    Raises:
        CodeError: git cannot read the pathspecs.
        GitError: git refuses.
    """
    options = ("--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
    # `git ls-tree` knows no pathspecs.
    listed = split_zeros(_ask(git, words, "diff-tree", "-r", "-z", *options, EMPTY_TREES[length], tree))
    metas = (meta.split() for meta in listed[::2])
    return {path: (meta[1], meta[3]) for meta, path in zip(metas, listed[1::2], strict=True)}


def list_disk(git: Git, words: Pathspecs) -> list[str]:
    """Return the paths, from the campaign's folder, of files on the disk or in the index that match.

    Files that git ignores are among them. A link, or a repository in the repository, is one path.
    """
    # With `core.ignoreCase` git would hide a file whose name differs from one in the index by case alone.
    command = ("-c", "core.ignoreCase=false", "ls-files", "--cached", "--others", "-z")
    return [path.removesuffix("/") for path in split_zeros(_ask(git, words, *command))]


def pick(git: Git, paths: Iterable[str], words: Pathspecs, length: int) -> set[str]:
    """Return those of some paths, from the top of the repository, that match; none needs to exist.

    Args:
        git: git in the campaign's folder.
        paths: from the top of the repository.
        words: the pathspecs.
        length: digits of git's names in this repository.
    """
    with tempfile.TemporaryDirectory(prefix="knockout-paths-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.update_index(index, [f"100644 {blob_name(b'', length)}\t{path}" for path in paths])
        return set(split_zeros(git("ls-files", "--full-name", "-z", "--", *words, env=index)))


def _ask(git: Git, words: Pathspecs, *command: str) -> str:
    try:
        return git(*command, "--", *words)
    except GitError as error:
        if _UNREADABLE.search(error.words):
            raise CodeError(f"`task.code`: git cannot read it as pathspecs: {error.words}") from None
        raise
