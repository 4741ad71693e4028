"""A step of the check on a GPU machine: it ends in time with all its processes, and nothing passes by doing nothing."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu import steps
from gpu.steps import (
    Ending,
    Step,
    end_processes,
    explain_no_benchmark,
    explain_no_run,
    explain_no_test,
    explain_silence,
    find_marked,
    judge,
    read_last_lines,
    run_step,
)

SPAWN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
"""
"""Starts a process in a group of its own, as trainings are."""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
)


def step(code: str, limit_seconds: float = 60, explain: Callable[[Ending], str] = explain_silence) -> Step:
    return Step("a-step", limit_seconds, (sys.executable, "-c", code), explain)


def run(asked: Step, folder: Path) -> Ending:
    return run_step(asked, folder / "log", folder, os.environ)


def ending(status: int, *lines: str, was_ended: bool = False) -> Ending:
    return Ending(status, 1.0, was_ended, lines)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_step_tells_its_status_its_time_and_its_last_lines(tmp_path: Path) -> None:
    found = run(step("import sys; print('one\\n\\ntwo'); print('three', file=sys.stderr); sys.exit(3)"), tmp_path)
    assert (found.status, found.was_ended) == (3, False)
    assert set(found.lines) == {"one", "two", "three"}
    assert 0 < found.seconds < 60


def test_a_step_beyond_its_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    asked = step(f"{SPAWN}time.sleep(600)", 1.0)
    found = run(asked, tmp_path)
    assert found.was_ended
    assert not lives(int(found.last_line))
    verdict = judge(asked, found)
    assert (verdict.word, verdict.why) == ("time", "ended after 1 s")


def test_what_a_step_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    found = run(step(SPAWN), tmp_path)
    assert (found.status, found.was_ended) == (0, False)
    assert not lives(int(found.last_line))


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "end_processes", lambda process, mark: end_processes(process, mark, grace_seconds=0.1))
    found = run(step(STUBBORN, 2.0), tmp_path)
    assert (found.was_ended, found.status, found.lines) == (True, -9, ("on",))


def test_an_interrupt_ends_the_step_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*limit: float) -> int:
        raise KeyboardInterrupt

    ended: list[str] = []

    def note(process: Any, mark: str) -> None:
        monkeypatch.undo()
        ended.append(mark)
        end_processes(process, mark)

    monkeypatch.setattr("gpu.steps.end_processes", note)
    monkeypatch.setattr("subprocess.Popen.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(step("import time; time.sleep(600)"), tmp_path)
    assert [list(find_marked(mark)) for mark in ended] == [[]]


def test_nothing_can_be_typed_to_a_step(tmp_path: Path) -> None:
    assert (
        run(step("print(repr(input.__name__), len(__import__('sys').stdin.read()))"), tmp_path).last_line == "'input' 0"
    )


def test_only_processes_with_the_mark_are_found() -> None:
    assert list(find_marked("no-such-mark")) == []


def test_the_last_lines_are_few_and_not_wide(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff first\n" + b"".join(b"%d %s\n\n" % (row, b"x" * 500) for row in range(20)))
    lines = read_last_lines(tmp_path / "log")
    assert [line.partition(" ")[0] for line in lines] == [str(row) for row in range(12, 20)]
    assert {len(line) for line in lines} == {220}


@pytest.mark.parametrize(
    ("found", "word", "why"),
    [
        (ending(0, "done"), "ok", ""),
        (ending(0), "not shown", "it printed nothing"),
        (ending(1), "failed", "status 1"),
        (ending(-11, "crash"), "failed", "status -11"),
        (ending(0, "done", was_ended=True), "time", "ended after 60 s"),
    ],
)
def test_a_plain_step_is_ok_if_it_ends_well_and_says_something(found: Ending, word: str, why: str) -> None:
    verdict = judge(step(""), found)
    assert (verdict.word, verdict.why) == (word, why)


@pytest.mark.parametrize(
    ("found", "word", "why"),
    [
        (ending(0, "21 passed, 3 skipped in 4.2s"), "ok", ""),
        (
            ending(0, "21 skipped, 1462 deselected in 41.29s"),
            "not shown",
            "no test ran: 21 skipped, 1462 deselected in",
        ),
        (ending(5, "21 skipped in 1.0s"), "not shown", "no test ran: 21 skipped in 1.0s"),
        (ending(5, "21 skipped", "no test ran: all 21"), "not shown", "no test ran: all 21"),
        (ending(5, "no tests ran in 0.01s"), "not shown", "no test ran: no tests ran"),
        (ending(0), "not shown", "no test ran: it printed nothing"),
        (ending(1, "1 failed, 20 passed"), "failed", "status 1"),
        (ending(1, "1 failed"), "failed", "status 1"),
        (ending(4, "ERROR: file or directory not found: tests/model"), "failed", "status 4"),
    ],
)
def test_tests_that_are_skipped_show_nothing(found: Ending, word: str, why: str) -> None:
    verdict = judge(step("", explain=explain_no_test), found)
    assert verdict.word == word
    assert verdict.why.startswith(why)


def test_a_benchmark_that_cannot_be_measured_here_shows_nothing() -> None:
    told = "benchmarks.gpu: there is no GPU here"
    assert explain_no_benchmark(ending(2, told)) == told
    assert explain_no_benchmark(ending(0)) == "it printed nothing"
    assert explain_no_benchmark(ending(0, "| epoch |")) == ""
    assert judge(step("", explain=explain_no_benchmark), ending(1, "No module named")).word == "failed"


def test_a_campaign_shows_something_if_a_run_ended_since_the_start(tmp_path: Path) -> None:
    result = tmp_path / "results" / "runs" / "E5-s0" / "result.json"
    result.parent.mkdir(parents=True)
    now = time.time()
    assert explain_no_run(tmp_path, now, ending(0, "nothing is missing")).startswith("no run ended in this step; move")
    assert explain_no_run(tmp_path, now, ending(2, "refused")) == ""
    result.write_text("{}")
    assert explain_no_run(tmp_path, now, ending(0)) == ""
    os.utime(result, (now - 60, now - 60))
    assert explain_no_run(tmp_path, now, ending(0)) != ""


def test_a_verdict_is_one_line() -> None:
    assert judge(step(""), ending(1)).summary() == "a-step      failed       1 s  status 1"
    assert judge(step(""), ending(0, "said")).summary() == "a-step      ok           1 s"
