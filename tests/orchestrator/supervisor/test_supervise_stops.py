"""Requests to stop and kills, with real processes: what ends, what is told, and what is left."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.errors import AWAY, INTERRUPTED
from orchestrator.processes import read_stat
from tests.builders.supervised import IGNORES_TERM, LAUNCHER, PYTHON, SLEEP, Stranger, wait_until

LEAVES_ITS_MARK = f"""
import os, sys
if os.fork() == 0:
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-u", "-c", {SLEEP!r}], {{}})
os.wait()
"""
"""Starts a process without any variable: no mark finds it."""
SAVES_AFTER_ITS_SHELL = """
import signal, sys, time
def save(*_):
    time.sleep(0.4)
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up")
time.sleep(60)
"""


def begin(stranger: Stranger, *arguments: str, word: str = "up", **fields: object) -> int:
    """Start a supervisor and wait until its command has written a word."""
    stranger.order(*arguments, **fields)
    pid = stranger.start()
    wait_until(lambda: word in stranger.log())
    return pid


def ask(stranger: Stranger, pid: int, *numbers: int) -> tuple[int, float]:
    """Send signals to a supervisor; return its exit status, and the seconds until its end."""
    begun = time.monotonic()
    for number in numbers:
        os.kill(pid, number)
        time.sleep(0.3 * (len(numbers) > 1))
    return stranger.wait(pid), time.monotonic() - begun


class TestAskedToStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_is_interrupted(self, stranger: Stranger, number: int) -> None:
        pid = begin(stranger, *PYTHON, SLEEP)
        assert ask(stranger, pid, number)[0] == INTERRUPTED
        assert not stranger.folder.result.exists()
        assert stranger.folder.log_tail(1) == ["[knockout] asked to stop; the command ended by signal SIGTERM"]

    def test_a_launcher_that_answers_with_status_1_has_not_failed(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, LAUNCHER, word="launched")
        assert len(stranger.marked()) == 4  # the supervisor holds the lock
        assert ask(stranger, pid, signal.SIGTERM)[0] == INTERRUPTED
        assert stranger.log().endswith("SIGTERM\n[knockout] asked to stop; the command ended with exit status 1\n")
        assert stranger.marked() == []

    def test_status_0_after_a_request_is_an_interruption_too(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, SAVES_AFTER_ITS_SHELL)
        assert ask(stranger, pid, signal.SIGTERM)[0] == INTERRUPTED
        assert "saved" in stranger.log()

    def test_it_hears_the_signal_of_its_task(self, stranger: Stranger) -> None:
        script = SAVES_AFTER_ITS_SHELL.replace("SIGTERM", "SIGUSR1")
        pid = begin(stranger, *PYTHON, script, stop_signal="SIGUSR1")
        assert ask(stranger, pid, signal.SIGTERM)[0] == INTERRUPTED
        assert "saved" in stranger.log()

    def test_a_training_has_its_grace_though_its_shell_ends_at_once(self, stranger: Stranger) -> None:
        shell = 'exec 3>&1; "$@" & trap "exit 0" TERM; wait'
        pid = begin(stranger, "sh", "-c", shell, "sh", *PYTHON, SAVES_AFTER_ITS_SHELL)
        assert ask(stranger, pid, signal.SIGTERM)[0] == INTERRUPTED
        assert "saved" in stranger.log()
        assert stranger.marked() == []

    def test_what_ignores_it_is_killed_after_its_grace(
        self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.supervisor.supervise.TERM_SECONDS", 0.1)
        pid = begin(stranger, *PYTHON, IGNORES_TERM, grace_seconds=0.3)
        status, seconds = ask(stranger, pid, signal.SIGTERM)
        assert status == INTERRUPTED
        assert seconds >= 0.3
        assert "the command ended by signal SIGKILL; 1 process did not end in time and was ended: " in stranger.log()
        assert stranger.marked() == []

    def test_a_second_request_kills_at_once(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, IGNORES_TERM, grace_seconds=600)
        status, seconds = ask(stranger, pid, signal.SIGINT, signal.SIGINT)
        assert status == INTERRUPTED
        assert seconds < 10
        assert stranger.marked() == []

    def test_a_process_without_the_mark_ends_with_its_group(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, LEAVES_ITS_MARK)
        group = next(str(one) for one in stranger.marked() if one != pid)
        assert ask(stranger, pid, signal.SIGTERM)[0] == INTERRUPTED
        # Whoever takes the status of a dead process may be late.
        wait_until(lambda: group not in _living_groups())


class TestKilled:
    def test_kill_9_of_the_supervisor_ends_the_command_and_the_next_start_the_rest(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, LAUNCHER, word="launched")
        os.kill(pid, signal.SIGKILL)
        assert stranger.wait(pid) == -signal.SIGKILL
        wait_until(lambda: len(stranger.marked()) == 2)  # the workers have sessions of their own
        assert stranger.run("true") == 0
        assert "processes of an earlier attempt were ended" in stranger.log()
        assert stranger.marked() == []
        assert stranger.result().state == "done"

    def test_kill_9_of_the_command_ends_its_workers_and_leaves_no_result(self, stranger: Stranger) -> None:
        pid = begin(stranger, *PYTHON, LAUNCHER, word="launched")
        command = next(one for one in stranger.marked() if _stat(one)[1] == str(pid))
        os.kill(command, signal.SIGKILL)
        assert stranger.wait(pid) == AWAY
        assert "the command ended by signal SIGKILL: SIGKILL came from outside" in stranger.log()
        assert "2 processes outlived the command and were ended: " in stranger.log()
        assert not stranger.folder.result.exists()
        assert stranger.marked() == []

    def test_a_request_before_the_start_starts_nothing_and_no_sweep_ends_a_supervisor_that_waits(
        self, stranger: Stranger
    ) -> None:
        first = begin(stranger, *PYTHON, SLEEP)
        second = stranger.start()
        wait_until(lambda: stranger.folder.lock in _open_files(second))
        os.kill(second, signal.SIGTERM)
        assert ask(stranger, first, signal.SIGTERM)[0] == INTERRUPTED
        assert stranger.wait(second) == INTERRUPTED
        assert stranger.log().count("up") == 1

    def test_the_log_goes_on_without_the_supervisor(self, stranger: Stranger) -> None:
        script = "import os, time\nif os.fork() == 0:\n os.setsid()\n while 1: print('on'); time.sleep(0.02)\nos.wait()"
        pid = begin(stranger, *PYTHON, script, word="on")
        os.kill(pid, signal.SIGKILL)
        stranger.wait(pid)
        size = stranger.folder.log.stat().st_size
        wait_until(lambda: stranger.folder.log.stat().st_size > size)


def _stat(pid: int) -> list[str]:
    return read_stat(pid) or ["Z", "0", "0"]


def _living_groups() -> set[str]:
    stats = [_stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {fields[2] for fields in stats if fields[0] != "Z"}


def _open_files(pid: int) -> set[Path]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(entry.readlink())
    return found
