"""Where a job's code comes from."""

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.branches import Repository
from orchestrator.checkouts import CopiedCode, GitCode, Leftover, find_code, leftover_worktrees
from orchestrator.errors import CodeError
from orchestrator.layout import Layout
from orchestrator.plan import Plan

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan({"E5": FOCAL})


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "study"
    (root / "model").mkdir(parents=True)
    (root / "model" / "__main__.py").write_text("print('one')\n")
    return Layout(root)


@pytest.fixture
def committed(layout: Layout) -> Layout:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (("init", "--quiet"), ("add", "-A"), ("commit", "--quiet", "-m", "start")):
        subprocess.run(["git", *identity, *words], cwd=layout.root, check=True)
    return layout


def test_code_in_a_repository_is_checked_out_and_cleaned_up(committed: Layout, plan: Plan) -> None:
    code = find_code(committed, snapshot=False)
    assert isinstance(code, GitCode)
    checkout = code.check_out(plan.arms["E5"], NOW)
    assert (checkout.folder / "model" / "__main__.py").read_text() == "print('one')\n"
    assert not checkout.folder.is_relative_to(committed.root)
    code.clean_up(checkout)
    assert list(committed.worktrees.iterdir()) == []


def test_a_worktree_of_a_process_that_died_is_removed(committed: Layout, plan: Plan) -> None:
    code = find_code(committed, snapshot=False)
    alive = code.check_out(plan.arms["E5"], NOW).folder
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    leftover = alive.with_name(alive.name.replace(str(os.getpid()), dead))
    shutil.copytree(alive, leftover)
    find_code(committed, snapshot=False)
    assert list(committed.worktrees.iterdir()) == [alive]


@pytest.mark.parametrize("name", ["look-E5-123456789012", "E5-0123456789ab", "E5-0123456789ab-mine", "notes-1"])
def test_other_folders_beside_the_worktrees_are_no_leftovers(layout: Layout, name: str) -> None:
    (layout.worktrees / name).mkdir(parents=True)
    assert leftover_worktrees(layout) == []


def test_a_leftover_says_whose_it_was(layout: Layout) -> None:
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    path = layout.worktrees / f"pool-mean-0123456789ab-{dead}"
    path.mkdir(parents=True)
    assert leftover_worktrees(layout) == [Leftover(path, "pool-mean", int(dead))]


def test_uncommitted_code_is_refused_unless_it_is_taken_along(committed: Layout, plan: Plan) -> None:
    (committed.root / "model" / "new.py").write_text("x = 1\n")
    with pytest.raises(CodeError, match=r"uncommitted changes .*: model/new\.py; commit them, or .* with --snapshot"):
        find_code(committed, snapshot=False)
    code = find_code(committed, snapshot=True)
    assert code.code_hash != Repository(committed.root).code_hash()
    assert (code.check_out(plan.arms["E5"], NOW).folder / "model" / "new.py").exists()


def test_outside_a_repository_the_code_is_copied_once(layout: Layout, plan: Plan) -> None:
    code = find_code(layout, snapshot=False)
    assert isinstance(code, CopiedCode)
    first, second = (code.check_out(plan.arms["E5"], NOW) for _ in range(2))
    assert first == second
    assert (first.folder / "model" / "__main__.py").read_text() == "print('one')\n"
    assert first.commit is None
    code.clean_up(first)
    assert first.folder.exists()


def test_a_folder_without_code_takes_the_installed_one(tmp_path: Path) -> None:
    code = find_code(Layout(tmp_path), snapshot=False)
    assert isinstance(code, CopiedCode)
    assert (code.source / "gated_delta.py").exists()
