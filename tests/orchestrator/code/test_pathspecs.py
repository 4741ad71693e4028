"""Which files the pathspecs of a task hold, in a tree, on the disk and in a list."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.code.git import Git
from orchestrator.code.pathspecs import (
    complete,
    is_exclusion,
    is_plain,
    list_disk,
    list_tree,
    name_code,
    pick,
    refuse_unmatched,
    with_spec,
)
from orchestrator.errors import CodeError

RunGit = Callable[..., str]
FILES = ("train.py", "lib/a.py", "lib/docs/d.md", "exp/x.py", ".knockout/experiment.json")


@pytest.fixture
def tree(repo: Path, git: RunGit) -> Path:
    for name in FILES:
        (repo / name).parent.mkdir(exist_ok=True, parents=True)
        (repo / name).write_text("1\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a script")
    return repo


def held(folder: Path, *words: str) -> set[str]:
    return set(list_tree(Git(folder), "HEAD", complete(words), 40))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("train.py", "lib", ":!lib/docs"), {"train.py", "lib/a.py"}),
        (("lib/",), {"lib/a.py", "lib/docs/d.md"}),
        (("*.md",), {"lib/docs/d.md"}),
        ((":(glob)*.py",), {"train.py"}),
        ((":!model", ":!notes.txt", ":^lib"), {"train.py", "exp/x.py"}),
        (("tr[a]in.py",), {"train.py"}),
    ],
)
def test_words_hold_what_git_says(tree: Path, words: tuple[str, ...], names: set[str]) -> None:
    assert held(tree, *words) == names


def test_words_are_relative_to_the_campaigns_folder(tree: Path) -> None:
    assert held(tree / "exp", ".") == {"exp/x.py"}
    assert held(tree / "exp", "../lib/a.py", "x.py") == {"exp/x.py", "lib/a.py"}
    assert held(tree / "exp", ":/train.py") == {"train.py"}


def test_the_description_of_an_experiment_is_no_code(tree: Path) -> None:
    assert ".knockout/experiment.json" not in held(tree, ".")
    assert set(list_tree(Git(tree), "HEAD", with_spec(("train.py",)), 40)) == {"train.py", ".knockout/experiment.json"}
    assert ".knockout/experiment.json" in list_tree(Git(tree), "HEAD", with_spec((":!lib",)), 40)


def test_files_on_the_disk_are_listed_also_those_that_git_ignores(tree: Path) -> None:
    (tree / ".git" / "info" / "exclude").write_text("ignored.py\n")
    for name in ("lib/new.py", "lib/ignored.py", "lib/docs/new.md"):
        (tree / name).write_text("1\n")
    words = complete(("lib", ":!lib/docs"))
    assert set(list_disk(Git(tree), words)) == {"lib/a.py", "lib/new.py", "lib/ignored.py"}
    assert set(list_disk(Git(tree / "exp"), complete(("../lib/docs",)))) == {"../lib/docs/d.md", "../lib/docs/new.md"}


def test_paths_that_do_not_exist_are_picked_by_the_same_words(tree: Path) -> None:
    paths = ["lib/b.py", "lib/docs/e.md", "other.py", "libs/a.py"]
    assert pick(Git(tree), paths, complete(("lib", ":!lib/docs")), 40) == {"lib/b.py"}
    assert pick(Git(tree / "exp"), ["exp/new.py", *paths], complete((".",)), 40) == {"exp/new.py"}


@pytest.mark.parametrize(("word", "said"), [(":(foo)x", "Invalid pathspec magic"), ("../x", "outside repository")])
def test_words_that_git_cannot_read_are_told(tree: Path, word: str, said: str) -> None:
    for ask in (lambda: held(tree, word), lambda: list_disk(Git(tree), (word,))):
        with pytest.raises(CodeError, match=rf"`task\.code`: git cannot read it as pathspecs: fatal: .*{said}"):
            ask()


@pytest.mark.parametrize("word", [":!a", ":^a", ":/!a", ":(exclude)a", ":(top,exclude)a"])
def test_words_that_leave_files_out_are_known(word: str) -> None:
    assert is_exclusion(word)
    assert not is_plain(word)


@pytest.mark.parametrize(("word", "plain"), [("a!b", True), (":/a", False), (":(top)a", False), ("*.py", False)])
def test_words_that_take_files_are_known(word: str, plain: bool) -> None:
    assert not is_exclusion(word)
    assert is_plain(word) == plain


def test_a_word_that_matches_nothing_is_told_the_nearest_name() -> None:
    near = refuse_unmatched(Path("/study"), "tran.py", ["train.py", "lib"], "look")
    assert str(near) == "/study: `tran.py` in `task.code` matches no file; did you mean `train.py`?"
    assert str(refuse_unmatched(Path("/study"), "zzz", ["train.py"], "look")).endswith("matches no file; look")


def test_messages_name_the_words() -> None:
    assert name_code(("train.py", "lib")) == "the task's code (train.py, lib)"
