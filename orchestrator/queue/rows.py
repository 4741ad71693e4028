"""Rows of the queue as values, and the conditions of SQL that name a run, a worker or a claim. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, String, Table, any_, bindparam, false, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Row
from sqlalchemy.sql.dml import ReturningUpdate, Update

from orchestrator.processes import Process
from orchestrator.queue.tables import RUNS
from orchestrator.runs.states import MOVES, RunState


class QueuedRun(Struct, frozen=True, kw_only=True):
    """A row of the queue; the fields are the table's columns, in their order."""

    id: str
    position: int = 0
    experiment: str
    seed: int
    profile: str
    state: RunState
    reason: str = ""
    failure: str | None = None
    attempt: int = 0
    """How often it was claimed."""
    losses: int = 0
    """How often in a row its worker or machine went away before another epoch was finished."""
    epochs_at_loss: int = 0
    """How many epochs were finished when it was lost last."""
    host: str | None = None
    pid: int | None = None
    born: str | None = None

    @property
    def worker(self) -> Process | None:
        """The process that claimed it last."""
        if self.host is None or self.pid is None or self.born is None:
            return None
        return Process(self.host, self.pid, self.born)


def waiting_run(run_id: str, experiment: str, seed: int, profile: str) -> QueuedRun:
    """Return the row of a run that waits and was never claimed."""
    return QueuedRun(id=run_id, experiment=experiment, seed=seed, profile=profile, state=RunState.QUEUED)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """What a worker learns when it sends a heartbeat."""

    held: frozenset[str]
    """The runs that are still its own."""
    is_asked_to_stop: bool


def read_row(row: Row[Any]) -> QueuedRun:
    """Read a row of the table of runs.

    Raises:
        ValueError: another version wrote it, or it is spoilt; says what is wrong with it.
    """
    return msgspec.convert(dict(zip(QueuedRun.__struct_fields__, row, strict=True)), QueuedRun)


def read_worker(host: object, pid: object, born: object, age: Any) -> tuple[Process, float] | None:
    """Read a worker and the seconds since its last heartbeat; None if the row is spoilt and names no process."""
    try:
        return msgspec.convert({"host": host, "pid": pid, "born": born}, Process), float(age)
    except (TypeError, ValueError):
        return None


def row_values(run: QueuedRun) -> dict[str, Any]:
    """Return column -> value of a run."""
    return {name: getattr(run, name) for name in QueuedRun.__struct_fields__} | {"state": run.state.value}


def worker_values(worker: Process) -> dict[str, Any]:
    """Return column -> value of a worker."""
    return {"host": worker.host, "pid": worker.pid, "born": worker.born}


def is_of_worker(table: Table, worker: Process) -> list[ColumnElement[bool]]:
    """Return the conditions that a row of a table names this worker."""
    return [table.c[name] == value for name, value in worker_values(worker).items()]


def is_held_by(claimed: QueuedRun) -> list[ColumnElement[bool]]:
    """Return the conditions that a run is still held by a claim: same worker, same attempt."""
    # A row that names no worker is held by nobody. `false()` then makes the change match no row.
    holder = is_of_worker(RUNS, claimed.worker) if claimed.worker else [false()]
    return [RUNS.c.attempt == claimed.attempt, *holder]


def is_among(ids: Sequence[str], *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a run has one of these ids."""
    # All ids go as one parameter: a database takes only so many parameters in a statement.
    if is_sqlite:
        given = func.json_each(msgspec.json.encode(list(ids)).decode()).table_valued("value")
        return RUNS.c.id.in_(select(given.c.value))
    return RUNS.c.id == any_(bindparam(None, list(ids), type_=postgresql.ARRAY(String)))


def change_claimed(claimed: QueuedRun) -> Update:
    """Begin a statement that changes a run as long as it runs and the claim still holds it."""
    return update(RUNS).where(RUNS.c.id == claimed.id, RUNS.c.state == RunState.RUNNING.value, *is_held_by(claimed))


def claim_first(worker: Process, first: Select[tuple[str]]) -> ReturningUpdate[Any]:
    """Return the statement that gives a worker the run whose id `first` selects, and answers with its row."""
    return (
        update(RUNS)
        # The state is compared here too. Another worker may claim the run after the subquery has chosen it.
        .where(RUNS.c.id == first.scalar_subquery(), RUNS.c.state == RunState.QUEUED.value)
        .values(state=RunState.RUNNING.value, attempt=RUNS.c.attempt + 1, reason="", failure=None)
        .values(**worker_values(worker))
        .returning(*RUNS.c)
    )


def require_move(before: RunState, after: RunState) -> None:
    """Refuse a change of state that no run makes.

    Raises:
        ValueError: names both states.
    """
    if after not in MOVES[before]:
        raise ValueError(f"a run does not go from {before} to {after}")
