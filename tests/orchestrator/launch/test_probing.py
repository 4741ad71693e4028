"""A run that looks too slow is paused and timed; real processes as jobs, measurements as told."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import CodeError
from orchestrator.launch.forked import AnyJob
from orchestrator.launch.guards import SLOW_TURNS, Pace
from orchestrator.launch.local import Job
from orchestrator.launch.paired_probe import Side
from orchestrator.launch.probing import QuietProbe, References
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.order import GuardSpec, Order, OrderedCode, place_run
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import Measurement, read_probes
from orchestrator.runs.states import RunState
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.own_jobs import own_job

RELATIVE = GuardSpec(relative_to_reference=1.5, warmup_epochs=0, slow_epochs=2)
PACE = Pace(seconds=1.0, cpu_seconds=None)
SLOW = Measurement(arm_seconds=(2.2,) * SLOW_TURNS, reference_seconds=(1.0,) * SLOW_TURNS)
EQUAL = Measurement(arm_seconds=(3.0,) * 5, reference_seconds=(3.0,) * 5)
NOTHING = Measurement()


class ToldTiming:
    """A probe that says what it is told."""

    def __init__(self, said: Measurement) -> None:
        self.said, self.is_over, self.is_closed = said, False, False

    def measurement(self) -> Measurement:
        return self.said

    def close(self) -> None:
        self.is_closed = True


class Bench:
    """A run with a job that sleeps, its clock, and the probes that were started of it."""

    def __init__(self, root: Path) -> None:
        code = root / "code" / "model"
        code.mkdir(parents=True)
        (code / "__init__.py").touch()
        (code / "__main__.py").write_text("import time; time.sleep(600)")
        folder = RunFolder(root / "run")
        folder.path.mkdir()
        self.now, self.timings = 0.0, list[ToldTiming]()
        self.next_says = NOTHING
        slot = Slot("cpu0", {})
        self.job = Job(folder, own_job(folder, code.parent, slot), slot)
        self.live = LiveRun(id="E5-s0-0123abcd", num_epochs=40, folder=folder, job=self.job, clock=lambda: self.now)

    def start(self, job: AnyJob) -> ToldTiming:
        self.timings.append(ToldTiming(self.next_says))
        return self.timings[-1]

    def train(self, *seconds: float) -> None:
        for value in seconds:
            number = len(self.live.folder.read_epochs()) + 1
            append_epoch(self.live.folder, an_epoch(number, seconds=value))

    def look(self, guards: GuardSpec = RELATIVE) -> str | None:
        ruling = self.live.check(guards, lambda: PACE, start_probe=self.start)
        return ruling.reason if ruling else None

    def is_paused(self) -> bool:
        return psutil.Process(self.job.pid).status() == psutil.STATUS_STOPPED

    def wait_until_paused(self, *, is_paused: bool) -> None:
        deadline = time.monotonic() + 30
        while self.is_paused() != is_paused:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.live.kill()


def test_a_run_that_looks_too_slow_is_paused_while_it_is_timed(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    assert bench.look() is None
    bench.wait_until_paused(is_paused=True)
    assert bench.look() is None
    assert (len(bench.timings), bench.live.is_paused) == (1, True)
    assert bench.live.folder.read_result() is None


def test_a_run_that_is_slow_in_turn_with_its_reference_is_ruled_too_slow(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.next_says = SLOW
    bench.look()
    reason = bench.look()
    assert reason is not None
    assert reason.startswith("an epoch takes 2.2 s, 2.20 x the reference's 1 s, both timed just then")
    assert bench.live.folder.read_result() == Result(state="too_slow", reason=reason, epochs=2)
    assert bench.live.end(-9).state is RunState.TOO_SLOW
    assert bench.timings[0].is_closed
    (probe,) = read_probes(bench.live.folder)
    assert (probe.is_slow, probe.said, probe.measurement) == (True, reason, SLOW)


def test_a_run_that_is_as_fast_as_its_reference_goes_on_and_its_slow_epochs_are_forgiven(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.next_says = EQUAL
    bench.look()
    bench.wait_until_paused(is_paused=True)
    bench.now = 4.0
    assert bench.look() is None
    bench.wait_until_paused(is_paused=False)
    (probe,) = read_probes(bench.live.folder)
    assert (probe.epoch, probe.paused_seconds, probe.is_slow) == (2, 4.0, False)
    assert probe.said.startswith("it looked too slow and goes on: an epoch takes 3 s, 1.00 x the reference's 3 s")
    bench.train(3.0)
    assert bench.look() is None
    assert len(bench.timings) == 1
    bench.train(3.0, 3.0)
    assert bench.look() is None
    assert len(bench.timings) == 2


def test_the_epoch_that_was_paused_is_counted_without_its_pause(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.next_says = EQUAL
    bench.look()
    bench.now = 4.0
    bench.look()
    bench.train(5.2, 3.0, 3.0)
    bench.look()
    assert len(bench.timings) == 2
    # Without its pause of 4 s the third epoch took 1.2 s: of four epochs after the first probe two were slow in a row.
    assert bench.live.epochs[2].seconds == 5.2


def test_a_worker_that_follows_the_run_later_knows_what_was_measured(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.next_says = EQUAL
    bench.look()
    bench.look()
    bench.live = LiveRun(id=bench.live.id, num_epochs=40, folder=bench.live.folder, job=bench.job)
    assert bench.look() is None
    assert len(bench.timings) == 1


def test_a_probe_that_cannot_be_written_down_ends_no_training(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.next_says = EQUAL
    bench.look()
    bench.live.folder.probes.mkdir()
    assert bench.look() is None
    bench.train(3.0)
    assert bench.look() is None
    assert len(bench.timings) == 1


def test_a_probe_that_cannot_be_started_rules_on_nobody_and_says_why(bench: Bench) -> None:
    def refuse(job: AnyJob) -> ToldTiming:
        raise CodeError("commit c0de is not in the repository")

    bench.train(3.0, 3.0)
    for _ in range(2):
        assert bench.live.check(RELATIVE, lambda: PACE, start_probe=refuse) is None
    bench.wait_until_paused(is_paused=False)
    (probe,) = read_probes(bench.live.folder)
    assert probe.said == (
        "it looked too slow and goes on: it could not be timed against its reference: "
        "commit c0de is not in the repository"
    )


def test_an_absolute_limit_rules_after_the_probe_and_says_what_it_said(bench: Bench) -> None:
    guards = GuardSpec(epoch_seconds=2.0, warmup_epochs=0, slow_epochs=2)
    bench.train(3.0, 3.0)
    bench.next_says = EQUAL
    assert bench.look(guards) is None
    reason = bench.look(guards)
    assert reason is not None
    assert reason.startswith("an epoch takes 3.00 s, the limit is 2.00 s; all of the last 2 epochs were slower")
    assert reason.endswith(
        "; an epoch takes 3 s, 1.00 x the reference's 3 s, both timed just then in turns on the same slot"
    )


def test_silence_while_a_run_is_paused_is_no_hang(bench: Bench) -> None:
    guards = GuardSpec(relative_to_reference=1.5, warmup_epochs=0, slow_epochs=2, hang_seconds=10.0)
    bench.train(3.0, 3.0)
    bench.look(guards)
    for bench.now in (9.0, 18.0, 27.0):
        bench.look(guards)
    bench.timings[0].said = EQUAL
    bench.look(guards)
    bench.now = 36.0
    bench.look(guards)
    assert bench.job.exit_status() is None


def test_silence_beside_the_probe_of_another_run_is_no_hang(bench: Bench) -> None:
    guards = GuardSpec(hang_seconds=10.0)
    bench.train(3.0)
    bench.look(guards)
    for bench.now in (9.0, 18.0, 27.0):
        bench.live.wait_aside()
    bench.now = 36.0
    bench.look(guards)
    assert bench.job.exit_status() is None


def test_the_grace_of_a_silent_job_begins_after_the_probe_of_another_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards = GuardSpec(hang_seconds=10.0, hang_grace_seconds=5.0)
    monkeypatch.setattr(bench.job, "ask_to_stop", lambda: None)
    bench.look(guards)
    bench.now = 10.0
    assert bench.look(guards) is None
    bench.now = 40.0
    bench.live.wait_aside()
    assert bench.look(guards) is None
    bench.now = 45.0
    assert str(bench.look(guards)).startswith("the job hung")


def test_a_job_tells_its_memory_with_an_epoch_of_its_own(bench: Bench) -> None:
    append_epoch(bench.live.folder, an_epoch(1, peak_memory_bytes=900))
    bench.live = LiveRun(id=bench.live.id, num_epochs=40, folder=bench.live.folder, job=bench.job)
    bench.look()
    assert (len(bench.live.epochs), bench.live.peak_memory_bytes) == (1, None)
    for number, peak_bytes in ((2, 500), (3, 700)):
        append_epoch(bench.live.folder, an_epoch(number, peak_memory_bytes=peak_bytes))
        bench.look()
    assert bench.live.peak_memory_bytes == 700


def test_jobs_that_are_to_stop_are_let_go_on_to_the_end_of_their_epoch(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.look()
    bench.wait_until_paused(is_paused=True)
    assert bench.live.check(RELATIVE, lambda: PACE, start_probe=None) is None
    bench.wait_until_paused(is_paused=False)
    assert bench.timings[0].is_closed
    assert read_probes(bench.live.folder) == []


def test_a_run_without_a_probe_is_never_slower_than_its_reference(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    assert bench.live.check(RELATIVE, lambda: PACE) is None
    assert bench.live.folder.read_result() is None


def test_a_job_that_dies_while_it_is_paused_takes_its_probe_with_it(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.look()
    bench.job.kill()
    bench.live.end(-9)
    assert bench.timings[0].is_closed


def test_a_run_that_is_killed_while_it_is_paused_takes_its_probe_with_it(bench: Bench) -> None:
    bench.train(3.0, 3.0)
    bench.look()
    bench.live.kill()
    assert bench.timings[0].is_closed
    assert bench.job.exit_status() is not None


class NotedJob:
    """A job of another slot that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


def test_the_jobs_beside_a_probe_are_paused_at_every_look_and_run_on_at_its_end() -> None:
    timing, jobs = ToldTiming(EQUAL), [NotedJob(), NotedJob()]
    probe = QuietProbe(timing, jobs)
    assert (probe.measurement(), probe.is_over) == (EQUAL, False)
    timing.is_over = True
    assert probe.measurement() == EQUAL
    assert probe.is_over
    probe.close()
    assert timing.is_closed
    assert [job.calls for job in jobs] == [["pause", "pause", "resume"]] * 2


class LateJob(NotedJob):
    """A job beside a probe, whose process has this number."""

    def __init__(self, pid: int | None) -> None:
        super().__init__()
        self.pid, self.slot = pid, Slot("gpu0", {})


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_probe_names_the_groups_that_it_paused_and_one_that_cannot_start_lets_them_run_on(
    is_refused: bool, tmp_path: Path, a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Sequence[int]] = []

    def start(arm: Side, reference: Side, slot: Slot, groups: Sequence[int]) -> ToldTiming:
        if is_refused:
            raise OSError("no more processes")
        started.append(groups)
        return ToldTiming(EQUAL)

    monkeypatch.setattr("orchestrator.launch.probing.PairedProbe", start)
    paths, plan = Paths(tmp_path), a_plan({})
    (run,) = (run for run in plan.runs if run.seed == 0)
    paths.code_copy("c0de").joinpath("model").mkdir(parents=True)
    order = Order(
        run=run.id,
        identity="1d",
        queued="now",
        code=OrderedCode(tree="c0de"),
        captures={},
        guards=RELATIVE,
        references=(run.id,),
    )
    place_run(paths.run(run.id), run.config, order)
    beside = [LateJob(11), LateJob(None)]
    probe_of_it = References(paths, Checkouts(paths)).probe_of(order, beside)
    if is_refused:
        with pytest.raises(OSError, match="no more processes"):
            probe_of_it(LateJob(7))
        assert [job.calls for job in beside] == [["pause", "resume"]] * 2
    else:
        probe_of_it(LateJob(7))
        assert [job.calls for job in beside] == [["pause"]] * 2
        assert started == [[11, 7]]
