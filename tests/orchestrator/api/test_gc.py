"""`knockout gc` and `knockout checkout`, over a repository with experiments' branches."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.gc import find_temporary_files
from orchestrator.cli.main import main
from orchestrator.code.checkouts import worktree_name
from orchestrator.code.refs import ExperimentCommit
from orchestrator.code.repository import Repository
from orchestrator.code.steps import SPEC_FILE
from orchestrator.processes import Process, birth_of
from orchestrator.runs.paths import Paths

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
Branch = Callable[..., ExperimentCommit]
Knockout = Callable[..., tuple[int, str, str]]


@pytest.fixture
def knockout(study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Knockout:
    monkeypatch.chdir(study.paths.root)

    def call(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def branch(study: Any) -> Branch:
    """Give an experiment a branch."""
    repository = Repository(study.paths.root)

    def make(experiment: str, content: bytes = b"{}", now: datetime = NOW) -> ExperimentCommit:
        tree = repository.snapshot_tree({SPEC_FILE: content}, with_code=False)
        return repository.branches.commit_experiment(experiment, tree, "a change", now)

    return make


@pytest.fixture
def dead_pid() -> int:
    return int(subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout)


def gone(pid: int) -> Process:
    """Return a process of this machine that had this number."""
    return Process(Process.own().host, pid, "boot/1")


def refs(study: Any) -> set[str]:
    return set(study.git("for-each-ref", "--format=%(refname)", "refs/heads/experiment", "refs/knockout").split())


def checkout_hash(root: Path) -> str:
    """Hash HEAD, the index, and every file of the working tree."""
    files = [root / ".git" / "HEAD", root / ".git" / "index"]
    files += [path for path in sorted(root.rglob("*")) if path.is_file() and ".git" not in path.parts]
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


class TestGc:
    def test_retires_settled_experiments_and_keeps_their_commits(
        self, study: Any, branch: Branch, knockout: Knockout
    ) -> None:
        made = branch("E5")
        study.queue("E5-s0-00000000", "done")
        study.queue("E5-s1-00000000", "too_slow")
        status, said, _ = knockout("gc")
        assert status == 0
        kept_ref = "refs/knockout/E5/20260219_010041"
        assert said == f"retired experiment/E5-20260219_010041: its commit {made.commit[:12]} stays as {kept_ref}\n"
        assert refs(study) == {kept_ref}
        assert study.git("rev-parse", kept_ref) == made.commit
        assert knockout("gc")[1] == "there is nothing to remove\n"

    @pytest.mark.parametrize("state", ["queued", "running", "interrupted"])
    def test_keeps_an_experiment_with_a_run_that_is_not_final(
        self, study: Any, branch: Branch, knockout: Knockout, state: str
    ) -> None:
        branch("E5")
        study.queue("E5-s0-00000000", "done")
        study.queue("E5-s1-00000000", state)
        assert f"kept experiment/E5-20260219_010041: E5-s1-00000000 is {state}\n" in knockout("gc")[1]
        assert refs(study) == {"refs/heads/experiment/E5-20260219_010041"}

    def test_keeps_a_keeper_and_retires_its_older_branch(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        older, keeper = branch("E5", b"1"), branch("E5", b"2")
        Repository(study.paths.root).branches.keep(keeper, "E5", "{}")
        study.queue("E5-s0-00000000", "done")
        assert f"kept {keeper.branch}: it is the keeper keeper/E5\n" in knockout("gc")[1]
        assert refs(study) == {f"refs/heads/{keeper.branch}", "refs/knockout/E5/20260219_010041"}
        assert study.git("rev-parse", "refs/knockout/E5/20260219_010041") == older.commit

    def test_a_tag_without_a_message_makes_a_keeper_too(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        study.git("tag", "keeper/E5", branch("E5").commit)
        study.queue("E5-s0-00000000", "done")
        assert "it is the keeper keeper/E5" in knockout("gc")[1]

    def test_keeps_a_branch_that_is_checked_out(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        made = branch("E5")
        study.queue("E5-s0-00000000", "done")
        study.git("checkout", "--quiet", made.branch)
        assert f"kept {made.branch}: it is checked out at {study.paths.root}\n" in knockout("gc")[1]
        assert study.git("rev-parse", "HEAD") == made.commit

    def test_keeps_a_branch_whose_runs_nobody_knows(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        branch("E5")
        assert "no run of E5 is known, so nobody can say that it is settled; `knockout rebuild`" in knockout("gc")[1]
        assert not study.paths.database.exists()
        assert len(refs(study)) == 1

    def test_an_experiment_is_not_another_whose_name_it_begins(
        self, study: Any, branch: Branch, knockout: Knockout
    ) -> None:
        branch("E5-wide")
        study.queue("E5-s0-00000000", "done")
        assert "no run of E5-wide is known" in knockout("gc")[1]

    def test_keeps_an_experiment_that_a_living_run_may_still_judge(
        self, study: Any, branch: Branch, knockout: Knockout, sleeper: "subprocess.Popen[bytes]"
    ) -> None:
        branch("E5")
        holder = {"host": Process.own().host, "pid": sleeper.pid, "born": birth_of(sleeper.pid)}
        study.queue("E5-s0-00000000", "done", **holder)
        assert f"process {sleeper.pid} may still judge E5-s0-00000000" in knockout("gc")[1]
        sleeper.kill()
        sleeper.wait()
        assert "retired" in knockout("gc")[1]

    def test_sweeps_what_a_killed_queue_add_left_half_written(self, study: Any, knockout: Knockout) -> None:
        folder = study.paths.run(study.start("E5"))
        old, young = folder.path / ".order.json.abc", folder.path / ".config.json.def"
        for path in (old, young):
            path.write_text("{")
        os.utime(old, (0, 0))
        assert f"would remove the half-written file {old}\n" in knockout("gc", "--dry-run")[1]
        assert old.exists()
        assert f"removed the half-written file {old}\n" in knockout("gc")[1]
        assert (old.exists(), young.exists(), folder.order.exists()) == (False, True, True)

    def test_a_run_folder_that_is_renamed_or_removed_meanwhile_is_passed_over(
        self, study: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As while a `queue add` writes: a file that was listed has its whole name by the time it is looked at."""
        folder = study.paths.run(study.start("E5"))
        (folder.path / ".order.json.abc").write_text("{")
        whole = Path.stat

        def stat(path: Path, **options: Any) -> os.stat_result:
            path.with_name(".order.json.abc").unlink(missing_ok=True)
            return whole(path, **options)

        monkeypatch.setattr(Path, "stat", stat)
        assert find_temporary_files(study.paths, 1e12) == ((), {})

    def test_a_folder_that_cannot_be_read_is_told_once_and_keeps_no_other(
        self, study: Any, knockout: Knockout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folders = [study.paths.run(study.start(name)).path for name in ("E5", "H2")]
        for folder in folders:
            (folder / ".order.json.abc").write_text("{")
            os.utime(folder / ".order.json.abc", (0, 0))
        listed = Path.iterdir

        def refuse(path: Path) -> Any:
            if path == folders[0]:
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        # Whoever runs the tests may be root, who may read everything.
        monkeypatch.setattr(Path, "iterdir", refuse)
        said = knockout("gc")[1]
        assert said.count(f"kept {folders[0]}: it cannot be read: Permission denied\n") == 1
        assert f"removed the half-written file {folders[1]}/.order.json.abc\n" in said

    def test_files_and_pipes_among_the_run_folders_are_passed_over(self, study: Any, knockout: Knockout) -> None:
        study.paths.runs.mkdir(parents=True)
        (study.paths.runs / ".DS_Store").write_bytes(b"1")
        os.mkfifo(study.paths.runs / "pipe")
        assert knockout("gc") == (0, "there is nothing to remove\n", "")

    def test_a_file_that_cannot_be_removed_is_told(
        self, study: Any, knockout: Knockout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        half = study.paths.run(study.start("E5")).path / ".order.json.abc"
        half.write_text("{")
        os.utime(half, (0, 0))

        def refuse(path: Path, **options: Any) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "unlink", refuse)
        status, said, _ = knockout("gc")
        assert status == 0
        assert f"kept {half}: it cannot be removed: Permission denied\n" in said
        assert "removed the half-written" not in said

    def test_a_number_that_another_process_has_by_now_keeps_nothing(
        self, study: Any, branch: Branch, knockout: Knockout
    ) -> None:
        """A process number is believed only with its birth."""
        made = branch("E5")
        earlier = gone(os.getpid())
        path = study.paths.worktrees / worktree_name("E5", made.commit, earlier)
        Repository(study.paths.root).add_worktree(made.commit, path)
        run_id = study.start("E5")
        study.queue(run_id, "running", host=earlier.host, pid=earlier.pid, born="boot/2")
        with study.paths.run(run_id).hold():
            assert f"removed the worktree {path}: process {earlier.pid} is gone\n" in knockout("gc")[1]

    def test_a_worktree_that_git_keeps_is_told_and_keeps_no_other(
        self, study: Any, branch: Branch, knockout: Knockout, dead_pid: int
    ) -> None:
        made, paths = branch("E5"), study.paths
        made_there = [paths.worktrees / worktree_name(name, made.commit, gone(dead_pid)) for name in ("E5", "H2")]
        for path in made_there:
            Repository(paths.root).add_worktree(made.commit, path)
        study.git("worktree", "lock", str(made_there[0]))
        said = knockout("gc")[1]
        assert f"kept {made_there[0]}: " in said
        assert f"git worktree unlock {made_there[0]}" in said
        assert f"removed the worktree {made_there[1]}" in said
        assert [path.exists() for path in made_there] == [True, False]

    def test_removes_worktrees_of_dead_processes_only(
        self, study: Any, branch: Branch, knockout: Knockout, dead_pid: int
    ) -> None:
        made, paths = branch("E5"), study.paths
        names = [*(worktree_name("E5", made.commit, of) for of in (gone(dead_pid), None)), "look-E5-123456789012"]
        for name in names:
            Repository(paths.root).add_worktree(made.commit, paths.worktrees / name)
        said = knockout("gc")[1]
        assert f"removed the worktree {paths.worktrees / names[0]}: process {dead_pid} is gone\n" in said
        assert sorted(path.name for path in paths.worktrees.iterdir()) == sorted(names[1:])
        assert study.git("worktree", "list").count("\n") == 2

    def test_keeps_the_worktree_of_a_job_that_outlived_its_run(
        self, study: Any, branch: Branch, knockout: Knockout, dead_pid: int
    ) -> None:
        made = branch("E5")
        path = study.paths.worktrees / worktree_name("E5", made.commit, gone(dead_pid))
        Repository(study.paths.root).add_worktree(made.commit, path)
        run_id = study.start("E5")
        study.queue(run_id, "running", host=Process.own().host, pid=dead_pid, born="boot/1")
        with study.paths.run(run_id).hold():
            assert f"kept {path}: its job is still at work\n" in knockout("gc")[1]
            assert path.is_dir()
        # Once the job has ended too, nobody needs it.
        assert f"removed the worktree {path}: process {dead_pid} is gone\n" in knockout("gc")[1]
        assert not path.exists()

    def test_a_dry_run_says_what_gc_does_and_changes_nothing(
        self, study: Any, branch: Branch, knockout: Knockout, dead_pid: int
    ) -> None:
        made = branch("E5")
        branch("H2")
        study.queue("E5-s0-00000000", "done")
        path = study.paths.worktrees / worktree_name("E5", made.commit, gone(dead_pid))
        Repository(study.paths.root).add_worktree(made.commit, path)
        before = (refs(study), checkout_hash(study.paths.root), study.git("worktree", "list"))
        status, would, _ = knockout("gc", "--dry-run")
        assert status == 0
        assert (refs(study), checkout_hash(study.paths.root), study.git("worktree", "list")) == before
        assert path.is_dir()
        assert would.count("would ") == 2
        did = knockout("gc")[1]
        assert did == would.replace("would remove", "removed").replace("would retire", "retired")

    def test_the_users_checkout_stays_as_it_is(
        self, study: Any, branch: Branch, knockout: Knockout, dead_pid: int
    ) -> None:
        """Law 6: the user's checkout and index are never touched."""
        made = branch("E5")
        study.queue("E5-s0-00000000", "done")
        path = study.paths.worktrees / worktree_name("E5", made.commit, gone(dead_pid))
        Repository(study.paths.root).add_worktree(made.commit, path)
        (study.paths.root / "idea.txt").write_text("half an idea\n")
        (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
        study.git("add", "idea.txt")
        status = study.git("status", "--porcelain=v2", "--branch")
        before = checkout_hash(study.paths.root)
        assert knockout("gc")[0] == 0
        assert knockout("checkout", "E5")[0] == 0
        assert checkout_hash(study.paths.root) == before
        assert study.git("status", "--porcelain=v2", "--branch") == status

    def test_outside_a_repository_the_copies_of_runs_are_tidied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dead_pid: int
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        Path("experiments.yaml").touch()
        paths = Paths(tmp_path)
        copy = paths.worktrees / worktree_name("E5-s0-3466db1c", "0123456789ab", gone(dead_pid))
        # A script may make a repository of its own.
        (copy / ".git").mkdir(parents=True)
        assert main(["gc"]) == 0
        assert f"removed the worktree {copy}: process {dead_pid} is gone" in capsys.readouterr().out
        assert not copy.exists()
        assert main(["checkout", "E5"]) == 2
        assert "no git repository holds this folder, so there are no branches or worktrees" in capsys.readouterr().err


class TestCheckout:
    def test_puts_the_newest_commit_into_a_new_worktree(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        branch("E5", b"1")
        newest = branch("E5", b"2", NOW.replace(year=2027))
        folder = study.paths.worktrees / f"look-E5-{newest.commit[:12]}"
        status, said, _ = knockout("checkout", "E5")
        assert status == 0
        assert said.splitlines() == [
            f"E5 at commit {newest.commit[:12]}, from refs/heads/{newest.branch}: {folder}",
            f"to remove it: git worktree remove --force {folder}",
        ]
        assert (folder / SPEC_FILE).read_bytes() == b"2"
        study.git("worktree", "remove", "--force", str(folder))
        assert not folder.exists()

    def test_a_retired_experiment_and_a_keeper_without_a_branch_are_found(
        self, study: Any, branch: Branch, knockout: Knockout
    ) -> None:
        repository = Repository(study.paths.root)
        repository.branches.retire(branch("E5"))
        assert "from refs/knockout/E5/20260219_010041: " in knockout("checkout", "E5")[1]
        keeper = branch("H2")
        repository.branches.keep(keeper, "H2", "{}")
        study.git("branch", "--quiet", "-D", keeper.branch)
        assert f"H2 at commit {keeper.commit[:12]}, from refs/tags/keeper/H2: " in knockout("checkout", "H2")[1]

    def test_the_folder_may_be_named(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        branch("E5")
        assert knockout("checkout", "E5", "--path", "../look")[0] == 0
        assert (study.paths.root.parent / "look" / "model" / "__main__.py").exists()

    def test_a_folder_that_is_there_is_refused(self, study: Any, branch: Branch, knockout: Knockout) -> None:
        branch("E5")
        knockout("checkout", "E5")
        status, _, said = knockout("checkout", "E5")
        assert status == 2
        assert "is there already; look there, remove it with `git worktree remove --force /" in said
        assert said.endswith("or name another folder with --path\n")

    def test_a_folder_inside_the_users_checkout_is_refused(
        self, study: Any, branch: Branch, knockout: Knockout
    ) -> None:
        branch("E5")
        status, _, said = knockout("checkout", "E5", "--path", "look")
        assert status == 2
        assert f"lies inside your checkout {study.paths.root}; name a folder outside of it" in said
        assert not (study.paths.root / "look").exists()

    def test_an_experiment_without_a_commit_is_told(self, branch: Branch, knockout: Knockout) -> None:
        assert knockout("checkout", "E6") == (
            2,
            "",
            "knockout: no commit of `E6` is known; an experiment gets one when `knockout run` trains it\n",
        )
        branch("E5")
        assert "no commit of `E6` is known; there are E5; an experiment gets one" in knockout("checkout", "E6")[2]
