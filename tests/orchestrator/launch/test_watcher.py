"""How a live run ends, seen from outside, with real processes."""

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from orchestrator.errors import AWAY, HELD, NO_SPACE
from orchestrator.files import write_atomically
from orchestrator.launch.guards import Pace
from orchestrator.launch.local import Job
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import Ending, LiveRun, describe_death
from orchestrator.processes import is_halted
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.job_lock import Holder
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.states import Failure, RunState
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.own_jobs import own_job

STRICT = GuardSpec(epoch_seconds=1.0, warmup_epochs=0, slow_epochs=1)


@pytest.fixture
def live(tmp_path: Path, request: pytest.FixtureRequest) -> LiveRun:
    """A run whose job is the Python program of the test's `program` mark, in the place of `model`."""
    program = request.param
    code = tmp_path / "code" / "model"
    code.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "__main__.py").write_text(program)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    slot = Slot("cpu0", {})
    job = Job(folder, own_job(folder, code.parent, slot), slot)
    return LiveRun(id="E5-s0-0123abcd", num_epochs=4, folder=folder, job=job)


def wait(live: LiveRun) -> int:
    deadline = time.monotonic() + 30
    while (status := live.job.exit_status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


@pytest.mark.parametrize("live", ["print('one'); print('two'); raise SystemExit(7)"], indirect=True)
def test_a_death_without_a_result_becomes_one_with_its_cause(live: LiveRun) -> None:
    ending = live.end(wait(live))
    reason = "the job died with exit status 7; the last lines of train.log:\none\ntwo"
    assert ending.result == Result(state="failed", failure="crashed", reason=reason, epochs=0)
    assert (ending.state, ending.reason) == (RunState.FAILED, reason)
    assert live.folder.read_result() == ending.result


@pytest.mark.parametrize("live", ["import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"], indirect=True)
def test_a_death_by_signal_names_the_signal(live: LiveRun) -> None:
    assert live.end(wait(live)).reason == "the job died by signal SIGSEGV and left no log"


STOPPED = "stopped after an epoch; it goes on from there"
FULL = "the disk is full; free some space, and it goes on from its last checkpoint"
ELSEWHERE = "another job was at work in its folder, or has taken it over; it goes on from there"


@pytest.mark.parametrize("live", ["raise SystemExit(130)"], indirect=True)
def test_a_job_that_was_asked_to_stop_is_interrupted_and_not_failed(live: LiveRun) -> None:
    assert live.end(wait(live)) == Ending(state=RunState.INTERRUPTED, reason=STOPPED, status=130)
    assert not live.folder.result.exists()


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_ruling_ends_the_job_and_is_its_result(live: LiveRun) -> None:
    assert live.check(STRICT, lambda: None) is None
    append_epoch(live.folder, an_epoch(seconds=5.0))
    ruling = live.check(STRICT, lambda: None)
    assert ruling is not None
    assert wait(live) < 0
    result = Result(state="too_slow", reason=ruling.reason, epochs=1)
    assert live.end(-9) == Ending(state=RunState.TOO_SLOW, reason=ruling.reason, result=result)


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_result_written_in_the_moment_before_a_ruling_stands(live: LiveRun) -> None:
    done = Result(state="done", reason="all epochs trained", epochs=1)
    append_epoch(live.folder, an_epoch(seconds=5.0))
    live.folder.write_result(done)
    live.check(STRICT, lambda: None)
    assert live.end(wait(live)) == Ending(state=RunState.DONE, reason=done.reason, result=done)


CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


@pytest.mark.parametrize("live", [CHILD], indirect=True)
def test_a_job_is_killed_with_all_it_started(live: LiveRun) -> None:
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(live.job.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    live.job.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_only_the_last_lines_of_a_long_log_are_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert describe_death(1, folder).splitlines()[1:] == [f"line {number}" for number in range(60, 100)]


class FakeJob:
    """A job that does nothing until it is told to: `obeys` is its exit status once asked to stop."""

    def __init__(self, *, obeys: int | None = None) -> None:
        self.slot, self.pid = Slot("cpu0", {}), None
        self.status: int | None = None
        self.obeys = obeys
        self.asked = 0

    def exit_status(self) -> int | None:
        return self.status

    def ask_to_stop(self) -> None:
        self.asked += 1
        self.status = self.obeys

    def kill(self) -> None:
        self.status = -signal.SIGKILL


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


HangBuilder = Callable[..., tuple[LiveRun, FakeJob, Clock]]


@pytest.fixture
def build_silent(tmp_path: Path) -> HangBuilder:
    """Return what makes a run whose job says nothing, and the clock that it is watched by."""

    def build(
        *, obeys: int | None = None, kills: Callable[[], int | None] = lambda: 0
    ) -> tuple[LiveRun, FakeJob, Clock]:
        job, clock = FakeJob(obeys=obeys), Clock()
        folder = RunFolder(tmp_path / "silent")
        folder.path.mkdir()
        live = LiveRun(id="E5-s0-0123abcd", num_epochs=4, folder=folder, job=job, clock=clock, count_memory_kills=kills)
        return live, job, clock

    return build


PATIENT = GuardSpec(hang_seconds=100.0, hang_grace_seconds=10.0)


def look(live: LiveRun, clock: Clock, seconds: float) -> object:
    clock.now = seconds
    return live.check(PATIENT, lambda: None)


def test_a_silent_job_is_asked_to_stop_and_killed_after_its_grace(build_silent: HangBuilder) -> None:
    live, job, clock = build_silent()
    live.folder.log.write_text("importing")
    assert look(live, clock, 1.0) is None
    assert look(live, clock, 100.5) is None
    assert job.asked == 0
    assert look(live, clock, 101.0) is None
    assert look(live, clock, 110.5) is None
    assert (job.asked, job.status) == (1, None)
    ruling = look(live, clock, 111.0)
    assert (ruling.state, ruling.failure) == (RunState.FAILED, Failure.HUNG)
    assert ruling.reason == (
        "the job hung: no epoch and no line in its log for 100 s before the first epoch ended; asked to stop, it was "
        "still there 10 s later and was killed; the last lines of train.log:\nimporting"
    )
    result = Result(state="failed", failure="hung", reason=ruling.reason, epochs=0)
    assert live.end(job.status) == Ending(state=RunState.FAILED, reason=ruling.reason, result=result)
    assert live.folder.read_result() == result


def test_an_epoch_or_a_line_in_the_log_is_a_sign_of_life(build_silent: HangBuilder) -> None:
    live, job, clock = build_silent()
    for seconds in range(0, 1000, 90):
        if seconds % 180:
            append_epoch(live.folder, an_epoch(len(live.folder.read_epochs()) + 1, seconds=1.0))
        else:
            with live.folder.log.open("a") as log:
                log.write("a line")
        assert look(live, clock, seconds) is None
    assert job.asked == 0
    look(live, clock, 1090.0)
    assert job.asked == 1


@pytest.mark.parametrize("status", [130, -signal.SIGTERM, 1])
def test_a_silent_job_that_ends_when_it_is_asked_hung_all_the_same(build_silent: HangBuilder, status: int) -> None:
    live, job, clock = build_silent(obeys=status)
    append_epoch(live.folder, an_epoch(seconds=1.0))
    look(live, clock, 0.0)
    assert look(live, clock, 100.0) is None
    assert look(live, clock, 200.0) is None
    result = live.end(job.status).result
    assert (result.state, result.failure, result.epochs) == ("failed", "hung", 1)
    assert result.reason.startswith(
        "the job hung: no epoch and no line in its log for 100 s after epoch 1; asked to stop"
    )
    assert result.reason.endswith("SIGTERM and left no log" if status < 0 else f"exit status {status} and left no log")


def test_a_result_written_in_the_grace_of_a_silent_job_stands(build_silent: HangBuilder) -> None:
    live, job, clock = build_silent(obeys=0)
    done = Result(state="done", reason="all epochs trained", epochs=1)
    look(live, clock, 100.0)
    live.folder.write_result(done)
    assert live.end(job.status).result == done


def test_a_job_that_is_gone_has_not_hung(build_silent: HangBuilder) -> None:
    live, job, clock = build_silent()
    job.status = 1
    assert look(live, clock, 1e6) is None
    assert job.asked == 0
    assert live.end(1).result.failure == "crashed"


def test_without_a_hang_limit_a_job_may_be_silent_for_ever(build_silent: HangBuilder) -> None:
    live, job, clock = build_silent()
    clock.now = 1e9
    assert live.check(GuardSpec(hang_seconds=None), lambda: None) is None
    assert job.asked == 0


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.mark.parametrize("live", [DEAF], indirect=True)
def test_a_process_that_ignores_the_request_is_killed_and_says_what_it_last_said(live: LiveRun) -> None:
    deadline = time.monotonic() + 30
    while not live.folder.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    short = GuardSpec(hang_seconds=0.2, hang_grace_seconds=0.2)
    while live.check(short, lambda: None) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert wait(live) == -signal.SIGKILL
    result = live.end(-signal.SIGKILL).result
    assert (result.state, result.failure) == ("failed", "hung")
    assert result.reason.endswith("was killed; the last lines of train.log:\ndeaf")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (130, STOPPED),
        (-signal.SIGTERM, STOPPED),
        (-signal.SIGINT, STOPPED),
        (NO_SPACE, FULL),
        (HELD, ELSEWHERE),
    ],
)
def test_a_job_that_can_go_on_leaves_no_result_and_says_why(
    build_silent: HangBuilder, status: int, reason: str
) -> None:
    live, _, _ = build_silent()
    ending = Ending(state=RunState.INTERRUPTED, reason=reason, status=status)
    assert live.end(status) == ending
    assert ending.is_disk_full == (status == NO_SPACE)
    assert not live.folder.result.exists()


def counts(*values: int | None) -> Callable[[], int | None]:
    left = iter(values)
    return lambda: next(left)


def test_a_job_killed_while_the_kernel_killed_for_memory_ran_out_of_memory(build_silent: HangBuilder) -> None:
    live, _, _ = build_silent(kills=counts(3, 5))
    live.folder.log.write_text("epoch 1")
    result = live.end(-signal.SIGKILL).result
    assert (result.state, result.failure) == ("failed", "out_of_memory")
    assert result.reason == (
        "the job died by signal SIGKILL, and the kernel killed 2 processes for want of memory meanwhile; "
        "the last lines of train.log:\nepoch 1"
    )
    assert live.folder.read_result() == result


@pytest.mark.parametrize(("before", "after"), [(3, 3), (None, 4), (4, None)])
def test_a_job_that_was_killed_and_nobody_knows_why_can_go_on(
    build_silent: HangBuilder, before: int | None, after: int | None
) -> None:
    live, _, _ = build_silent(kills=counts(before, after))
    ending = live.end(-signal.SIGKILL)
    assert (ending.state, ending.result) == (RunState.INTERRUPTED, None)
    assert ending.reason == "the job ended by signal SIGKILL, which was not its own doing; it goes on"
    assert not live.folder.result.exists()


@pytest.mark.parametrize("status", [-signal.SIGSEGV, 1])
def test_a_death_of_its_own_doing_is_a_crash_whatever_the_kernel_killed(build_silent: HangBuilder, status: int) -> None:
    live, _, _ = build_silent(kills=counts(3, 4))
    assert live.end(status).result.failure == "crashed"


@pytest.mark.parametrize("status", [0, 1, -signal.SIGSEGV, 143])
def test_a_job_that_was_asked_to_stop_has_not_failed_however_it_ends(build_silent: HangBuilder, status: int) -> None:
    live, job, _ = build_silent(obeys=status)
    live.ask_to_stop()
    assert live.end(job.status).state is RunState.INTERRUPTED
    assert not live.folder.result.exists()


def test_what_the_system_refused_is_said_with_the_last_line_of_the_log(build_silent: HangBuilder) -> None:
    live, _, _ = build_silent()
    live.folder.log.write_text("epoch 1\nthe system refused: /share/checkpoint.pt: Stale file handle")
    assert live.end(AWAY).reason == (
        "the system refused something that the job needs; it goes on from its last checkpoint once that is mended: "
        "the system refused: /share/checkpoint.pt: Stale file handle"
    )


def test_a_job_that_another_has_overtaken_leaves_no_result(build_silent: HangBuilder) -> None:
    """Its machine slept through its lease, and another machine has gone on with the run since."""
    live, job, _ = build_silent()
    live.folder.lock.write_bytes(msgspec.json.encode(Holder(pid=7, host="there", born="boot/1/2", attempt=9)))
    append_epoch(live.folder, an_epoch(seconds=5.0))
    live.check(STRICT, lambda: None)
    assert job.status == -signal.SIGKILL
    assert live.end(1).state is RunState.INTERRUPTED
    assert not live.folder.result.exists()


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_job_that_somebody_stopped_has_not_hung(live: LiveRun) -> None:
    os.kill(live.job.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while not is_halted(live.job.pid):
        assert time.monotonic() < deadline
    impatient = GuardSpec(hang_seconds=0.001, hang_grace_seconds=0.001)
    live.clock = itertools.count(1e6, 1e3).__next__
    assert [live.check(impatient, lambda: None) for _ in range(3)] == [None, None, None]
    assert live.job.exit_status() is None
    live.job.kill()


def test_the_machine_is_looked_at_only_before_a_run_is_ruled_too_slow(build_silent: HangBuilder) -> None:
    live, job, _ = build_silent()
    append_epoch(live.folder, an_epoch(seconds=0.5))
    assert live.check(STRICT, lambda: None, pytest.fail) is None
    append_epoch(live.folder, an_epoch(2, seconds=5.0))
    assert live.check(STRICT, lambda: None, lambda: "load 5.2 for 2 jobs") is None
    assert job.status is None
    append_epoch(live.folder, an_epoch(3, seconds=5.0))
    ruling = live.check(STRICT, lambda: None, lambda: "load 5.2 for 2 jobs")
    assert ruling.state is RunState.TOO_SLOW
    assert live.folder.read_result().reason.endswith("; the machine was shared: load 5.2 for 2 jobs")


def test_a_failure_is_ruled_without_a_look_at_the_machine(build_silent: HangBuilder) -> None:
    live, _, _ = build_silent()
    append_epoch(live.folder, an_epoch(seconds=0.5, train_loss=None))
    assert live.check(STRICT, lambda: None, pytest.fail).failure is Failure.NONFINITE


def test_a_job_that_hung_and_was_asked_to_stop_is_not_paused_for_a_probe(build_silent: HangBuilder) -> None:
    guards = GuardSpec(
        hang_seconds=100.0, hang_grace_seconds=10.0, relative_to_reference=1.5, warmup_epochs=0, slow_epochs=1
    )
    live, job, clock = build_silent()

    def look_at(seconds: float) -> object:
        clock.now = seconds
        pace = Pace(seconds=1.0, cpu_seconds=None)
        return live.check(guards, lambda: pace, start_probe=lambda job: pytest.fail("it was paused"))

    look_at(0.0)
    look_at(100.0)
    assert job.asked == 1
    append_epoch(live.folder, an_epoch(seconds=5.0))
    assert look_at(105.0) is None


def test_epochs_that_a_job_has_yet_to_mend_end_nothing(build_silent: HangBuilder) -> None:
    """A line was written twice before the job started; the job mends that by its checkpoint."""
    folder = RunFolder(build_silent()[0].folder.path)
    for _ in range(2):
        append_epoch(folder, an_epoch())
    live = LiveRun(id="E5-s0-0123abcd", num_epochs=4, folder=folder, job=FakeJob())
    assert live.check(PATIENT, lambda: None) is None
    write_atomically(folder.epochs, msgspec.json.encode(an_epoch()) + b"\n")
    live.check(PATIENT, lambda: None)
    assert len(live.epochs) == 1
    append_epoch(folder, an_epoch(3))
    with pytest.raises(ValueError, match="epochs must count"):
        live.check(PATIENT, lambda: None)
