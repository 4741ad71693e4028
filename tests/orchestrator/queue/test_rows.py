"""Rows of the queue as values."""

import pytest

from orchestrator.processes import Process
from orchestrator.queue.rows import QueuedRun, read_worker, require_move, row_values, worker_values
from orchestrator.queue.tables import COLUMNS, RUNS, WORKERS
from orchestrator.runs.states import RunState

ROW = QueuedRun(id="E5-s0-0", experiment="E5", seed=0, profile="quick", state=RunState.RUNNING)
ADA = Process("elsewhere", 11, "boot/1")


def test_a_row_has_a_value_for_each_column_in_their_order() -> None:
    assert tuple(row_values(ROW)) == QueuedRun.__struct_fields__ == tuple(RUNS.c.keys())
    assert row_values(ROW)["state"] == "running"
    assert worker_values(ADA).keys() < set(WORKERS.c.keys()) == COLUMNS["workers"]


@pytest.mark.parametrize(
    ("host", "pid", "born"), [(None, 11, "boot/1"), ("elsewhere", None, "b"), ("elsewhere", 1, None)]
)
def test_a_claim_without_a_whole_process_names_no_worker(host: str | None, pid: int | None, born: str | None) -> None:
    row = QueuedRun(id="a", experiment="E5", seed=0, profile="", state=RunState.RUNNING, host=host, pid=pid, born=born)
    assert row.worker is None


def test_a_worker_is_read_with_the_age_of_its_heartbeat() -> None:
    assert read_worker("elsewhere", 11, "boot/1", 3) == (ADA, 3.0)
    assert read_worker("elsewhere", "x", "boot/1", 3) is None
    assert read_worker("elsewhere", 11, "boot/1", None) is None


def test_a_move_that_no_run_makes_is_refused() -> None:
    require_move(RunState.QUEUED, RunState.RUNNING)
    with pytest.raises(ValueError, match="a run does not go from done to queued"):
        require_move(RunState.DONE, RunState.QUEUED)
