"""Where things lie; where worktrees lie, whoever the user is; and that no other module spells a name on disk."""

import ast
import os
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.runs.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "study")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A user whom no list of users knows, as in a container that is started with `--user 12345`."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    return monkeypatch


def test_worktrees_lie_in_the_users_cache(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.worktrees.parent == tmp_path / ".cache" / "knockout"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert paths.worktrees.parent == tmp_path / "elsewhere" / "knockout"


def test_two_campaigns_of_one_name_have_two_folders(tmp_path: Path) -> None:
    assert Paths(tmp_path / "a" / "study").worktrees != Paths(tmp_path / "b" / "study").worktrees


def test_a_relative_cache_is_passed_over(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.worktrees.parent == tmp_path / ".cache" / "knockout"


def test_without_a_home_they_lie_in_the_results(paths: Paths, nobody: pytest.MonkeyPatch) -> None:
    assert paths.worktrees == paths.results / "worktrees"


@pytest.mark.parametrize("home", ["home", "relative", "/dev/null"])
def test_with_a_home_that_can_hold_none_they_lie_in_the_results(
    paths: Paths, nobody: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    nobody.setenv("HOME", str(tmp_path) if home == "home" else home)
    # Whoever runs the tests may be root, who may write everywhere.
    nobody.setattr("orchestrator.runs.paths.os.access", lambda path, mode: False)
    assert paths.worktrees == paths.results / "worktrees"


ORCHESTRATOR = Path(__file__).parents[3] / "orchestrator"
OWNERS = {
    ORCHESTRATOR / "runs" / "paths.py": {"knockout.db", "optuna.lock", "runs", "set-aside"},
    ORCHESTRATOR / "runs" / "folder.py": {"config.json", "result.json", "launch.json", "progress.jsonl"},
    ORCHESTRATOR / "checks" / "launching.py": {"opened.txt"},
}
"""Module -> some of the names on disk that it owns."""
SUFFIXES = {".apart", ".csv", ".db", ".json", ".jsonl", ".lock", ".log", ".npz", ".pt", ".txt"}
"""Endings of the files of a campaign."""
FOLDERS = {"bursts", "code", "latest", "queued", "reports", "results", "runs", "set-aside", "worktrees"}


def spelled_names(tree: ast.AST) -> list[str]:
    """Return the text constants from which a path is made: right of a `/`, or handed to a method of paths."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            found.append(node.right)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += node.args if node.func.attr in {"glob", "joinpath", "rglob", "with_name", "with_suffix"} else []
    return [inner.value for outer in found for inner in ast.walk(outer) if isinstance(inner, ast.Constant)]


def names_on_disk(path: Path) -> list[str]:
    texts = [text for text in spelled_names(ast.parse(path.read_text())) if isinstance(text, str)]
    names = [PurePosixPath(text).name for text in texts]
    return [name for name in names if PurePosixPath(f"x{name}").suffix in SUFFIXES or name in FOLDERS]


@pytest.mark.parametrize(
    "path", sorted(ORCHESTRATOR.rglob("*.py")), ids=lambda path: path.relative_to(ORCHESTRATOR).as_posix()
)
def test_one_module_owns_the_names_on_disk(path: Path) -> None:
    if path in OWNERS:
        assert OWNERS[path] <= set(names_on_disk(path))
    else:
        assert names_on_disk(path) == []


def test_what_lies_beside_the_queue_and_the_worktrees(paths: Paths) -> None:
    assert [path.name for path in paths.database_logs] == ["knockout.db-wal", "knockout.db-shm"]
    worktree = paths.look("E5", "0123456789abcdef")
    assert worktree == paths.worktrees / "look-E5-0123456789ab"
    assert paths.worktree_lock(worktree) == paths.worktrees.with_name(f"{paths.worktrees.name}.locks") / worktree.name


def test_runs_that_were_queued_are_those_with_an_order(paths: Paths) -> None:
    for name in ("E5-s0-0", "H2-s0-0"):
        paths.run(name).path.mkdir(parents=True)
    paths.run("H2-s0-0").order.touch()
    assert [folder.path.name for folder in paths.ordered_runs()] == ["H2-s0-0"]
