"""The folders in which jobs run: made, checked, shared and removed."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from orchestrator.campaign.arms import branch_content
from orchestrator.campaign.plan import Plan
from orchestrator.code.checkouts import Checkouts, abandoned_locks, leftover_worktrees, worktree_name
from orchestrator.code.repository import Repository
from orchestrator.code.sources import GitCode, find_code
from orchestrator.errors import CodeError
from orchestrator.processes import Process
from orchestrator.runs import job_lock
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}


def git(paths: Paths, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=paths.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def a_dead_process() -> Process:
    said = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout
    return msgspec.structs.replace(Process.own(), pid=int(said), born="boot/1")


def test_code_in_a_repository_is_checked_out_and_cleaned_up(committed: Paths, plan: Plan) -> None:
    code = find_code(committed, snapshot=False)
    assert isinstance(code, GitCode)
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", code.commit(branch_content(plan.arms["E5"]), NOW))
    assert (folder / "model" / "__main__.py").read_text() == "print('one')\n"
    assert not folder.is_relative_to(committed.root)
    checkouts.close()
    assert list(committed.worktrees.iterdir()) == []


def test_an_experiment_is_checked_out_once(committed: Paths, plan: Plan) -> None:
    ordered = find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    checkouts = Checkouts(committed)
    assert checkouts.open("E5", ordered) == checkouts.open("E5", ordered)
    assert len(list(committed.worktrees.iterdir())) == 1
    checkouts.close()


def test_the_code_of_an_order_is_that_of_its_commit_whatever_the_folder_holds_by_then(
    committed: Paths, plan: Plan
) -> None:
    ordered = find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    (committed.root / "model" / "__main__.py").write_text("print('two')\n")
    checkouts = Checkouts(committed)
    assert (checkouts.open("E5", ordered) / "model" / "__main__.py").read_text() == "print('one')\n"
    checkouts.close()


def test_a_commit_that_is_gone_is_refused_each_time(committed: Paths) -> None:
    checkouts = Checkouts(committed)
    for _ in range(2):
        with pytest.raises(CodeError, match=r"commit 0{12}, which .* is not in the repository; queue the run again"):
            checkouts.open("E5", OrderedCode(tree="c0de", commit="0" * 40))
    checkouts.close()


def test_a_worktree_of_a_process_that_died_is_removed(committed: Paths, plan: Plan) -> None:
    checkouts = Checkouts(committed)
    alive = checkouts.open("E5", find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW))
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    leftover = alive.with_name(alive.name.replace(str(os.getpid()), dead))
    shutil.copytree(alive, leftover)
    checkouts.remove_leftovers()
    assert list(committed.worktrees.iterdir()) == [alive]
    checkouts.close()


@pytest.mark.parametrize("name", ["look-E5-123456789012", "E5-0123456789ab", "E5-0123456789ab-mine", "notes-1"])
def test_other_folders_beside_the_worktrees_are_no_leftovers(paths: Paths, name: str) -> None:
    (paths.worktrees / name).mkdir(parents=True)
    assert leftover_worktrees(paths) == []


def test_a_leftover_says_whose_it_was(paths: Paths) -> None:
    dead = a_dead_process()
    path = paths.worktrees / worktree_name("pool-mean", "0123456789abcdef", dead)
    path.mkdir(parents=True)
    (leftover,) = leftover_worktrees(paths)
    assert (leftover.path, leftover.name, leftover.pid) == (path, "pool-mean", dead.pid)
    assert leftover.was_made_by(dead)
    assert not leftover.was_made_by(msgspec.structs.replace(dead, born="boot/2"))


def test_a_worktree_of_a_number_that_another_process_has_by_now_is_a_leftover(paths: Paths) -> None:
    other = msgspec.structs.replace(Process.own(), born="boot/1")
    path = paths.worktrees / worktree_name("E5", "0123456789ab", other)
    for folder in (path, paths.worktrees / worktree_name("E5", "0123456789ab")):
        folder.mkdir(parents=True)
    assert [leftover.path for leftover in leftover_worktrees(paths)] == [path]


@pytest.fixture
def of_a_container(paths: Paths) -> Path:
    """The worktree of a process that this name space cannot look up."""
    name = worktree_name("E5", "0123456789ab")
    path = paths.worktrees / re.sub(r"-[0-9a-f]{8}-(\d+)-", r"-0c0ffee0-\1-", name)
    path.mkdir(parents=True)
    paths.worktree_lock(path).parent.mkdir()
    return path


def test_the_worktree_of_a_container_is_left_over_once_its_lock_is_free(paths: Paths, of_a_container: Path) -> None:
    with job_lock.hold(paths.worktree_lock(of_a_container)):
        assert leftover_worktrees(paths) == []
    assert [left.path for left in leftover_worktrees(paths)] == [of_a_container]


@pytest.mark.parametrize("born", [None, "another boot/1/2"])
def test_the_worktree_of_another_machine_is_nobodys_to_remove(
    paths: Paths, of_a_container: Path, born: str | None
) -> None:
    paths.worktree_lock(of_a_container).write_bytes(
        msgspec.json.encode(job_lock.Holder(pid=7, host="there", born=born))
    )
    assert leftover_worktrees(paths) == []


def test_a_worktree_is_locked_as_long_as_its_process_has_it(committed: Paths, plan: Plan) -> None:
    code = GitCode(Repository(committed.root), committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", code)
    (worktree,) = committed.worktrees.iterdir()
    holder = job_lock.find_holder(lock := committed.worktree_lock(worktree))
    assert holder is not None
    assert (holder.pid, folder.is_relative_to(worktree)) == (os.getpid(), True)
    assert checkouts.close() == []
    assert not lock.exists()


def test_a_worktree_that_an_older_version_named_by_the_number_alone_is_kept_while_that_lives(paths: Paths) -> None:
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    own, dead = (f"E5-0123456789ab-{host}-{pid}" for pid in (os.getpid(), a_dead_process().pid))
    for name in (own, dead):
        (paths.worktrees / name).mkdir(parents=True)
    assert [leftover.path.name for leftover in leftover_worktrees(paths)] == [dead]


def test_a_worktree_of_another_container_with_this_ones_name_is_no_leftover(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (paths.worktrees / worktree_name("E5", "0123456789ab", a_dead_process())).mkdir(parents=True)
    (tmp_path / "pid").symlink_to("pid:[1]")
    monkeypatch.setattr("orchestrator.code.checkouts.PID_NAMESPACE", tmp_path / "pid")
    assert leftover_worktrees(paths) == []


def test_a_worktree_of_another_machine_that_shares_the_home_is_no_leftover(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (paths.worktrees / worktree_name("E5", "0123456789ab", a_dead_process())).mkdir(parents=True)
    assert len(leftover_worktrees(paths)) == 1
    monkeypatch.setattr("orchestrator.code.checkouts.socket.gethostname", lambda: "elsewhere")
    assert leftover_worktrees(paths) == []


def test_a_worktree_that_was_edited_between_two_jobs_is_refused(committed: Paths, plan: Plan) -> None:
    """What was hashed is what is read: also by the second job."""
    ordered = find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", ordered)
    (folder / "model" / "__main__.py").write_text("print('edited')\n")
    with pytest.raises(CodeError, match="its files were changed; move that away"):
        checkouts.open("E5", ordered)
    checkouts.close()


def test_a_worktree_that_a_cleaner_of_caches_took_is_made_again(committed: Paths, plan: Plan) -> None:
    ordered = find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", ordered)
    shutil.rmtree(folder)
    assert (checkouts.open("E5", ordered) / "model" / "__main__.py").read_text() == "print('one')\n"
    checkouts.close()


def test_a_copy_of_the_code_that_is_gone_is_refused(paths: Paths, plan: Plan) -> None:
    ordered = find_code(paths, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    shutil.rmtree(paths.code_copy(ordered.tree))
    words = r"the copy of the code that the run was queued with is gone; queue the run again"
    with pytest.raises(CodeError, match=f"{ordered.tree[:12]}: {words}"):
        Checkouts(paths).open("E5", ordered)


def test_a_copy_of_the_code_that_was_edited_is_refused(paths: Paths, plan: Plan) -> None:
    code = find_code(paths, snapshot=False)
    ordered = code.commit(branch_content(plan.arms["E5"]), NOW)
    copy = paths.code_copy(ordered.tree)
    (copy / "model" / "__main__.py").write_text("print('edited')\n")
    for refused in (
        lambda: Checkouts(paths).open("E5", ordered),
        lambda: code.commit(branch_content(plan.arms["E5"]), NOW),
    ):
        with pytest.raises(CodeError, match=r"this copy of the code is not what it was .*: rm -r "):
            refused()


def test_data_that_the_code_writes_beside_itself_is_no_edit(committed: Paths, plan: Plan) -> None:
    ordered = find_code(committed, snapshot=False).commit(branch_content(plan.arms["E5"]), NOW)
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", ordered)
    (folder / "model" / "table.npy").write_bytes(b"1")
    assert checkouts.open("E5", ordered) == folder
    (folder / "model" / "extra.py").write_bytes(b"1")
    with pytest.raises(CodeError, match="its files were changed"):
        checkouts.open("E5", ordered)
    checkouts.close()


def test_experiments_of_one_code_share_a_worktree_and_others_have_their_own(
    committed: Paths, a_plan: Callable[..., Plan]
) -> None:
    plan, checkouts = a_plan({"E5": FOCAL, "H2": {"change": {"model.depth": 2}}}), Checkouts(committed)
    code = find_code(committed, snapshot=False)
    first, second = (checkouts.open(name, code.commit(branch_content(plan.arms[name]), NOW)) for name in ("E5", "H2"))
    assert first == second
    (committed.root / "model" / "new.py").write_text("x = 1\n")
    changed = find_code(committed, snapshot=True)
    third = checkouts.open("E5", changed.commit(branch_content(plan.arms["E5"]), NOW))
    assert third != first
    assert ((third / "model" / "new.py").exists(), (first / "model" / "new.py").exists()) == (True, False)
    checkouts.close()
    assert list(committed.worktrees.iterdir()) == []


def test_a_lock_without_a_worktree_is_removed_once_its_process_is_gone(paths: Paths, of_a_container: Path) -> None:
    lock = paths.worktree_lock(of_a_container)
    of_a_container.rmdir()
    with job_lock.hold(lock):
        assert abandoned_locks(paths) == []
    assert abandoned_locks(paths) == [lock]
    Checkouts(paths).remove_leftovers()
    assert not lock.exists()
