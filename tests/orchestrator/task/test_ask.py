"""Questions to the campaign's own `model`, which may print, hang and die."""

import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import DataError
from orchestrator.task import ask
from orchestrator.task.ask import Answer, Problem, ask_schema, check_configs, check_job, prepare_data
from orchestrator.task.kept import find_key
from orchestrator.task.spec import TaskSpec
from tests.builders import answers

ANSWER = '[{"params": {"lr": 0.1}, "epochs": 4}]'
ANSWERED = [Answer(params={"lr": 0.1}, epochs=4)]
QUESTION = ("{python}", "-m", "asked", "check")
TASK = TaskSpec(command=("true",), code=("asked.py",), check=QUESTION, schema=("{python}", "asked.py", "{root}"))
Ask = Callable[..., list[Answer]]


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


@pytest.fixture
def check_all(root: Path) -> Ask:
    """Ask a module that does what a test says about a configuration, so many times."""

    def ask(code: str, number: int = 1) -> list[Answer]:
        (root / "asked.py").write_text(code)
        return check_configs(TASK, root, [{}] * number)

    return ask


def check(root: Path, code: str) -> str | None:
    (root / "asked.py").write_text(code)
    return check_job(TASK, {"lr": 0.1}, root, root)


@pytest.mark.parametrize(
    "code",
    [
        f"print('loading'); print('{ANSWER}')",
        f"print('loading ... [0%] {{', end=''); print('{ANSWER}')",
        f"import atexit; atexit.register(print, 'bye'); print('{ANSWER}')",
        f"import atexit; atexit.register(print, '[]'); print('{ANSWER}')",
        f"import os; os.write(1, b'from C ['); print('{ANSWER}'); os.write(2, b'a warning')",
        f"import sys; sys.stdout.buffer.write(b'\\xff\\xfe['); print('{ANSWER}')",
    ],
    ids=["before", "on its line", "after", "like an answer", "past Python", "no text"],
)
def test_an_answer_is_told_from_all_else_that_is_printed(check_all: Ask, code: str) -> None:
    assert check_all(code) == ANSWERED


def test_no_answer_is_told_with_what_was_printed(check_all: Ask) -> None:
    with pytest.raises(DataError, match=r"`python -m asked check` gave no answer .*: only noise"):
        check_all("print('only noise')")


def test_an_answer_to_fewer_questions_is_none(check_all: Ask) -> None:
    with pytest.raises(DataError, match="gave no answer that can be read"):
        check_all(f"print('{ANSWER}')", number=2)


def test_a_death_is_told_with_its_signal(check_all: Ask) -> None:
    with pytest.raises(DataError, match=r"`python -m asked check` was ended by signal 9 \(SIGKILL\): half a word"):
        check_all("import os, sys; print('half a word', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)")


def test_a_users_mistake_is_found_among_other_words(check_all: Ask) -> None:
    code = "import sys; print('asked: no such file', file=sys.stderr); print('bye', file=sys.stderr); sys.exit(2)"
    with pytest.raises(DataError, match=r"^no such file$"):
        check_all(code)


def test_one_that_hangs_is_ended_with_what_it_started(
    check_all: Ask, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "ASK_SECONDS", 2.0)
    code = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(root / 'child')!r}).write_text(str(child.pid)); "
        "print('waiting', file=sys.stderr, flush=True); time.sleep(600)"
    )
    with pytest.raises(DataError, match=r"was still at work after 2 s and was ended; the last that it said: waiting"):
        check_all(code)
    child = int((root / "child").read_text())
    with contextlib.suppress(ProcessLookupError):  # it may have ended, and been asked how
        assert select.select([os.pidfd_open(child)], [], [], 60)[0]


def test_what_it_leaves_behind_keeps_nobody_waiting(check_all: Ask, root: Path) -> None:
    code = f"import subprocess; child = subprocess.Popen(['sleep', '600']); print('{ANSWER}'); print(child.pid, '[')"
    noted = root / "child"
    code = code.replace("print(child.pid, '[')", f"open({str(noted)!r}, 'w').write(str(child.pid))")
    assert check_all(code) == ANSWERED
    os.kill(int(noted.read_text()), signal.SIGKILL)


class TestCheck:
    def test_has_no_problem(self, root: Path) -> None:
        assert check(root, f"print('noise'); print('{ANSWER}')") is None

    def test_tells_the_problem_among_noise(self, root: Path) -> None:
        answer = '[{"problem": {"message": "too wide", "at": []}}]'
        assert check(root, f"print('noise {{', end=''); print('{answer}'); print('bye')") == "too wide"

    def test_tells_an_error_of_the_code(self, root: Path) -> None:
        assert check(root, "raise ValueError('odd')") == (
            "`python -m asked check` ended with status 1: ValueError: odd"
        )

    def test_tells_a_signal_that_the_code_brought_on_itself(self, root: Path) -> None:
        found = check(root, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        assert found == "`python -m asked check` was ended by signal 11 (SIGSEGV): it said nothing"

    @pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "os._exit(69)", "os._exit(130)"])
    def test_takes_a_fault_of_the_machine_for_no_problem_of_the_code(self, root: Path, ending: str) -> None:
        """What is not known to have failed has not failed: the run can be started again."""
        with pytest.raises(DataError, match="`python -m asked check` "):
            check(root, f"import os; {ending}")


def test_a_schema_is_what_its_command_prints(root: Path) -> None:
    (root / "asked.py").write_text("import json, sys; print(json.dumps({'title': sys.argv[1]}))")
    assert ask_schema(TASK, root) == {"title": str(root)}


def test_a_task_without_a_check_takes_parameters_as_they_are(root: Path) -> None:
    task = TaskSpec(command=("true",), code=("asked.py",))
    assert check_configs(task, root, [{"lr": 1}], deep=True) == [Answer(params={"lr": 1})]
    assert check_job(task, {}, root, root) is None
    assert ask_schema(task, root) == {}


def test_a_problem_is_told_with_its_place(check_all: Ask) -> None:
    said = '[{"problem": {"message": "too wide", "at": ["model", "dim"]}}]'
    assert check_all(f"print('{said}')") == [Answer(problem=Problem(message="too wide", at=("model", "dim")))]


def test_data_are_made_by_the_task_itself(root: Path) -> None:
    (root / "make.py").write_text("import json, sys; print('made for', json.load(sys.stdin)['configs'])")
    task = TaskSpec(command=("true",), code=("make.py",), prepare=("{python}", "make.py"))
    assert prepare_data(task, root, [{"lr": 1}]) == "made for [{'lr': 1}]\n"
