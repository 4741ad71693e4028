"""Answers are kept as long as neither the question nor the code that answers changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.task.ask import Answer, check_configs
from orchestrator.task.kept import find_key
from orchestrator.task.spec import TaskSpec
from tests.builders import answers

TASK = TaskSpec(command=("true",), code=("asked.py",), check=("{python}", "-m", "asked", "check"))


@pytest.fixture(autouse=True)
def real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes of their own answer here, and answers are kept in a cache of the test."""
    monkeypatch.setattr("orchestrator.task.call.call", answers.real_call)
    monkeypatch.setattr("orchestrator.task.ask.find_key", find_key)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


class TestKept:
    """A question is asked once, as long as neither it nor the code changes."""

    CODE = "import pathlib, sys; pathlib.Path('count').open('a').write('x'); print('[{\"epochs\": 4}]')"

    @pytest.fixture
    def counted(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        monkeypatch.setattr("orchestrator.task.kept.SETTLED_SECONDS", -60.0)
        (root / "asked.py").write_text(self.CODE)
        return lambda: (root / "count").stat().st_size

    def test_the_same_question_is_asked_once(self, root: Path, counted: Callable[[], int]) -> None:
        for _ in range(2):
            assert check_configs(TASK, root, [{"lr": 1}]) == [Answer(epochs=4)]
        assert counted() == 1

    def test_another_question_or_other_code_is_asked(self, root: Path, counted: Callable[[], int]) -> None:
        check_configs(TASK, root, [{"lr": 1}])
        check_configs(TASK, root, [{"lr": 2}])
        (root / "asked.py").write_text(self.CODE + "  # another")
        check_configs(TASK, root, [{"lr": 2}])
        assert counted() == 3

    def test_another_value_of_a_variable_is_asked(
        self, root: Path, counted: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for value in ("a", "b"):
            monkeypatch.setenv("KNOCKOUT_TEST_A", value)
            check_configs(TASK, root, [{"path": "${KNOCKOUT_TEST_A}/x"}])
        assert counted() == 2

    def test_what_looks_at_files_is_asked_each_time(self, root: Path, counted: Callable[[], int]) -> None:
        for _ in range(2):
            check_configs(TASK, root, [{}], deep=True)
        assert counted() == 2

    def test_code_of_this_moment_is_asked_again(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "asked.py").write_text(self.CODE)
        monkeypatch.setattr("orchestrator.task.kept.SETTLED_SECONDS", 60.0)
        for _ in range(2):
            check_configs(TASK, root, [{}])
        assert (root / "count").stat().st_size == 2

    def test_a_cache_that_cannot_be_written_costs_only_time(self, root: Path, counted: Callable[[], int]) -> None:
        (root.parent / "cache").write_text("a file")
        for _ in range(2):
            check_configs(TASK, root, [{}])
        assert counted() == 2
