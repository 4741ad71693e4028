"""Calls of git: what is tried again, and how a refusal reads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.plumbing import TRIES, Git, GitError

RACE = "fatal: failed to read .git/worktrees/E7/commondir: Success"


def failing(git: Callable[..., str], repo: Path, words: str, times: int) -> Git:
    """Let `git flaky` fail so many times before it prints `done`; each call adds a line to `calls`."""
    script = f'echo x >> calls; test $(wc -l < calls) -gt {times} && echo done || {{ echo "{words}" >&2; exit 128; }}'
    git("config", "alias.flaky", f"!{script}")
    return Git(repo)


@pytest.mark.parametrize("words", [RACE, "fatal: could not create directory of '.git/worktrees/E7': No such file"])
def test_what_another_process_is_just_writing_is_read_again(git: Callable[..., str], repo: Path, words: str) -> None:
    assert failing(git, repo, words, 2)("flaky") == "done"


def test_what_a_killed_process_left_is_not_read_for_ever(git: Callable[..., str], repo: Path) -> None:
    with pytest.raises(GitError, match=r"git flaky: fatal: failed to read .*; if no git is at work .*: rm -r "):
        failing(git, repo, RACE, 99)("-c", "core.abbrev=9", "flaky")
    assert (repo / "calls").read_text() == "x\n" * TRIES


def test_other_errors_are_final(git: Callable[..., str], repo: Path) -> None:
    with pytest.raises(GitError, match=r"^git flaky: error: no; hint: never$"):
        failing(git, repo, "error: no\n\nhint: never", 1)("flaky")
    assert (repo / "calls").read_text() == "x\n"


def test_a_question_has_none_for_no(repo: Path) -> None:
    assert Git(repo).ask("rev-parse", "--verify", "--quiet", "nowhere") is None
    assert Git(repo).ask("rev-parse", "--abbrev-ref", "HEAD") == "main"


def test_nothing_is_stored_for_no_contents(repo: Path) -> None:
    assert Git(repo).write_blobs([]) == []


def test_contents_are_stored_to_the_byte(git: Callable[..., str], repo: Path) -> None:
    git("config", "core.autocrlf", "true")
    blobs = Git(repo).write_blobs([b"a\r\nb\n", b""])
    assert [git("cat-file", "-s", blob) for blob in blobs] == ["5", "0"]


def test_a_temporary_index_is_gone_afterwards(repo: Path) -> None:
    with Git(repo).temporary_index("HEAD") as index:
        assert Path(index["GIT_INDEX_FILE"]).exists()
    assert not Path(index["GIT_INDEX_FILE"]).parent.exists()


def test_a_temporary_index_is_of_the_tree_that_is_asked_for(git: Callable[..., str], repo: Path) -> None:
    first = git("rev-parse", "HEAD")
    ours = Git(repo)
    for tree in (first, first, "HEAD"):
        with ours.temporary_index(tree) as index:
            assert ours("ls-files", env=index).split() == ["model/__main__.py", "notes.txt"]
            ours("rm", "--cached", "--quiet", "notes.txt", env=index)
    git("rm", "--quiet", "notes.txt")
    git("commit", "--quiet", "-m", "next")
    for tree in (git("rev-parse", "HEAD"), "HEAD"):
        with ours.temporary_index(tree) as index:
            assert ours("ls-files", env=index) == "model/__main__.py"
