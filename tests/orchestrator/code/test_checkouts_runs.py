"""A folder for one run: with all files of its commit, seen by no other run, and removed whatever happened in it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.code.checkouts import Checkouts, leftover_worktrees, worktree_name
from orchestrator.code.sources import find_code
from orchestrator.code.steps import SPEC_FILE
from orchestrator.errors import CodeError
from orchestrator.processes import Process
from orchestrator.runs import job_lock
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths
from tests.builders.code import CODE, FILES, NOW, content, ordered, without_git

Git = Callable[..., str]
KILLED_WHILE_WRITING = "import orchestrator.code.worktrees as w; w._write_files = lambda *_: die();"


def everything(root: Path) -> dict[str, bytes]:
    """Return path -> bytes of all files of a checkout; of git's own, the index."""
    paths = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    contents = {str(path): os.fsencode(path.readlink()) for path in paths if path.is_symlink()}
    paths = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    contents |= {str(path): path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}
    return contents | {"index": (root / ".git" / "index").read_bytes()}


class TestOfARun:
    def test_holds_the_whole_commit(self, script: Paths, git: Git) -> None:
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert {name: (folder / name).read_text() for name in FILES} == FILES
        assert (folder / "conf" / "link.yaml").readlink() == Path("base.yaml")
        assert [os.access(folder / name, os.X_OK) for name in ("run.sh", "train.py")] == [True, False]
        assert (folder / SPEC_FILE).read_bytes() == b"{}"
        # A script that notes which files it changed finds none.
        assert git("-C", str(folder), "status", "--porcelain") == ""
        assert checkouts.remove(folder) == []
        assert list(script.worktrees.iterdir()) == list(script.worktree_locks.iterdir()) == []
        assert git("worktree", "list").count("\n") == 0

    def test_is_seen_by_no_other_run(self, script: Paths) -> None:
        checkouts, code = Checkouts(script), ordered(script)
        first, second = (checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code) for seed in (0, 1))
        (first / "out").mkdir()
        (first / "train.py").write_text("mine\n")
        assert ((second / "out").exists(), (second / "train.py").read_text()) == (False, FILES["train.py"])
        assert checkouts.remove(first) == []
        assert (second / "train.py").exists()
        assert checkouts.close() == []
        assert list(script.worktrees.iterdir()) == []

    def test_is_fresh_at_each_attempt(self, script: Paths) -> None:
        checkouts, code = Checkouts(script), ordered(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", code)
        (folder / "out").mkdir()
        (folder / "train.py").unlink()
        (folder.parent / "deleted").mkdir()
        assert checkouts.open_run("E5-s0-0123abcd", "E5", code) == folder
        assert ((folder / "out").exists(), (folder / "train.py").exists()) == (False, True)
        checkouts.close()

    @pytest.mark.parametrize("break_it", ["rm .git", "rm -r .", "git init -q"])
    def test_is_removed_whatever_the_script_did_to_it(self, script: Paths, git: Git, break_it: str) -> None:
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        (top,) = script.worktrees.iterdir()
        commands = {"rm .git": ["rm", ".git"], "rm -r .": ["rm", "-r", str(top)], "git init -q": ["git", "init", "-q"]}
        subprocess.run(commands[break_it], cwd=top, check=True)
        assert checkouts.remove(folder) == []
        assert not top.exists()
        assert git("worktree", "list").count("\n") == 0

    def test_links_to_data_are_removed_and_the_data_stay(self, script: Paths, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "precious").touch()
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        (folder / "data").symlink_to(tmp_path / "data")
        assert checkouts.remove(folder) == []
        assert (tmp_path / "data" / "precious").exists()

    @pytest.mark.parametrize("when", ["", KILLED_WHILE_WRITING])
    def test_is_locked_and_left_over_once_its_process_is_killed(self, script: Paths, when: str) -> None:
        program = (
            f"import os, sys; die = lambda: os.kill(os.getpid(), 9); {when}"
            "from pathlib import Path; from orchestrator.code.checkouts import Checkouts;"
            "from orchestrator.runs.order import OrderedCode; from orchestrator.runs.paths import Paths;"
            "code = OrderedCode(tree='', commit=sys.argv[2]);"
            "Checkouts(Paths(Path(sys.argv[1]))).open_run('E5-s0-0123abcd', 'E5', code);"
            "die()"
        )
        commit = str(ordered(script).commit)
        done = subprocess.run([sys.executable, "-c", program, str(script.root), commit], check=False)
        assert done.returncode == -9
        (leftover,) = leftover_worktrees(script)
        assert leftover.name == "E5-s0-0123abcd"
        checkouts = Checkouts(script)
        mine = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert job_lock.find_holder(script.worktree_lock(leftover.path)) is None
        assert checkouts.remove_leftovers() == []
        assert [path for path in script.worktrees.iterdir() if not mine.is_relative_to(path)] == []
        checkouts.close()

    def test_stays_while_the_command_outlives_the_process_that_started_it(self, paths: Paths) -> None:
        path = paths.worktrees / worktree_name(
            "E5-s0-0123abcd", "0123456789ab", Process(Process.own().host, 1, "boot/1")
        )
        path.mkdir(parents=True)
        paths.run("E5-s0-0123abcd").path.mkdir(parents=True)
        with job_lock.hold(paths.run("E5-s0-0123abcd").lock):
            assert leftover_worktrees(paths) == []
        assert [leftover.path for leftover in leftover_worktrees(paths)] == [path]

    def test_of_a_commit_that_is_gone_is_refused(self, script: Paths) -> None:
        with pytest.raises(CodeError, match=r"commit 0{12}, which runs of E5 were queued with, is not in the reposit"):
            Checkouts(script).open_run("E5-s0-0123abcd", "E5", OrderedCode(tree="", commit="0" * 40))

    def test_that_is_none_is_not_removed(self, script: Paths) -> None:
        with pytest.raises(ValueError, match="is no folder of a run of this process"):
            Checkouts(script).remove(script.root)
        assert (script.root / "train.py").exists()

    def test_leaves_the_users_checkout_index_and_status_as_they_are(self, script: Paths, repo: Path, git: Git) -> None:
        """Law 6: the user's checkout and index are never touched."""
        (script.root / "notes.txt").write_text("half an idea\n")
        (script.root / "staged.txt").write_text("staged\n")
        git("add", str(script.root / "staged.txt"))
        (script.root / "conf" / "base.yaml").write_text("lr: 7\n")
        status = git("status", "--porcelain=v2", "--branch", "--ignored")
        # Git would like to note that the file is still the same.
        os.utime(script.root / "train.py", (0, 0))
        before, refs = everything(repo), git("for-each-ref", "refs/heads/main")
        checkouts = Checkouts(script)
        code = ordered(script)
        for seed in (0, 1):
            folder = checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code)
            (folder / "train.py").write_text("spoilt\n")
            (folder / "out").mkdir()
        checkouts.open("E5", code)
        assert everything(repo) == before
        checkouts.close()
        assert everything(repo) == before
        assert (git("status", "--porcelain=v2", "--branch", "--ignored"), git("for-each-ref", "refs/heads/main")) == (
            status,
            refs,
        )

    def test_has_the_bytes_of_the_commit_whatever_filters_say(self, script: Paths, git: Git, tmp_path: Path) -> None:
        git("config", "core.autocrlf", "true")
        git("config", "filter.odd.smudge", f"touch {tmp_path}/a-filter-ran")
        (script.root / ".gitattributes").write_text("*.py filter=odd\n*.yaml text eol=crlf\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "attributes")
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert {name: (folder / name).read_bytes().decode() for name in FILES} == FILES
        assert not (tmp_path / "a-filter-ran").exists()
        checkouts.close()

    def test_of_a_campaign_file_that_is_in_no_commit_is_there(self, repo: Path, script: Paths) -> None:
        paths = Paths(repo / "new")
        paths.root.mkdir()
        code = find_code(paths, snapshot=False, code=("../model",))
        checkouts = Checkouts(paths)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", code.commit(content(), NOW))
        assert folder.is_dir()
        assert (folder / ".." / "model" / "__main__.py").exists()
        checkouts.close()

    def test_outside_a_repository_is_a_copy_of_its_own(self, script: Paths, tmp_path: Path) -> None:
        paths = without_git(script, tmp_path)
        code = find_code(paths, snapshot=False, code=CODE).commit(content(), NOW)
        checkouts = Checkouts(paths)
        first, second = (checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code) for seed in (0, 1))
        (first / "train.py").write_text("mine\n")
        assert (second / "train.py").read_text() == FILES["train.py"]
        assert {path.name for path in second.iterdir()} == {"train.py", "lib"}
        assert checkouts.remove(first) == checkouts.close() == []
        assert list(paths.worktrees.iterdir()) == []


def test_a_whole_commit_of_many_bytes_is_read_in_parts(
    script: Paths, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.code.worktrees.BATCH_BYTES", 8)
    checkouts = Checkouts(script)
    folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    checkouts.close()
