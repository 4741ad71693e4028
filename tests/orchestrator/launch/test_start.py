"""The slots of a worker and the jobs in them."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.launch.slots import Slot
from orchestrator.launch.start import Jobs, Task
from orchestrator.runs.order import GuardSpec, Order, OrderedCode
from tests.orchestrator.conftest import RADIO

GIB = 2**30
GPUS = [Slot(f"gpu{number % 2}", {"CUDA_VISIBLE_DEVICES": str(number % 2)}) for number in range(4)]


class FakeRun:
    """A live run that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_paused = False
        self.peak_memory_bytes: int | None = 4 * GIB
        self.job = FakeJob()

    def check(self, guards: GuardSpec, pace: object, other_load: object, probe: object) -> None:
        self.calls.append("check")

    def wait_aside(self) -> None:
        self.calls.append("wait")

    def ask_to_stop(self) -> None:
        self.calls.append("stop")

    def kill(self) -> None:
        self.calls.append("kill")


class FakeJob:
    """The job of a fake run."""

    pid, slot = 7, GPUS[0]

    def exit_status(self) -> int | None:
        return None


class Claimed:
    """A claimed run of which only the id matters."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id


class FakeReferences:
    """Times nobody, and notes the jobs that a probe would pause."""

    beside: Sequence[object] = ()

    def pace_of(self, order: Order) -> None:
        """There is no reference."""

    def probe_of(self, order: Order, beside: Sequence[object]) -> None:
        self.beside = beside


def an_order(guards: GuardSpec | None = None) -> Order:
    code = OrderedCode(tree="c0de")
    return Order(
        run="E5-s0-1", identity="1d", queued="now", code=code, files={}, task=RADIO, guards=guards or GuardSpec()
    )


@pytest.fixture
def jobs() -> Any:
    """Two runs in the first two of four slots on two GPUs."""
    made: Any = Jobs(GPUS, FakeReferences(), read_free_bytes=lambda slot: 40 * GIB)
    made.tasks = [Task(Claimed(f"run{place}"), an_order(), FakeRun(), GPUS[place]) for place in range(2)]
    return made


def test_a_slot_without_a_job_is_free_unless_its_device_is_reserved(jobs: Any) -> None:
    assert jobs.free_slot() is GPUS[2]
    assert jobs.free_slot(["0"]) is GPUS[3]
    assert jobs.free_slot(["0", "1"]) is None


def test_a_gpu_without_a_job_comes_before_one_that_is_shared(jobs: Any) -> None:
    jobs.tasks[0].slot = GPUS[2]
    del jobs.tasks[1]
    assert jobs.free_slot() is GPUS[1]
    assert jobs.free_slot(["1"]) is GPUS[0]
    assert (jobs.shares_gpu(GPUS[0]), jobs.shares_gpu(GPUS[1])) == (True, False)


def test_slots_on_a_cpu_wait_for_no_memory() -> None:
    slots = [Slot(f"cpu{number}", {}) for number in range(2)]
    jobs: Any = Jobs(slots, FakeReferences(), read_free_bytes=pytest.fail)
    jobs.tasks = [Task(Claimed("run0"), an_order(GuardSpec(epoch_seconds=1.0)), FakeRun(), slots[0])]
    assert jobs.free_slot() is slots[1]
    assert not jobs.shares_gpu(slots[1])


def test_a_second_job_waits_until_the_first_has_told_its_memory_and_there_is_room(jobs: Any) -> None:
    free = {"0": 2 * GIB, "1": 2 * GIB}
    jobs.read_free_bytes = lambda slot: free[slot.gpu]
    first, second = jobs.tasks
    first.live.peak_memory_bytes = None
    assert jobs.free_slot(["1"]) is None
    first.live.peak_memory_bytes = 4 * GIB
    jobs.check(first)
    assert jobs.free_slot() is None
    # 1.2 times 4 GiB, and 1.5 GiB more.
    free["0"] = int(6.3 * GIB) + 1
    assert jobs.free_slot() is GPUS[2]
    second.live.peak_memory_bytes = 20 * GIB
    jobs.check(second)
    assert jobs.free_slot() is None
    assert jobs.unknown_memory is None


def test_without_nvmls_word_on_memory_no_second_job_starts_and_it_is_said_why(jobs: Any) -> None:
    jobs.read_free_bytes = lambda slot: None
    assert jobs.free_slot() is None
    said = "NVML does not tell the free memory of GPU 1, so only one job at a time runs on it"
    assert jobs.unknown_memory == said


def test_no_job_starts_beside_a_probe_or_beside_a_run_with_a_limit_by_the_clock(jobs: Any) -> None:
    first, second = jobs.tasks
    first.live.is_paused = True
    assert jobs.free_slot() is GPUS[3]
    second.order = an_order(GuardSpec(wall_seconds=100.0))
    assert jobs.free_slot() is None


def test_a_job_beside_a_probe_is_not_asked_about_and_its_neighbours_are_paused_for_its_own(jobs: Any) -> None:
    first, second = jobs.tasks
    second.slot = GPUS[2]
    first.live.is_paused = True
    assert jobs.check(second) is None
    assert second.live.calls == ["wait"]
    first.live.is_paused = False
    jobs.check(second)
    assert second.live.calls == ["wait", "check"]
    assert jobs.references.beside == [first.live.job]
    second.slot = GPUS[1]
    jobs.check(second)
    assert jobs.references.beside == []


def test_a_device_is_empty_once_no_job_runs_on_it(jobs: Any) -> None:
    assert jobs.slot_of_empty("0") is None
    jobs.kill_run("run0")
    assert jobs.slot_of_empty("0") is GPUS[0]
    assert jobs.slot_of_empty("1") is None


def test_each_job_is_asked_to_stop_once(jobs: Any) -> None:
    """A job that is asked twice ends at once."""
    jobs.ask_to_stop()
    jobs.ask_to_stop()
    assert [run.calls for run in jobs.live] == [["stop"], ["stop"]]
    assert jobs.is_stopping


def test_one_run_is_stopped_or_killed_and_the_others_go_on(jobs: Any) -> None:
    first, second = jobs.live
    assert jobs.stop_run("run0")
    assert not jobs.stop_run("elsewhere")
    jobs.kill_run("run0")
    assert (first.calls, second.calls, jobs.live) == (["stop", "kill"], [], [second])
