"""Where worktrees lie, whoever the user is and whatever their home."""

import os
from pathlib import Path

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
