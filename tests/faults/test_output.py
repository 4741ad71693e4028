"""Where progress cannot be shown, the trainings go on and `work` says so once."""

import contextlib
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator

import pytest

from tests.builders.study_harness import KNOCKOUT, wait_for
from tests.faults.conftest import Machine

TOLD = "knockout: nothing more is shown here: "


def call(machine: Machine, line: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell's line in the study's folder; `$K` is the command. The status is that of the first part of a pipe."""
    return subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=machine.repo,
        env={**machine.environment, "K": str(KNOCKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def states(machine: Machine) -> set[str]:
    return {row["state"] for row in machine.rows()}


@pytest.mark.parametrize("line", ["$K work > /dev/full", "$K work | head -1"])
def test_trainings_outlive_the_reader_of_their_progress(short_machine: Machine, line: str) -> None:
    done = call(short_machine, line)
    assert (done.returncode, states(short_machine)) == (0, {"done"})
    assert done.stderr.count(TOLD) == 1
    assert "trainings go on" in done.stderr


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "> /dev/full 2>&1"])
def test_trainings_need_no_standard_streams(short_machine: Machine, closed: str) -> None:
    done = call(short_machine, f"$K work {closed}")
    assert (done.returncode, states(short_machine)) == (0, {"done"})
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["plan", "status --json", "status --watch"])
def test_a_reader_who_has_seen_enough_ends_a_look_quietly(short_machine: Machine, words: str) -> None:
    done = call(short_machine, f"$K {words} | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["status", "plan"])
def test_a_look_that_cannot_be_written_says_so(short_machine: Machine, words: str) -> None:
    done = call(short_machine, f"$K {words} > /dev/full")
    assert (done.returncode, done.stderr) == (
        2,
        "knockout: the output cannot be written: No space left on device\n",
    )


@contextlib.contextmanager
def work_on_a_terminal(machine: Machine, *, stopped: bool) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """Have `work` draw its table on a terminal; a stopped one takes no output, as after Ctrl-S."""
    ours, theirs = pty.openpty()
    if stopped:
        termios.tcflow(theirs, termios.TCOOFF)
    command = [str(KNOCKOUT), "work", "--slots", machine.slots]
    environment = {**machine.environment, "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=machine.repo, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as work:
        os.close(theirs)
        try:
            wait_for(machine.jobs, "a job holds its folder")
            yield work, ours
        finally:
            work.kill()
            os.close(ours)


def test_two_interrupts_end_a_table_on_a_stopped_terminal(short_machine: Machine) -> None:
    short_machine.environment["FAULTS_EPOCH_SECONDS"] = "30"
    with work_on_a_terminal(short_machine, stopped=True) as (work, _):
        work.send_signal(signal.SIGINT)
        work.send_signal(signal.SIGTERM)
        assert work.wait(timeout=60) == 130
    assert not short_machine.jobs()


def test_trainings_outlive_a_terminal_that_is_gone(short_machine: Machine) -> None:
    with work_on_a_terminal(short_machine, stopped=False) as (work, ours):
        os.dup2(os.open(os.devnull, os.O_RDWR), ours)  # the only one that held its other side
        assert work.wait(timeout=60) == 0
    assert states(short_machine) == {"done"}
