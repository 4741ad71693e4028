"""Calls of git: what is tried again, and how a refusal reads."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.code.git import TRIES, Git, GitError, NoGitError

GIT = shutil.which("git")
ROOT = Path(__file__).parents[3]
RACE = "fatal: failed to read .git/worktrees/E7/commondir: Success"


def failing(git: Callable[..., str], repo: Path, words: str, times: int) -> Git:
    """Let `git flaky` fail so many times before it prints `done`; each call adds a line to `calls`."""
    script = f'echo x >> calls; test $(wc -l < calls) -gt {times} && echo done || {{ echo "{words}" >&2; exit 128; }}'
    git("config", "alias.flaky", f"!{script}")
    return Git(repo)


@pytest.mark.parametrize(
    "words",
    [
        RACE,
        "fatal: could not create directory of '.git/worktrees/E7': No such file",
        "fatal: Invalid path '/repo/.git/worktrees/E7': No such file or directory",
    ],
)
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


def test_what_a_signal_ended_is_no_answer(git: Callable[..., str], repo: Path) -> None:
    git("config", "alias.dies", "!kill -9 $PPID")
    with pytest.raises(GitError, match="git dies: git was ended by SIGKILL"):
        Git(repo).ask("dies")


class TestWithoutGit:
    @pytest.fixture
    def nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return tmp_path / "bin"

    def test_the_sentence_says_what_to_install(self, repo: Path, nowhere: Path) -> None:
        with pytest.raises(
            NoGitError, match=r"^git cannot be run: there is no such program; install git 2\.31 or newer"
        ):
            Git(repo)("version")

    def test_so_it_does_where_a_git_around_us_has_set_variables(
        self, repo: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_DIR", "elsewhere")
        (nowhere / "env").symlink_to("/usr/bin/env")
        with pytest.raises(NoGitError, match=r"^git cannot be run: .*No such file"):
            Git(repo)("version")

    def test_one_that_cannot_be_executed_is_none(self, repo: Path, nowhere: Path) -> None:
        (nowhere / "git").write_bytes(b"no program")
        (nowhere / "git").chmod(0o755)
        with pytest.raises(NoGitError, match="git cannot be run: Exec format error; install git"):
            Git(repo)("version")

    def test_one_that_a_variable_names_is_taken(
        self, repo: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("GIT_PYTHON_GIT_EXECUTABLE", str(GIT))
        assert Git(repo).ask("rev-parse", "--abbrev-ref", "HEAD") == "main"
        monkeypatch.setenv("GIT_PYTHON_GIT_EXECUTABLE", str(tmp_path / "none"))
        with pytest.raises(
            NoGitError, match=r"none, which GIT_PYTHON_GIT_EXECUTABLE names, cannot be run: .*; name git"
        ):
            Git(repo)("version")

    def test_the_orchestrator_can_be_imported(self, nowhere: Path) -> None:
        command = [sys.executable, "-c", "import orchestrator.cli.main, orchestrator.api.run, orchestrator.api.doctor"]
        assert subprocess.run(command, check=False, cwd=ROOT).returncode == 0


def test_an_old_git_is_told_once_it_has_failed(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "git"
    old.write_text(
        '#!/bin/sh\ntest "$1" = version && echo git version 1.8.3 && exit\necho unknown option >&2; exit 129\n'
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GitError, match=r"git status: unknown option; this git is 1\.8\.3, wanted is 2\.31 or newer"):
        Git(repo)("status")


def test_no_question_is_asked_and_no_network_used(git: Callable[..., str], repo: Path) -> None:
    git("config", "alias.show-it", "!echo $GIT_TERMINAL_PROMPT $GIT_NO_LAZY_FETCH $GIT_OPTIONAL_LOCKS")
    ours = Git(repo)
    assert ours("show-it") == "0 1 0"
    with pytest.raises(GitError, match="transport 'file' not allowed"):
        ours("ls-remote", repo.as_uri())


def test_filters_of_any_name_are_turned_off(git: Callable[..., str], repo: Path, tmp_path: Path) -> None:
    for name in ("lfs", "a=b", "with.dots", "two words"):
        git("config", f"filter.{name}.clean", f"touch '{tmp_path}/{name}'; cat")
        git("config", f"filter.{name}.process", f"touch '{tmp_path}/{name}'")
        git("config", f"filter.{name}.required", "true")
    attributes = "notes.txt filter=lfs\na.txt filter=a=b\nb.txt filter=with.dots\n"
    (repo / ".git" / "info" / "attributes").write_text(attributes)
    for name in ("a.txt", "b.txt"):
        (repo / name).write_text(f"{name}\n")
    ours = Git(repo)
    named = ("notes.txt", "a.txt", "b.txt")
    found = ours(*ours.without_filters(), "hash-object", "--", *named).split()
    assert found == ours("hash-object", "--no-filters", "--", *named).split()
    assert not {path.name for path in tmp_path.iterdir()} & {"lfs", "a=b", "with.dots"}
    assert ours.without_filters()
    assert Git(tmp_path).without_filters() == []


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
