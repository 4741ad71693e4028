"""Questions to the campaign's own `model`, which may print, hang and die."""

import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.errors import DataError
from orchestrator.task import ask
from orchestrator.task.ask import Description, check_job, describe_jobs, find_answers

ANSWER = '[{"tokens": 3, "parameters": 4}]'
DESCRIBED = [Description(tokens=3, parameters=4)]
Describe = Callable[..., list[Description]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").touch()
    return tmp_path


@pytest.fixture
def describe(root: Path, a_plan: Callable[..., Plan]) -> Describe:
    """Ask a module that does what a test says about a configuration, so many times."""
    config = a_plan({}).arms["baseline"].config

    def ask(code: str, number: int = 1) -> list[Description]:
        (root / "model" / "describe.py").write_text(code)
        return describe_jobs([config] * number, root, with_data=False)

    return ask


def check(root: Path, code: str) -> str | None:
    (root / "model" / "__main__.py").write_text(code)
    return check_job(root / "run", root, root)


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
def test_an_answer_is_told_from_all_else_that_is_printed(describe: Describe, code: str) -> None:
    assert describe(code) == DESCRIBED


def test_no_answer_is_told_with_what_was_printed(describe: Describe) -> None:
    with pytest.raises(DataError, match=r"`python -m model.describe` gave no answer .*: only noise; try `python -m "):
        describe("print('only noise')")


def test_an_answer_to_fewer_questions_is_none(describe: Describe) -> None:
    with pytest.raises(DataError, match="gave no answer that can be read"):
        describe(f"print('{ANSWER}')", number=2)


def test_a_death_is_told_with_its_signal(describe: Describe) -> None:
    with pytest.raises(DataError, match=r"`python -m model.describe` was ended by signal 9 \(SIGKILL\): half a word"):
        describe("import os, sys; print('half a word', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)")


def test_a_users_mistake_is_found_among_other_words(describe: Describe) -> None:
    code = (
        "import sys; print('model.describe: no such file', file=sys.stderr); print('bye', file=sys.stderr); sys.exit(2)"
    )
    with pytest.raises(DataError, match=r"^no such file$"):
        describe(code)


def test_one_that_hangs_is_ended_with_what_it_started(
    describe: Describe, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "ASK_SECONDS", 2.0)
    code = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(root / 'child')!r}).write_text(str(child.pid)); "
        "print('waiting', file=sys.stderr, flush=True); time.sleep(600)"
    )
    with pytest.raises(DataError, match=r"was still at work after 2 s and was ended; the last that it said: waiting"):
        describe(code)
    child = int((root / "child").read_text())
    with contextlib.suppress(ProcessLookupError):  # it may have ended, and been asked how
        assert select.select([os.pidfd_open(child)], [], [], 60)[0]


def test_what_it_leaves_behind_keeps_nobody_waiting(describe: Describe, root: Path) -> None:
    code = f"import subprocess; child = subprocess.Popen(['sleep', '600']); print('{ANSWER}'); print(child.pid, '[')"
    noted = root / "child"
    code = code.replace("print(child.pid, '[')", f"open({str(noted)!r}, 'w').write(str(child.pid))")
    assert describe(code) == DESCRIBED
    os.kill(int(noted.read_text()), signal.SIGKILL)


class TestCheck:
    def test_has_no_problem(self, root: Path) -> None:
        assert check(root, "print('noise')") is None

    def test_tells_the_problem_among_noise(self, root: Path) -> None:
        answer = '{"tokens": 0, "parameters": 0, "problem": "too wide"}'
        assert (
            check(root, f"print('noise {{', end=''); print('{answer}'); print('bye'); raise SystemExit(2)")
            == "too wide"
        )

    def test_tells_an_error_of_the_code(self, root: Path) -> None:
        assert check(root, "raise ValueError('odd')") == (
            "`python -m model --check` ended with status 1: ValueError: odd"
        )

    def test_tells_a_signal_that_the_code_brought_on_itself(self, root: Path) -> None:
        found = check(root, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        assert found == "`python -m model --check` was ended by signal 11 (SIGSEGV): it said nothing"

    @pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "os._exit(69)", "os._exit(130)"])
    def test_takes_a_fault_of_the_machine_for_no_problem_of_the_code(self, root: Path, ending: str) -> None:
        """What is not known to have failed has not failed: the run can be started again."""
        with pytest.raises(DataError, match="`python -m model --check` "):
            check(root, f"import os; {ending}")


def test_answers_are_what_lines_end_in_and_the_last_comes_first() -> None:
    assert list(find_answers(b"[1]\n[2]\n[three]\n", list[int])) == [[2], [1]]
    assert list(find_answers(b"[1]\nx [[3], [4]\n", list[int])) == [[4], [1]]
    assert list(find_answers(b"", list[int])) == []
