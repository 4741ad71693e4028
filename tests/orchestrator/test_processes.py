"""A process is known by its number and its birth, whatever the clock says."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator import processes
from orchestrator.processes import (
    BOOT_ID,
    Process,
    ask_to_end,
    birth_of,
    count_memory_kills,
    describe_status,
    find_members,
    is_halted,
    run_mark,
    signal_group,
)

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
    boot, name_space, ticks = str(birth_of(sleeper.pid)).split("/")
    assert boot == BOOT_ID.read_text().strip()
    assert name_space == str(Path("/proc/self/ns/pid").stat().st_ino)
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
    assert not Process(own.host, own.pid, "another boot/1/1").is_alive
    assert not Process(own.host, NOBODY, own.born).is_alive
    assert not Process("elsewhere", own.pid, own.born).is_here


def group_of(process: "subprocess.Popen[Any]") -> Process:
    return Process(Process.own().host, process.pid, str(birth_of(process.pid)))


def test_a_group_is_ended_with_all_that_its_leader_started() -> None:
    program = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        assert signal_group(group_of(leader), signal.SIGKILL)
        # The pipe's other end is closed once nobody of the group has it.
        assert leader.stdout.read() == b""
        assert leader.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while birth_of(child) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert birth_of(child) is None


@pytest.mark.parametrize("pid", [0, 1, -1, NOBODY])
def test_no_number_that_means_others_is_signalled(pid: int) -> None:
    assert not signal_group(Process(Process.own().host, pid, Process.own().born), signal.SIGKILL)


@pytest.mark.parametrize(
    "change",
    [{"host": "elsewhere"}, {"born": "another boot/1/2"}, {"born": "1/2"}, {"born": ""}],
    ids=["another host", "another boot", "an older version", "no birth"],
)
def test_a_process_that_is_not_the_one_meant_is_never_signalled(
    sleeper: "subprocess.Popen[bytes]", change: dict[str, str]
) -> None:
    other = msgspec.structs.replace(group_of(sleeper), **change)
    assert not other.is_here
    assert not signal_group(other, signal.SIGKILL)
    ask_to_end(other)
    assert sleeper.poll() is None


def test_one_of_another_name_space_is_as_of_another_host(sleeper: "subprocess.Popen[bytes]") -> None:
    boot, _, ticks = group_of(sleeper).born.split("/")
    other = Process(Process.own().host, sleeper.pid, f"{boot}/4026000000/{ticks}")
    assert (other.is_here, other.is_of_earlier_boot) == (False, False)
    assert not signal_group(other, signal.SIGKILL)
    assert sleeper.poll() is None


def test_this_process_and_its_parent_are_never_signalled() -> None:
    for pid in (os.getpid(), os.getppid()):
        assert not signal_group(Process(Process.own().host, pid, str(birth_of(pid))), signal.SIGCONT)


def test_a_process_that_is_asked_to_end_may_be_gone_already() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        meant = group_of(process)
        ask_to_end(meant)
        assert process.wait() == -signal.SIGTERM
    ask_to_end(meant)


def test_a_process_that_is_stopped_is_told_from_one_that_runs(sleeper: "subprocess.Popen[bytes]") -> None:
    assert not is_halted(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while not is_halted(sleeper.pid):
        assert time.monotonic() < deadline
    assert not is_halted(NOBODY)


HAS_IT_OPEN = "import sys; file = open(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.read()"


@contextmanager
def process_with(lock: Path, mode: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", HAS_IT_OPEN, str(lock), mode]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "job.lock"
    path.touch()
    return path


def test_a_process_belongs_to_a_run_by_its_mark_wherever_it_has_gone(lock: Path, tmp_path: Path) -> None:
    with process_with(lock, "r", KNOCKOUT_RUN=run_mark(lock.parent)) as marked:
        assert [member.pid for member in find_members(lock.parent, lock, None)] == [marked.pid]
        other = tmp_path / "other"
        other.mkdir()
        assert find_members(other, other / "job.lock", None) == []


@pytest.mark.parametrize(("mode", "is_member"), [("a", True), ("r", False)])
def test_a_forked_process_belongs_by_the_lock_that_it_may_write(lock: Path, mode: str, is_member: bool) -> None:
    with process_with(lock, mode, KNOCKOUT_RUN="standby") as forked:
        assert [member.pid for member in find_members(lock.parent, lock, None)] == [forked.pid] * is_member


def test_a_stranger_with_the_lock_belongs_to_no_run_unless_it_is_the_recorded_job(lock: Path) -> None:
    with process_with(lock, "a") as stranger, process_with(lock, "r") as reader:
        assert find_members(lock.parent, lock, None) == []
        assert find_members(lock.parent, lock, group_of(reader)) == []
        assert find_members(lock.parent, lock, group_of(stranger)) == [group_of(stranger)]
        for other in ({"born": "another boot/1/2"}, {"host": "elsewhere"}):
            recorded = msgspec.structs.replace(group_of(stranger), **other)
            assert find_members(lock.parent, lock, recorded) == []


def test_the_kernels_kills_for_memory_are_counted(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 3\n")
    (tmp_path / "other").write_text("nr_free_pages 5\n")
    assert count_memory_kills(tmp_path / "vmstat") == 3
    assert count_memory_kills(tmp_path / "other") is None
    assert count_memory_kills(tmp_path / "none") is None


def test_an_end_is_said_by_name() -> None:
    assert describe_status(3) == "with exit status 3"
    assert describe_status(-9) == "by signal SIGKILL"
    assert describe_status(-63) == "by signal 63"
