"""The queue's promises, each on SQLite and on PostgreSQL."""

import multiprocessing
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import QueueError, QueueLockedError
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.queue.tables import RUNS
from orchestrator.runs.folder import Result
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import MOVES, RunState

IDS = [f"E{number}-s0-00000000" for number in range(12)]
ADA = Process("elsewhere", 11, "boot/1")
BOB = Process("elsewhere", 12, "boot/2")
NUM_PROCESSES = 4


def a_row(run_id: str, **fields: Any) -> QueuedRun:
    return QueuedRun(**{"id": run_id, "experiment": "E", "seed": 0, "profile": "quick", "state": "queued"} | fields)


def rows_of(ids: list[str]) -> list[QueuedRun]:
    return [a_row(run_id, state=RunState.QUEUED) for run_id in ids]


def claim(store: Store, worker: Process = ADA, ids: list[str] | None = None) -> QueuedRun:
    claimed = store.claim(worker, ids)
    assert claimed is not None
    return claimed


@contextmanager
def statements_of(store: Store) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    event.remove(store.engine, "before_cursor_execute", note)


def test_runs_are_claimed_in_the_order_they_were_added(store: Store) -> None:
    store.add(rows_of([IDS[2], IDS[0]]))
    store.add(rows_of([IDS[0], IDS[1]]))
    assert [claim(store).id for _ in range(3)] == [IDS[2], IDS[0], IDS[1]]
    assert store.claim(ADA) is None


def test_only_the_runs_asked_for_are_claimed(store: Store) -> None:
    store.add(rows_of(IDS))
    run = claim(store, ADA, [IDS[5], "unknown"])
    assert (run.id, run.state, run.attempt, run.worker) == (IDS[5], RunState.RUNNING, 1, ADA)
    assert store.claim(ADA, [IDS[5]]) is None
    assert store.claim(ADA, []) is None


def test_a_claim_wipes_what_the_attempt_before_left(store: Store) -> None:
    store.add([a_row(IDS[0], state=RunState.QUEUED, reason="crashed", failure="crashed")])
    assert (claim(store).reason, store.runs()[0].failure) == ("", None)


def _claim_all(url: str, number: int, start: Barrier, answers: "multiprocessing.Queue[dict[str, int]]") -> None:
    store, claimed = Store(url), {}
    start.wait(timeout=60)
    while run := store.claim(Process("elsewhere", number, "boot/1")):
        claimed[run.id] = number
    store.close()
    answers.put(claimed)


def test_of_many_processes_that_claim_at_once_none_gets_what_another_has_and_none_leaves_early(
    store: Store, database_url: str
) -> None:
    ids = [f"E{number}-s0-00000000" for number in range(60)]
    store.add(rows_of(ids))
    context = multiprocessing.get_context("spawn")
    answers, start = context.Queue(), context.Barrier(NUM_PROCESSES)
    workers = [context.Process(target=_claim_all, args=(database_url, n, start, answers)) for n in range(NUM_PROCESSES)]
    for worker in workers:
        worker.start()
    claimed = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(run_id for some in claimed for run_id in some) == sorted(ids)
    assert all(some[row.id] == row.pid for row in store.runs() for some in claimed if row.id in some)
    assert {row.attempt for row in store.runs()} == {1}


def test_no_run_is_claimed_only_if_none_waits_not_if_another_has_but_reached_for_it(store: Store) -> None:
    store.add(rows_of(IDS[:1]))
    with ThreadPoolExecutor() as pool:
        with store.engine.connect() as other:
            if store.engine.dialect.name == "sqlite":
                other.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                other.execute(select(RUNS).with_for_update())
            answer = pool.submit(store.claim, ADA)
            time.sleep(0.2)
            assert not answer.done()
            other.rollback()
        claimed = answer.result(timeout=30)
    assert claimed is not None
    assert claimed.id == IDS[0]


def test_a_state_changes_only_from_what_it_is_thought_to_be(store: Store) -> None:
    store.add(rows_of(IDS[:1]))
    assert not store.move(IDS[0], RunState.RUNNING, RunState.DONE)
    assert store.move(IDS[0], RunState.QUEUED, RunState.CANCELLED, reason="not wanted")
    assert not store.move(IDS[0], RunState.QUEUED, RunState.CANCELLED)
    assert [(row.state, row.reason) for row in store.runs()] == [(RunState.CANCELLED, "not wanted")]


def test_a_finished_run_is_never_trained_again(store: Store) -> None:
    """Law 2: a finished run is never trained again."""
    assert not MOVES[RunState.DONE]
    assert MOVES[RunState.TOO_SLOW] == {RunState.QUEUED}
    with pytest.raises(ValueError, match="a run does not go from done to queued"):
        store.move(IDS[0], RunState.DONE, RunState.QUEUED)
    store.add(rows_of(IDS[:1]))
    claimed = claim(store)
    store.record(IDS[0], Result(state="done", reason="all epochs trained", epochs=3))
    store.add(rows_of(IDS[:1]))
    assert not store.requeue_lost(claimed, 1, 3, "late")
    assert store.claim(ADA) is None
    assert [(row.state, row.reason) for row in store.runs()] == [(RunState.DONE, "all epochs trained")]


@pytest.mark.parametrize("end", [Store.end, Store.requeue_lost])
def test_a_late_answer_of_an_old_worker_changes_nothing(store: Store, end: Callable[..., bool]) -> None:
    rest = (RunState.DONE, "late") if end is Store.end else (1, 0, "late")
    store.add(rows_of(IDS[:1]))
    first = claim(store, ADA)
    assert store.requeue_lost(first, losses=1, num_epochs=2, reason="went away")
    second = claim(store, BOB)
    # Once as another worker, and once as the same one at an earlier attempt.
    assert not end(store, first, *rest)
    assert store.requeue_lost(second, losses=2, num_epochs=2, reason="went away")
    third = claim(store, ADA)
    assert not end(store, first, *rest)
    [row] = store.runs()
    assert (row.state, row.attempt, row.worker, row.losses, row.epochs_at_loss) == (RunState.RUNNING, 3, ADA, 2, 2)
    assert end(store, third, *rest)
    assert not end(store, third, *rest[:-1], "said otherwise")


def test_a_late_answer_does_not_end_a_run_that_was_forgotten_and_queued_anew(store: Store) -> None:
    store.add(rows_of(IDS[:1]))
    first = claim(store, ADA)
    store.forget(IDS[:1])
    store.add(rows_of(IDS[:1]))
    second = claim(store, BOB)
    assert first.attempt == second.attempt
    assert not store.end(first, RunState.DONE)
    assert store.end(second, RunState.DONE)


def test_what_nobody_has_claimed_is_nobodys_to_end(store: Store) -> None:
    store.add(rows_of(IDS[:1]))
    assert not store.end(store.runs()[0], RunState.DONE)


def test_a_forgotten_run_may_be_queued_again(store: Store) -> None:
    store.add(rows_of(IDS[:2]))
    store.forget([IDS[0]])
    assert [row.id for row in store.runs()] == [IDS[1]]
    store.add(rows_of(IDS[:2]))
    assert [row.id for row in store.runs()] == [IDS[1], IDS[0]]


def test_rows_are_put_in_the_place_of_all_others(store: Store) -> None:
    store.add(rows_of(IDS[:2]))
    store.replace_all([a_row(IDS[3], state=RunState.DONE), a_row(IDS[2], state=RunState.QUEUED)])
    assert [(row.id, row.state) for row in store.runs()] == [(IDS[3], RunState.DONE), (IDS[2], RunState.QUEUED)]
    store.replace_all([])
    assert store.runs() == []


def test_rows_of_some_ids_and_states_are_read(store: Store) -> None:
    store.add(rows_of(IDS[:3]))
    claim(store)
    assert [row.id for row in store.runs(states=[RunState.QUEUED])] == IDS[1:3]
    assert [row.id for row in store.runs([IDS[2], IDS[0]], states=[RunState.RUNNING])] == [IDS[0]]
    assert store.runs([]) == []


def test_the_same_runs_may_be_added_twice_at_once_in_any_order(store: Store) -> None:
    rows, start = rows_of([f"E{number}-s0-00000000" for number in range(2_000)]), threading.Barrier(2)

    def add(runs: list[QueuedRun]) -> None:
        start.wait(timeout=60)
        store.add(runs)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(add, [rows, rows[::-1]])) == [None, None]
    assert {row.id for row in store.runs()} == {row.id for row in rows}


def test_ten_thousand_runs_take_a_few_statements_and_their_ids_one_parameter(store: Store) -> None:
    ids = [f"E{number}-s0-00000000" for number in range(10_000)]
    with statements_of(store) as seen:
        store.add(rows_of(ids))
        assert len(seen) == 2
        assert len(store.runs()) == 10_000
        assert len(seen) == 3
        assert [row.id for row in store.runs(ids * 7)] == ids
        assert len(seen) == 4
        assert claim(store, ADA, ids).id == ids[0]
        assert len(seen) == 5


def change_rows(store: Store, change: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(change))


def test_a_row_that_cannot_be_read_is_passed_over_and_told(store: Store) -> None:
    store.add(rows_of(IDS[:3]))
    change_rows(store, f"UPDATE runs SET state = 'paused' WHERE id = '{IDS[0]}'")
    assert [row.id for row in store.runs()] == IDS[1:3]
    assert list(store.unreadable) == IDS[:1]
    [told] = store.unreadable.values()
    assert told.startswith(f"{store.name}: the row of 'E0-s0-00000000' cannot be read: Invalid enum value 'paused'")
    assert (
        told.endswith("; `knockout rebuild` makes the queue again from the run folders") or "`knockout rebuild`" in told
    )


@pytest.mark.parametrize("spoilt", ["seed = 'x'", "seed = 1e300", "losses = 'x'", "profile = x'00ff'"])
def test_a_spoilt_row_is_not_claimed_and_keeps_nobody_from_the_next(tmp_path: Path, spoilt: str) -> None:
    store = Store(f"sqlite:///{tmp_path / 'knockout.db'}")
    store.add(rows_of(IDS[:2]))
    change_rows(store, f"UPDATE runs SET {spoilt} WHERE id = '{IDS[0]}'")
    claimed = store.claim(ADA)
    assert claimed is not None
    assert claimed.id == IDS[1]
    assert store.claim(ADA) is None
    with store.engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM runs ORDER BY position")).scalars().all()[0] == "queued"
    store.close()


def test_text_that_is_no_text_is_shown_with_a_sign_for_it(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'knockout.db'}")
    store.add(rows_of(IDS[:1]))
    change_rows(store, "UPDATE runs SET reason = CAST(x'61ff62' AS TEXT)")
    assert [row.reason for row in store.runs()] == ["a\N{REPLACEMENT CHARACTER}b"]
    store.close()


def test_a_seed_may_be_as_large_as_a_file_can_name_it(store: Store) -> None:
    store.add([a_row(IDS[0], state=RunState.QUEUED, seed=2**40)])
    assert claim(store).seed == 2**40


def test_a_mistake_in_a_statement_of_ours_is_no_refusal(store: Store) -> None:
    for statement in ("SELEC 1", "SELECT 1 FROM runs WHERE nonsense(", "INSERT INTO runs (id) VALUES ('x')"):
        with pytest.raises(SQLAlchemyError), store.engine.begin() as connection:
            connection.execute(text(statement))


def test_a_queue_that_another_program_holds_is_said_to_be_locked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.queue.database.LOCK_SECONDS", 0.05)
    store = Store(database_url)
    store.add(rows_of(IDS[:1]))
    with store.engine.connect() as other:
        is_sqlite = store.engine.dialect.name == "sqlite"
        other.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "LOCK TABLE runs")
        with pytest.raises(QueueLockedError, match="; another program holds it; end that one and try again"):
            store.claim(ADA)
        other.rollback()
    assert claim(store).id == IDS[0]
    store.close()


def test_a_queue_is_made_in_a_results_folder_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    paths = Paths(tmp_path / "what? 100%41 #1")
    store = open_store(paths)
    assert store.name == str(paths.database)
    assert paths.database.exists()
    store.close()


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_files_of_a_queue_have_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        store = Store(f"sqlite:///{tmp_path / 'knockout.db'}")
        store.add(rows_of(IDS[:1]))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"knockout.db": mode, "knockout.db-wal": mode, "knockout.db-shm": mode}
    store.close()


@pytest.mark.parametrize("what", ["results", "results/knockout.db"])
def test_what_lies_where_the_queue_should_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    if what == "results":
        (tmp_path / what).write_text("a file where a folder should be")
    else:
        (tmp_path / what).mkdir(parents=True)
    with pytest.raises(QueueError, match=f"{what}: .*; .*give the user who runs Knockout the right to"):
        open_store(Paths(tmp_path))


@pytest.mark.parametrize("is_log_left", [False, True])
def test_a_queue_on_a_place_that_only_reads_is_read(tmp_path: Path, *, is_log_left: bool) -> None:
    store = Store(f"sqlite:///{tmp_path / 'knockout.db'}")
    store.add(rows_of(IDS[:1]))
    if not is_log_left:
        store.close()
    reader = Store(f"sqlite:///{tmp_path / 'knockout.db'}", only_reads=True)
    assert [row.id for row in reader.runs()] == IDS[:1]
    with pytest.raises(QueueError, match="; it cannot be written; give the user who runs Knockout the right to"):
        reader.add(rows_of(IDS[1:2]))
    reader.close()
    store.close()
