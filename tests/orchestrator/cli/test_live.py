"""The runs under way: what is printed once, and how long it takes until the last one ends."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.api.work import LiveRun
from orchestrator.cli import live
from orchestrator.cli.live import LiveTable, describe_live, print_failures, seconds_left
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.states import RunState
from tests.builders.epochs import an_epoch

NO_JOB: Any = None


def a_row(number: int, state: RunState, **columns: Any) -> QueuedRun:
    return QueuedRun(id=f"E{number}-s0-1", experiment=f"E{number}", seed=0, profile="quick", state=state, **columns)


@pytest.fixture
def a_live_run(tmp_path: Path) -> Callable[..., LiveRun]:
    """A run of ten epochs under way, by the seconds of its epochs; its job is never asked."""

    def make(number: int, *seconds: float, **fields: Any) -> LiveRun:
        epochs = [an_epoch(place, seconds=each, **fields) for place, each in enumerate(seconds, start=1)]
        return LiveRun(f"E{number}-s0-1", 10, RunFolder(tmp_path), NO_JOB, epochs=epochs)

    return make


def test_before_the_first_epoch_nobody_knows_how_long_it_takes(a_live_run: Callable[..., LiveRun]) -> None:
    assert seconds_left([a_row(1, RunState.RUNNING)], [a_live_run(1)]) is None
    assert seconds_left([], []) is None


def test_a_script_is_as_far_as_the_step_that_it_told_last_and_a_silent_one_shows_no_step(
    a_live_run: Callable[..., LiveRun],
) -> None:
    told, silent, counted = a_live_run(1, 2.0, step=1234567.0), a_live_run(2), a_live_run(3, 2.0)
    told.num_epochs = silent.num_epochs = None
    assert describe_live(told)[0] == "1234567"
    assert describe_live(silent) == ["", "", ""]
    assert (describe_live(counted)[0], describe_live(a_live_run(4))[0]) == ("1/10", "0/10")


def test_the_time_left_is_that_of_the_epochs_that_are_left(a_live_run: Callable[..., LiveRun]) -> None:
    assert seconds_left([a_row(1, RunState.RUNNING)], [a_live_run(1, 9.0, 2.0)]) == 8 * 2.0


def test_runs_that_wait_take_as_long_as_those_under_way_and_share_their_slots(
    a_live_run: Callable[..., LiveRun],
) -> None:
    rows = [a_row(1, RunState.RUNNING), a_row(2, RunState.RUNNING), a_row(3, RunState.QUEUED), a_row(4, RunState.DONE)]
    two = [a_live_run(1, 1.0), a_live_run(2, 3.0)]
    assert seconds_left(rows, two) == (9 * 1.0 + 9 * 3.0 + 20.0) / 2


def test_a_problem_and_an_end_are_printed_once_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, waiting = a_row(1, RunState.FAILED, reason="it broke\nTraceback"), a_row(2, RunState.QUEUED)
    with LiveTable() as table:
        for _ in range(2):
            table.tell("the disk is full")
            table.show([ended, waiting], [])
    assert capsys.readouterr().out == "the disk is full\nE1-s0-1: failed; it broke\n"
    assert table.shown_problems == {"the disk is full"}


def test_a_terminal_shows_the_runs_under_way_and_the_next_that_wait(
    a_live_run: Callable[..., LiveRun], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "OUT", Console(width=100, force_terminal=True, _environ={"TERM": "xterm"}))
    rows = [a_row(number, RunState.DONE) for number in range(7)]
    rows += [a_row(7, RunState.RUNNING), *(a_row(number, RunState.QUEUED) for number in range(8, 15))]
    with LiveTable() as table:
        table.show(rows, [a_live_run(7, 9.0, 2.0, val_loss=None)])
    # The table is drawn a last time before it is erased.
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    said = said[said.rindex("7 of 15") :]
    assert "7 of 15 runs ended, 7 waiting, about 2:36 left" in said
    shown = [words[0] for line in said.splitlines() if (words := line.strip("│ ").split()) and words[0][0] == "E"]
    assert shown == ["E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E10", "E11", "E12"]
    [under_way] = [line for line in said.splitlines() if "running" in line]
    assert all(word in under_way for word in ("2/10", "not finite", "2.00", "about 0:16 left"))


def test_failures_are_told_with_their_reason_and_give_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [a_row(1, RunState.DONE), a_row(2, RunState.FAILED, failure="crashed", reason="it broke")]
    assert print_failures(rows) == 1
    assert capsys.readouterr().out.splitlines()[0] == "E2-s0-1 failed (crashed): it broke"
    assert print_failures(rows[:1]) == 0
    assert capsys.readouterr().out == ""
