"""The slots of a worker and the jobs in them."""

from typing import Any

import pytest

from orchestrator.launch.slots import Slot
from orchestrator.launch.start import Jobs, Task

GPUS = [Slot(f"gpu{number % 2}", {"CUDA_VISIBLE_DEVICES": str(number % 2)}) for number in range(4)]


class FakeRun:
    """A live run that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def ask_to_stop(self) -> None:
        self.calls.append("stop")

    def kill(self) -> None:
        self.calls.append("kill")


class Claimed:
    """A claimed run of which only the id matters."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id


@pytest.fixture
def jobs() -> Any:
    """Two runs in the first two of four slots on two GPUs."""
    made: Any = Jobs(GPUS, references=None)  # nobody is timed here
    made.tasks = [Task(Claimed(f"run{place}"), None, FakeRun(), GPUS[place]) for place in range(2)]
    return made


def test_a_slot_without_a_job_is_free_unless_its_device_is_reserved(jobs: Any) -> None:
    assert jobs.free_slot() is GPUS[2]
    assert jobs.free_slot(["0"]) is GPUS[3]
    assert jobs.free_slot(["0", "1"]) is None


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
