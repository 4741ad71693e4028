"""Whatever died, the queue agrees afterwards with what lives and what the run folders say."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.processes import Process, birth_of
from orchestrator.queue.reconcile import (
    MAX_LOSSES,
    decide_loss,
    end_remaining_jobs,
    held_rows,
    reconcile,
    requeue_interrupted,
)
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.folder import Result
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState
from tests.builders.epochs import an_epoch, append_epoch

RUN = "E5-s0-3466db1c"
HOST = Process.own().host
DEAD = Process(HOST, 2**30, "this boot/1")
AWAY = Process("elsewhere", 7, "its boot/1")
JOB = """\
import fcntl, json, os, sys, time
from orchestrator.processes import birth_of
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
json.dump({"pid": os.getpid(), "host": sys.argv[2], "born": birth_of(os.getpid()), "attempt": 1}, file)
file.flush()
print("at work", flush=True)
time.sleep(60)
"""
"""A job: all that the queue sees of one is the lock on its folder."""


def a_row(**fields: Any) -> QueuedRun:
    words = {"id": RUN, "experiment": "E5", "seed": 0, "profile": "quick", "state": RunState.QUEUED}
    return QueuedRun(**words | fields)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    root = Paths(tmp_path)
    root.run(RUN).path.mkdir(parents=True)
    return root


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url)
    opened.add([a_row()])
    yield opened
    opened.close()


@pytest.fixture
def start_job(paths: Paths) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    with ExitStack() as stack:

        def start(host: str = HOST) -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", JOB, str(paths.run(RUN).lock), host]
            job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            stack.callback(job.communicate)
            stack.callback(job.kill)
            assert job.stdout is not None
            assert job.stdout.readline() == "at work\n"
            return job

        yield start


def lose(store: Store, paths: Paths, *, end_jobs: bool = False) -> QueuedRun:
    """Let a worker claim the run and die; return the row as it is afterwards."""
    assert store.claim(DEAD) is not None
    assert [row.id for row in reconcile(store, paths, end_jobs=end_jobs)] == [RUN]
    return store.runs()[0]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_run_is_given_up_after_so_many_losses_in_a_row_without_progress_and_not_before(progress: list[int]) -> None:
    row, num_epochs, in_a_row = a_row(pid=1, host="here"), 0, 0
    for number, new in enumerate(progress):
        num_epochs += new
        in_a_row = 1 if new or number == 0 else in_a_row + 1
        loss = decide_loss(row, num_epochs)
        assert loss.losses == in_a_row
        assert loss.is_final == (in_a_row >= MAX_LOSSES)
        row = a_row(pid=1, host="here", losses=loss.losses, epochs_at_loss=num_epochs)


@pytest.mark.parametrize(("num_epochs", "since"), [(0, "before its first epoch"), (3, "after epoch 3")])
def test_a_loss_says_who_went_away_and_when(num_epochs: int, since: str) -> None:
    lost = decide_loss(a_row(pid=12, host="node7"), num_epochs)
    assert lost.reason == f"process 12 on node7 went away {since}"
    last = decide_loss(a_row(losses=MAX_LOSSES - 1, epochs_at_loss=num_epochs), num_epochs)
    assert last.reason == (
        f"lost 5 times in a row {since}: each time the process that trained it, or its machine, went away"
    )


def test_a_dead_workers_run_with_a_result_is_settled_with_it(store: Store, paths: Paths) -> None:
    paths.run(RUN).write_result(Result(state="failed", reason="nan", failure="nonfinite", epochs=2))
    row = lose(store, paths)
    assert (row.state, row.reason, row.failure, row.losses) == (RunState.FAILED, "nan", "nonfinite", 0)


def test_a_dead_workers_run_without_a_result_waits_again_and_its_losses_are_counted(store: Store, paths: Paths) -> None:
    append_epoch(paths.run(RUN), an_epoch())
    for losses in (1, 2):
        row = lose(store, paths)
        assert (row.state, row.losses, row.epochs_at_loss) == (RunState.QUEUED, losses, 1)
        assert row.reason == f"process {DEAD.pid} on {HOST} went away after epoch 1"
    append_epoch(paths.run(RUN), an_epoch(2))
    assert (lose(store, paths).losses, store.runs()[0].epochs_at_loss) == (1, 2)


def test_a_run_whose_folder_is_gone_waits_again(store: Store, paths: Paths) -> None:
    paths.run(RUN).path.rmdir()
    assert lose(store, paths).state is RunState.QUEUED


def test_a_run_lost_too_often_without_progress_has_failed_and_its_folder_says_so(store: Store, paths: Paths) -> None:
    for _ in range(MAX_LOSSES - 1):
        assert lose(store, paths).state is RunState.QUEUED
        assert paths.run(RUN).read_result() is None
    row = lose(store, paths)
    assert (row.state, row.failure) == (RunState.FAILED, "lost")
    result = json.loads(paths.run(RUN).result.read_text())
    assert (result["state"], result["failure"], result["reason"]) == ("failed", "lost", row.reason)
    assert row.reason.startswith("lost 5 times in a row before its first epoch")


def test_a_run_that_is_asked_for_again_may_be_lost_as_often_as_a_new_one(store: Store, paths: Paths) -> None:
    for _ in range(MAX_LOSSES):
        lose(store, paths)
    paths.run(RUN).result.unlink()
    assert store.move(RUN, RunState.FAILED, RunState.QUEUED)
    row = lose(store, paths)
    assert (row.state, row.losses) == (RunState.QUEUED, 1)


def test_a_job_that_outlived_its_worker_goes_on_and_so_does_its_row(
    store: Store, paths: Paths, start_job: Callable[..., "subprocess.Popen[str]"]
) -> None:
    job = start_job()
    store.claim(DEAD)
    assert reconcile(store, paths, end_jobs=False) == []
    assert (job.poll(), store.runs()[0].state) == (None, RunState.RUNNING)
    assert [row.id for row in held_rows(store, paths)] == [RUN]


def test_a_job_that_outlived_its_worker_is_ended_where_that_is_wanted(
    store: Store, paths: Paths, start_job: Callable[..., "subprocess.Popen[str]"]
) -> None:
    job = start_job()
    assert lose(store, paths, end_jobs=True).state is RunState.QUEUED
    assert job.wait(timeout=10) < 0


def test_a_job_of_another_host_is_never_killed(
    store: Store, paths: Paths, start_job: Callable[..., "subprocess.Popen[str]"]
) -> None:
    job = start_job("elsewhere")
    store.claim(DEAD)
    assert reconcile(store, paths, end_jobs=True) == []
    assert end_remaining_jobs(paths.run(RUN)) == f"process {job.pid} on elsewhere is at work on it"
    assert (job.poll(), store.runs()[0].state) == (None, RunState.RUNNING)


def test_a_living_workers_rows_are_left_alone_even_if_the_table_of_workers_forgot_it(
    store: Store, paths: Paths, sleeper: "subprocess.Popen[bytes]"
) -> None:
    worker = Process(HOST, sleeper.pid, str(birth_of(sleeper.pid)))
    store.send_heartbeat(worker)
    claimed = store.claim(worker)
    assert reconcile(store, paths, end_jobs=True) == []
    store.workers.dismiss(worker)
    assert reconcile(store, paths, end_jobs=True) == []
    assert store.runs() == [claimed]
    assert held_rows(store, paths) == [claimed]


def test_a_worker_of_another_host_has_its_rows_as_long_as_its_heart_beats(store: Store, paths: Paths) -> None:
    store.send_heartbeat(AWAY)
    claimed = store.claim(AWAY)
    assert reconcile(store, paths, end_jobs=True) == []
    assert held_rows(store, paths) == [claimed]
    store.workers.dismiss(AWAY)
    assert [row.id for row in reconcile(store, paths, end_jobs=True)] == [RUN]
    assert store.runs()[0].reason == "process 7 on elsewhere went away before its first epoch"


def test_what_this_process_has_claimed_itself_is_not_held_by_another(store: Store, paths: Paths) -> None:
    store.claim(Process.own())
    assert held_rows(store, paths) == []
    assert reconcile(store, paths, end_jobs=True) == []


def test_runs_that_were_stopped_wait_again_all_or_those_asked_for(store: Store) -> None:
    store.add([a_row(id="H2-s0-00000000", state=RunState.INTERRUPTED), a_row(id="I1-s0-0", state=RunState.INTERRUPTED)])
    requeue_interrupted(store, ["I1-s0-0"])
    assert [row.state for row in store.runs()] == [RunState.QUEUED, RunState.INTERRUPTED, RunState.QUEUED]
    requeue_interrupted(store)
    assert {row.state for row in store.runs()} == {RunState.QUEUED}


def test_a_folder_that_cannot_be_read_is_told_in_its_row_and_keeps_no_other_waiting(store: Store, paths: Paths) -> None:
    paths.run(RUN).epochs.write_text('{"epoch": 1}\n')
    store.add([a_row(id="H2-s0-00000000")])
    for _ in range(2):
        store.claim(DEAD)
    assert len(reconcile(store, paths, end_jobs=False)) == 2
    rows = {row.id: row for row in store.runs()}
    assert rows[RUN].state is RunState.INTERRUPTED
    assert rows[RUN].reason == (
        f"{paths.run(RUN).epochs}: a finished line cannot be read: Object missing required field `seconds`; move "
        f"{paths.run(RUN).path} away to train it again"
    )
    assert rows["H2-s0-00000000"].state is RunState.QUEUED
