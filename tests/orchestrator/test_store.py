"""The queue's promises."""

import multiprocessing
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.run_folder import Result
from orchestrator.launchers.local import process_started
from orchestrator.states import MOVES, RunState
from orchestrator.store import RUNS, QueuedRun, Store

IDS = [f"E{number}-s0-00000000" for number in range(12)]


def a_row(run_id: str) -> QueuedRun:
    return QueuedRun(id=run_id, position=0, experiment="E", seed=0, profile="quick", state=RunState.QUEUED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "knockout.db")
    yield opened
    opened.close()


def test_runs_are_claimed_in_the_order_they_were_added(store: Store) -> None:
    store.add(map(a_row, IDS[:2]))
    store.add(map(a_row, IDS[1:3]))
    claimed = [store.claim(IDS) for _ in range(4)]
    assert [run.id for run in claimed if run] == IDS[:3]
    assert claimed[3] is None


def test_only_the_runs_asked_for_are_claimed(store: Store) -> None:
    store.add(map(a_row, IDS))
    run = store.claim([IDS[5]])
    assert run is not None
    assert (run.id, run.state, run.attempt, run.host) == (IDS[5], RunState.RUNNING, 1, socket.gethostname())
    assert store.claim([IDS[5]]) is None


def test_a_state_changes_only_from_what_it_is_thought_to_be(store: Store) -> None:
    store.add([a_row(IDS[0])])
    assert not store.move(IDS[0], RunState.RUNNING, RunState.DONE)
    assert store.move(IDS[0], RunState.QUEUED, RunState.CANCELLED, reason="not wanted")
    assert [(row.state, row.reason) for row in store.runs()] == [(RunState.CANCELLED, "not wanted")]


def test_a_finished_run_is_never_trained_again(store: Store) -> None:
    """Law 2: a finished run is never trained again."""
    assert not MOVES[RunState.DONE] | MOVES[RunState.TOO_SLOW]
    with pytest.raises(ValueError, match="a run does not go from done to queued"):
        store.move(IDS[0], RunState.DONE, RunState.QUEUED)
    store.add([a_row(IDS[0])])
    store.settle(IDS[0], Result(state="done", reason="all epochs trained", epochs=3))
    store.add([a_row(IDS[0])])
    assert store.claim(IDS) is None


def test_a_forgotten_run_may_be_queued_again(store: Store) -> None:
    store.add([a_row(IDS[0])])
    store.forget([IDS[0]])
    assert store.runs() == []


def test_a_run_whose_process_is_gone_is_an_orphan(store: Store) -> None:
    store.add(map(a_row, IDS[:2]))
    for _ in range(2):
        store.claim(IDS)
    assert store.orphans() == []
    with store.engine.begin() as connection:
        # The same number, but another process: it began at another time.
        connection.execute(RUNS.update().where(RUNS.c.id == IDS[1]).values(process_started=1.0))
    assert [row.id for row in store.orphans()] == [IDS[1]]


def _set(store: Store, run_id: str, **columns: object) -> None:
    with store.engine.begin() as connection:
        connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(**columns))


def test_a_living_process_holds_what_it_claimed_even_after_the_end(
    store: Store, sleeper: "subprocess.Popen[bytes]"
) -> None:
    store.add([a_row(IDS[0])])
    store.claim(IDS)
    assert store.held() == []
    _set(store, IDS[0], state="done", pid=sleeper.pid, process_started=process_started(sleeper.pid))
    assert [row.id for row in store.held()] == [IDS[0]]
    _set(store, IDS[0], process_started=1.0)
    assert store.held() == []


def test_a_living_job_and_another_host_hold_a_run(store: Store, sleeper: "subprocess.Popen[bytes]") -> None:
    store.add(map(a_row, IDS[:3]))
    for _ in range(3):
        store.claim(IDS)
    _set(store, IDS[0], pid=None, job_pid=sleeper.pid, job_started=process_started(sleeper.pid))
    _set(store, IDS[1], host="elsewhere")
    _set(store, IDS[2], host="elsewhere", state="done")
    assert [row.id for row in store.held()] == IDS[:2]


def _claim_all(database: Path, answers: "multiprocessing.Queue[list[str]]") -> None:
    store = Store(database)
    claimed = []
    while run := store.claim(IDS):
        claimed.append(run.id)
    store.close()
    answers.put(claimed)


def test_two_workers_never_claim_the_same_run(store: Store, tmp_path: Path) -> None:
    store.add(map(a_row, IDS))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=_claim_all, args=(tmp_path / "knockout.db", answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    claimed = [run_id for _ in workers for run_id in answers.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(claimed) == sorted(IDS)
