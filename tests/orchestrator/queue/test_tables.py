"""The tables of the queue: made once, refused where another version made them; on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.errors import QueueError
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.queue.tables import drop_tables
from orchestrator.runs.folder import Result
from orchestrator.runs.states import RunState

IDS = [f"E{number}-s0-00000000" for number in range(12)]
ADA = Process("elsewhere", 11, "boot/1")
NUM_AT_ONCE = 8
LOG_TAIL = 'it\'s "quoted"\nüber 😀 \\ %s :name {}\t' + "x" * 10_000


def a_row(run_id: str, **fields: Any) -> QueuedRun:
    return QueuedRun(**{"id": run_id, "experiment": "E", "seed": 0, "profile": "quick", "state": "queued"} | fields)


def rows_of(ids: list[str]) -> list[QueuedRun]:
    return [a_row(run_id, state=RunState.QUEUED) for run_id in ids]


def claim(store: Store, worker: Process = ADA, ids: list[str] | None = None) -> QueuedRun:
    claimed = store.claim(worker, ids)
    assert claimed is not None
    return claimed


def test_many_may_open_a_new_queue_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        for store in list(pool.map(Store, [database_url] * NUM_AT_ONCE)):
            assert store.runs() == []
            store.close()


@pytest.mark.parametrize(
    ("written", "read"),
    [(LOG_TAIL, LOG_TAIL), ("a\0b", "a␀b"), ("caf\udce9", "caf?")],
    ids=["quotes and much text", "NUL", "half of a surrogate pair"],
)
def test_any_words_may_be_the_reason(store: Store, written: str, read: str) -> None:
    store.add([a_row(IDS[0], state=RunState.QUEUED, reason=written), *rows_of(IDS[1:3])])
    store.end(claim(store, ADA, [IDS[1]]), RunState.FAILED, reason=written)
    store.record(IDS[2], Result(state="failed", reason=written, epochs=0))
    assert [row.reason for row in store.runs()] == [read] * 3


def test_a_queue_of_another_version_is_refused(database_url: str) -> None:
    store = Store(database_url)
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE runs DROP COLUMN losses"))
    name = store.name
    store.close()
    with pytest.raises(QueueError) as refusal:
        Store(database_url)
    assert str(refusal.value) == (
        f"{name}: the queue was made by another version of Knockout; end what uses it, then `knockout rebuild` makes "
        "it again from the run folders"
    )
    drop_tables(database_url)
    opened = Store(database_url)
    assert opened.runs() == []
    opened.close()


def test_a_table_that_somebody_removed_is_made_again_by_rebuild(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE runs"))
    with pytest.raises(QueueError, match=r"the queue cannot be used: .*; `knockout rebuild` makes it again"):
        store.runs()
