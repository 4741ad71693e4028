"""Which workers live, and what each learns with its heartbeat; on SQLite and on PostgreSQL."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text

from orchestrator.processes import Process, birth_of
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.queue.tables import WORKERS
from orchestrator.queue.workers import FORGET_LEASES, LEASE_SECONDS, is_believed_alive
from orchestrator.runs.states import RunState

IDS = [f"E{number}-s0-00000000" for number in range(12)]
ADA = Process("elsewhere", 11, "boot/1")
BOB = Process("elsewhere", 12, "boot/2")


def a_row(run_id: str, **fields: Any) -> QueuedRun:
    return QueuedRun(**{"id": run_id, "experiment": "E", "seed": 0, "profile": "quick", "state": "queued"} | fields)


def rows_of(ids: list[str]) -> list[QueuedRun]:
    return [a_row(run_id, state=RunState.QUEUED) for run_id in ids]


def claim(store: Store, worker: Process = ADA, ids: list[str] | None = None) -> QueuedRun:
    claimed = store.claim(worker, ids)
    assert claimed is not None
    return claimed


def change_rows(store: Store, change: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(change))


def set_heartbeat(store: Store, worker: Process, seconds_ago: float) -> None:
    change = WORKERS.update().where(WORKERS.c.pid == worker.pid).values(heartbeat=WORKERS.c.heartbeat - seconds_ago)
    with store.engine.begin() as connection:
        connection.execute(change)


def test_a_worker_of_another_host_lives_for_a_lease_after_its_last_heartbeat(store: Store) -> None:
    store.send_heartbeat(ADA)
    store.send_heartbeat(BOB)
    set_heartbeat(store, ADA, LEASE_SECONDS - 30)
    set_heartbeat(store, BOB, LEASE_SECONDS + 30)
    assert store.workers.list_living() == [ADA]
    store.send_heartbeat(BOB)
    assert sorted(worker.pid for worker in store.workers.list_living()) == [ADA.pid, BOB.pid]


def test_a_clock_that_is_set_back_loses_no_worker(store: Store) -> None:
    store.send_heartbeat(ADA)
    set_heartbeat(store, ADA, -86_400)
    assert store.workers.list_living() == [ADA]


def test_a_worker_of_this_host_lives_as_long_as_its_process(store: Store, sleeper: "subprocess.Popen[bytes]") -> None:
    born = birth_of(sleeper.pid)
    assert born is not None
    living = Process(Process.own().host, sleeper.pid, born)
    for worker in (living, Process(living.host, sleeper.pid, "another boot/1")):
        store.send_heartbeat(worker)
    set_heartbeat(store, living, 2 * LEASE_SECONDS)
    assert store.workers.list_living() == [living]


def test_a_heartbeat_tells_what_is_still_held_and_a_dismissed_worker_is_forgotten(store: Store) -> None:
    store.add(rows_of(IDS[:3]))
    first, second = claim(store, ADA), claim(store, ADA)
    claim(store, BOB)
    store.end(second, RunState.DONE)
    assert store.send_heartbeat(ADA).held == {first.id}
    store.workers.dismiss(ADA)
    assert store.workers.list_living() == []


def test_a_worker_learns_with_its_next_heartbeat_that_it_is_asked_to_stop(store: Store) -> None:
    assert not store.send_heartbeat(ADA).is_asked_to_stop
    assert not store.send_heartbeat(BOB).is_asked_to_stop
    store.workers.ask_to_stop([ADA])
    assert store.send_heartbeat(ADA).is_asked_to_stop
    assert store.send_heartbeat(ADA).is_asked_to_stop
    assert not store.send_heartbeat(BOB).is_asked_to_stop


def test_spoilt_rows_of_workers_are_nobody(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'knockout.db'}")
    for worker in (ADA, BOB):
        store.send_heartbeat(worker)
    change_rows(store, f"UPDATE workers SET pid = 'x' WHERE pid = {ADA.pid}")
    assert store.workers.list_living() == [BOB]
    store.send_heartbeat(BOB)
    store.close()


def test_rows_of_workers_that_left_without_a_word_are_deleted_by_the_next(store: Store) -> None:
    dead = Process(Process.own().host, Process.own().pid, "an earlier boot/1")
    for worker in (ADA, BOB, dead):
        store.send_heartbeat(worker)
    set_heartbeat(store, ADA, (FORGET_LEASES + 1) * LEASE_SECONDS)
    set_heartbeat(store, BOB, (FORGET_LEASES - 1) * LEASE_SECONDS)
    set_heartbeat(store, dead, LEASE_SECONDS + 1)
    store.send_heartbeat(Process.own())
    with store.engine.connect() as connection:
        left = set(connection.scalars(select(WORKERS.c.born)))
    assert left >= {BOB.born, Process.own().born}
    assert ADA.born not in left
    assert dead not in store.workers.list_living()


@pytest.mark.parametrize(
    ("change", "age_seconds", "lives"),
    [
        ({}, 1e9, True),
        ({"host": "elsewhere"}, 299.0, True),
        ({"host": "elsewhere"}, 301.0, False),
        ({"born": "another boot/1/1"}, 29.0, True),
        ({"born": "another boot/1/1"}, 101.0, False),
    ],
    ids=["here and alive", "elsewhere", "elsewhere, silent", "a namesake that beats", "before this boot"],
)
def test_a_worker_is_looked_up_here_and_believed_elsewhere(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str], age_seconds: float, lives: bool
) -> None:
    monkeypatch.setattr("orchestrator.queue.workers.uptime_seconds", lambda: 100.0)
    assert is_believed_alive(msgspec.structs.replace(Process.own(), **change), age_seconds) == lives
