"""The queue: one SQLite file (or any SQLAlchemy URL), states changed by compare-and-set, claims in one transaction.

The run folders are the truth; this is who works on what, and what waits in which order.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    select,
    update,
)
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from model.run_folder import Result
from orchestrator.launchers.local import process_started
from orchestrator.states import MOVES, RunState

METADATA = MetaData()
RUNS = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("experiment", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("profile", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False, default=""),
    Column("failure", String),
    Column("attempt", Integer, nullable=False, default=0),
    Column("host", String),
    Column("pid", Integer),
    Column("process_started", Float),
    Column("job_pid", Integer),
    Column("job_started", Float),
)


class QueuedRun(Struct, frozen=True, kw_only=True):
    """A row of the queue; the fields are the table's columns, in their order."""

    id: str
    position: int
    experiment: str
    seed: int
    profile: str
    state: RunState
    reason: str = ""
    failure: str | None = None
    attempt: int = 0
    host: str | None = None
    pid: int | None = None
    process_started: float | None = None
    job_pid: int | None = None
    job_started: float | None = None


class Store:
    """The queue of one results folder."""

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 30.0})
        event.listen(self.engine, "connect", _prepare_sqlite)
        METADATA.create_all(self.engine)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def add(self, runs: Iterable[QueuedRun]) -> None:
        """Queue runs that are not known yet, after those that wait; known ones stay as they are."""
        with self.engine.begin() as connection:
            known = set(connection.scalars(select(RUNS.c.id)))
            last = connection.scalar(select(func.max(RUNS.c.position))) or 0
            rows = [
                {"id": run.id, "experiment": run.experiment, "seed": run.seed, "profile": run.profile}
                | {"state": run.state.value, "reason": run.reason, "failure": run.failure, "attempt": 0}
                for run in runs
                if run.id not in known
            ]
            for number, row in enumerate(rows, start=1):
                connection.execute(RUNS.insert().values(position=last + number, **row))

    def runs(self, ids: Sequence[str] | None = None) -> list[QueuedRun]:
        """Return the rows in queue order; all of them, or those of some ids."""
        query = select(RUNS).order_by(RUNS.c.position)
        if ids is not None:
            query = query.where(RUNS.c.id.in_(ids))
        with self.engine.connect() as connection:
            return [_row(row) for row in connection.execute(query)]

    def claim(self, ids: Sequence[str]) -> QueuedRun | None:
        """Take the first waiting run of `ids` for this process, or None; two workers never get the same one."""
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "process_started": process_started(os.getpid())}
        first = (
            select(RUNS.c.id)
            .where(RUNS.c.state == RunState.QUEUED.value, RUNS.c.id.in_(ids))
            .order_by(RUNS.c.position)
            .limit(1)
            .scalar_subquery()
        )
        claim = (
            update(RUNS)
            .where(RUNS.c.id == first, RUNS.c.state == RunState.QUEUED.value)
            .values(state=RunState.RUNNING.value, attempt=RUNS.c.attempt + 1, job_pid=None, job_started=None)
            .values(reason="", failure=None, **mine)
            .returning(*RUNS.c)
        )
        with self.engine.begin() as connection:
            row = connection.execute(claim).one_or_none()
        return _row(row) if row else None

    def move(
        self, run_id: str, before: RunState, after: RunState, reason: str = "", failure: str | None = None
    ) -> bool:
        """Change a state if it is still `before`; return whether it was."""
        if after not in MOVES[before]:
            raise ValueError(f"a run does not go from {before} to {after}")
        with self.engine.begin() as connection:
            return _compare_and_set(
                connection, run_id, before, {"state": after.value, "reason": reason, "failure": failure}
            )

    def record_job(self, run_id: str, job_pid: int) -> None:
        """Note the process that trains a run, so that it can be found if this one dies."""
        values = {"job_pid": job_pid, "job_started": process_started(job_pid)}
        with self.engine.begin() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**values))

    def settle(self, run_id: str, result: Result) -> None:
        """Record a result that a run folder holds, whatever the row said before."""
        values = {"state": RunState(result.state).value, "reason": result.reason, "failure": result.failure}
        with self.engine.begin() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(**values))

    def forget(self, ids: Sequence[str]) -> None:
        """Delete rows, whatever they say."""
        with self.engine.begin() as connection:
            connection.execute(delete(RUNS).where(RUNS.c.id.in_(ids)))

    def orphans(self) -> list[QueuedRun]:
        """Return running rows of this host whose process is gone."""
        host = socket.gethostname()
        running = [run for run in self.runs() if run.state is RunState.RUNNING and run.host == host]
        return [run for run in running if run.pid is None or process_started(run.pid) != run.process_started]

    def held(self) -> list[QueuedRun]:
        """Return the rows that a living `run` other than this process has claimed, or whose job lives.

        A row that another host trains counts as held, since nobody here can look at its process.
        """
        return [row for row in self.runs() if _is_held(row)]


def _is_held(row: QueuedRun) -> bool:
    if row.host != socket.gethostname():
        return row.state is RunState.RUNNING
    is_ours = row.pid == os.getpid()
    return (not is_ours and _is_alive(row.pid, row.process_started)) or _is_alive(row.job_pid, row.job_started)


def _is_alive(pid: int | None, started: float | None) -> bool:
    return pid is not None and started is not None and process_started(pid) == started


def _prepare_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Readers do not wait for writers, and a commit is on the disk when it returns.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _compare_and_set(connection: Connection, run_id: str, before: RunState, values: dict[str, str | None]) -> bool:
    change = update(RUNS).where(RUNS.c.id == run_id, RUNS.c.state == before.value).values(**values)
    return connection.execute(change).rowcount == 1


def _row(values: Row[Any]) -> QueuedRun:
    return msgspec.convert(dict(zip(QueuedRun.__struct_fields__, values, strict=True)), QueuedRun)
