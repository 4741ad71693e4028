"""A process is known by its number and its birth, whatever the clock says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator import processes
from orchestrator.processes import BOOT_ID, Process, ask_to_end, birth_of, kill_group

NOBODY = 2**30
"""Above every process's number."""


@pytest.fixture(params=["with /proc", "without /proc"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without /proc":
        monkeypatch.setattr(processes, "BOOT_ID", tmp_path / "none")


@pytest.mark.usefixtures("way")
def test_a_living_process_keeps_its_birth_and_a_later_one_has_another(sleeper: "subprocess.Popen[bytes]") -> None:
    first = birth_of(sleeper.pid)
    time.sleep(0.05)
    assert first is not None
    assert birth_of(sleeper.pid) == first
    with subprocess.Popen(["sleep", "60"]) as later:
        assert birth_of(later.pid) not in (None, first)
        later.kill()


@pytest.mark.usefixtures("way")
def test_one_that_has_ended_and_waits_to_be_asked_how_is_gone() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert birth_of(ended.pid) is None
    assert birth_of(NOBODY) is None


@pytest.mark.skipif(not BOOT_ID.exists(), reason="needs Linux's /proc")
def test_a_birth_is_told_in_ticks_of_one_start_of_the_machine_not_by_the_clock(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    boot, _, ticks = str(birth_of(sleeper.pid)).rpartition("/")
    assert boot == BOOT_ID.read_text().strip()
    started = int(ticks) / os.sysconf("SC_CLK_TCK")
    # Linux counts it on the clock that no one can set.
    assert started == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)


def test_a_program_of_any_name_has_a_birth(tmp_path: Path) -> None:
    program = tmp_path / os.fsdecode(b"a) Z 1\xff")
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        assert Process(Process.own().host, process.pid, str(birth_of(process.pid))).is_alive
        process.kill()


def test_this_process_is_here_and_alive_and_another_with_its_number_is_not() -> None:
    own = Process.own()
    assert own == Process.own()
    assert (own.pid, own.is_here, own.is_alive) == (os.getpid(), True, True)
    assert not Process(own.host, own.pid, "another boot/1").is_alive
    assert not Process(own.host, NOBODY, own.born).is_alive
    assert not Process("elsewhere", own.pid, own.born).is_here


def test_a_group_is_ended_with_all_that_its_leader_started() -> None:
    program = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        kill_group(leader.pid)
        # The pipe's other end is closed once nobody of the group has it.
        assert leader.stdout.read() == b""
        assert leader.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while birth_of(child) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert birth_of(child) is None


def test_a_group_that_has_just_ended_is_no_trouble() -> None:
    kill_group(NOBODY)


def test_a_process_that_is_asked_to_end_may_be_gone_already() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        ask_to_end(process.pid)
        assert process.wait() == -signal.SIGTERM
    ask_to_end(process.pid)
