"""The queue: one SQLite file, or a PostgreSQL database; states change by compare-and-set, a claim is one statement.

The run folders are the truth; this is who works on what, and what waits in which order. A worker that holds a run beats
its heart in the table of workers. Of a process of this machine it is looked up whether it lives; a worker of another
machine is gone once its heart has not beaten for a lease, by the database's own clock. What it may still send is fenced
off: every move of a claimed run names the worker and the attempt.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    any_,
    bindparam,
    delete,
    false,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect, Engine, Row
from sqlalchemy.sql.dml import ReturningUpdate, Update

from model.run_folder import Result
from orchestrator.database import connect, describe_trouble, name_of
from orchestrator.errors import QueueError
from orchestrator.layout import Layout
from orchestrator.processes import Process
from orchestrator.states import MOVES, RunState

LEASE_SECONDS = 300.0
"""A worker of another machine is given up after so long without a heartbeat."""
CREATION = 0x6B6E6F636B6F7574
"""PostgreSQL's advisory lock under which the tables are made, lest two make them at once: `knockout` in ASCII."""


class Words(TypeDecorator[str]):
    """Text of a job's log: what no database takes, NUL and halves of surrogate pairs, is written as a sign for it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what can be stored."""
        return None if value is None else value.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


METADATA = MetaData()
RUNS = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("experiment", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("profile", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reason", Words, nullable=False, default=""),
    Column("failure", String),
    Column("attempt", Integer, nullable=False, default=0),
    Column("losses", Integer, nullable=False, default=0),
    Column("epochs_at_loss", Integer, nullable=False, default=0),
    Column("host", String),
    Column("pid", Integer),
    Column("born", String),
)
WORKERS = Table(
    "workers",
    METADATA,
    Column("host", String, primary_key=True),
    Column("pid", Integer, primary_key=True),
    Column("born", String, primary_key=True),
    Column("heartbeat", Float, nullable=False),
    Column("is_asked_to_stop", Boolean, nullable=False, default=False),
)


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
    host: str | None = None
    pid: int | None = None
    born: str | None = None

    @property
    def worker(self) -> Process | None:
        """The process that claimed it last."""
        if self.host is None or self.pid is None or self.born is None:
            return None
        return Process(self.host, self.pid, self.born)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """What a worker is told when its heart beats."""

    held: frozenset[str]
    """The runs that are still its own."""
    is_asked_to_stop: bool


class Store:
    """The queue of one results folder."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = connect(url)
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._insert = sqlite.insert if is_sqlite else postgresql.insert
        # The database's clock, in seconds: one for all machines that share it.
        self._now: ColumnElement[Any] = (
            (func.julianday("now") - 2440587.5) * 86400.0
            if is_sqlite
            else func.extract("epoch", func.clock_timestamp())
        )
        # Rows that another is just taking are passed over first, and only then waited for: it may let go of them.
        self._passes = (False,) if is_sqlite else (True, False)
        try:
            self._make_tables("BEGIN IMMEDIATE" if is_sqlite else f"SELECT pg_advisory_xact_lock({CREATION})")
        except BaseException:
            self.close()
            raise

    def _make_tables(self, lock: str) -> None:
        """Make what is missing; a table that is there has to be of this version."""
        found = {name: columns for (_, name), columns in inspect(self.engine).get_multi_columns().items()}
        for name, table in METADATA.tables.items():
            if name in found and {column["name"] for column in found[name]} != set(table.columns.keys()):
                raise QueueError(
                    f"{self.name}: the queue was made by another version of Knockout; end what uses it, then "
                    "`knockout rebuild` makes it again from the run folders"
                )
        if not found.keys() >= METADATA.tables.keys():
            with self.engine.begin() as connection:
                connection.exec_driver_sql(lock)
                METADATA.create_all(connection)

    @property
    def name(self) -> str:
        """Where the queue is, without a password."""
        return name_of(self.engine.url)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def add(self, runs: Iterable[QueuedRun]) -> None:
        """Queue runs that are not known yet, after those that wait, in this order; known ones stay as they are."""
        last = select(func.coalesce(func.max(RUNS.c.position), 0))
        with self.engine.begin() as connection:
            first = (connection.scalar(last) or 0) + 1
            self._insert_rows(connection, runs, first)

    def replace_all(self, runs: Iterable[QueuedRun]) -> None:
        """Put these rows in the place of all that are there, in one step."""
        with self.engine.begin() as connection:
            connection.execute(delete(RUNS))
            self._insert_rows(connection, runs, first=1)

    def _insert_rows(self, connection: Connection, runs: Iterable[QueuedRun], first: int) -> None:
        rows = [_values(run) | {"position": position} for position, run in enumerate(runs, start=first)]
        if rows:
            # In the order of their ids: two that insert the same rows in different orders would wait for each other.
            rows.sort(key=lambda row: row["id"])
            connection.execute(self._insert(RUNS).on_conflict_do_nothing(), rows)

    def runs(self, ids: Sequence[str] | None = None, states: Iterable[RunState] | None = None) -> list[QueuedRun]:
        """Return the rows in queue order; all of them, or those of some ids or states."""
        query = select(RUNS).order_by(RUNS.c.position, RUNS.c.id)
        if ids is not None:
            query = query.where(self._is_among(ids))
        if states is not None:
            query = query.where(RUNS.c.state.in_([state.value for state in states]))
        with self.engine.connect() as connection:
            return [self._read(row) for row in connection.execute(query)]

    def claim(self, worker: Process, ids: Sequence[str] | None = None) -> QueuedRun | None:
        """Take the first run that waits, of all or of `ids`; two workers never get the same one."""
        waiting = select(RUNS.c.id).where(RUNS.c.state == RunState.QUEUED.value)
        if ids is not None:
            waiting = waiting.where(self._is_among(ids))
        first = waiting.order_by(RUNS.c.position, RUNS.c.id).limit(1)
        for passes in self._passes:
            with self.engine.begin() as connection:
                row = connection.execute(_claim(worker, first.with_for_update(skip_locked=passes))).one_or_none()
            if row:
                return self._read(row)
        return None

    def move(
        self, run_id: str, before: RunState, after: RunState, reason: str = "", failure: str | None = None
    ) -> bool:
        """Change a state if it is still `before`; return whether it was. One asked for again has lost nobody yet."""
        _require_move(before, after)
        change = update(RUNS).where(RUNS.c.id == run_id, RUNS.c.state == before.value)
        if after is RunState.QUEUED:
            change = change.values(losses=0, epochs_at_loss=0)
        return self._change(change.values(state=after.value, reason=reason, failure=failure)) == 1

    def end(self, claimed: QueuedRun, after: RunState, reason: str = "", failure: str | None = None) -> bool:
        """Move a run on that a worker has claimed; return whether it was still that claim's to move."""
        _require_move(RunState.RUNNING, after)
        change = _of_claim(claimed).values(state=after.value, reason=reason, failure=failure)
        return self._change(change) == 1

    def lose(self, claimed: QueuedRun, losses: int, num_epochs: int, reason: str) -> bool:
        """Let a run wait again whose worker is gone; return whether it was still that claim's to move."""
        _require_move(RunState.RUNNING, RunState.QUEUED)
        change = _of_claim(claimed).values(
            state=RunState.QUEUED.value, reason=reason, losses=losses, epochs_at_loss=num_epochs
        )
        return self._change(change) == 1

    def record(self, run_id: str, result: Result) -> None:
        """Write down a result that a run folder holds, whatever the row said before."""
        values = {"state": RunState(result.state).value, "reason": result.reason, "failure": result.failure}
        self._change(update(RUNS).where(RUNS.c.id == run_id).values(**values))

    def forget(self, ids: Sequence[str]) -> None:
        """Delete rows, whatever they say."""
        with self.engine.begin() as connection:
            connection.execute(delete(RUNS).where(self._is_among(ids)))

    def beat(self, worker: Process) -> Heartbeat:
        """Say that a worker lives; return what it still holds and whether it is asked to stop."""
        beat = self._insert(WORKERS).values(**_columns(worker), heartbeat=self._now, is_asked_to_stop=False)
        held = select(RUNS.c.id).where(RUNS.c.state == RunState.RUNNING.value, *_is_of(RUNS, worker))
        asked = select(WORKERS.c.is_asked_to_stop).where(*_is_of(WORKERS, worker))
        with self.engine.begin() as connection:
            connection.execute(
                beat.on_conflict_do_update(index_elements=["host", "pid", "born"], set_={"heartbeat": self._now})
            )
            return Heartbeat(held=frozenset(connection.scalars(held)), is_asked_to_stop=bool(connection.scalar(asked)))

    def workers(self) -> list[Process]:
        """Return the workers that live, as far as can be told here."""
        age = (self._now - WORKERS.c.heartbeat).label("age")
        with self.engine.connect() as connection:
            rows = connection.execute(select(WORKERS.c.host, WORKERS.c.pid, WORKERS.c.born, age)).all()
        known = [(Process(host, pid, born), float(age)) for host, pid, born, age in rows]
        return [worker for worker, age in known if (worker.is_alive if worker.is_here else age < LEASE_SECONDS)]

    def dismiss(self, worker: Process) -> None:
        """Forget a worker that leaves, or is gone."""
        with self.engine.begin() as connection:
            connection.execute(delete(WORKERS).where(*_is_of(WORKERS, worker)))

    def ask_to_stop(self, workers: Iterable[Process]) -> None:
        """Ask workers to finish their epochs and leave."""
        for worker in workers:
            self._change(update(WORKERS).where(*_is_of(WORKERS, worker)).values(is_asked_to_stop=True))

    def _change(self, change: Update) -> int:
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount

    def _is_among(self, ids: Sequence[str]) -> ColumnElement[bool]:
        # All of them as one parameter: a database takes only so many.
        if self.engine.dialect.name == "sqlite":
            given = func.json_each(msgspec.json.encode(list(ids)).decode()).table_valued("value")
            return RUNS.c.id.in_(select(given.c.value))
        return RUNS.c.id == any_(bindparam(None, list(ids), type_=postgresql.ARRAY(String)))

    def _read(self, row: Row[Any]) -> QueuedRun:
        try:
            return msgspec.convert(dict(zip(QueuedRun.__struct_fields__, row, strict=True)), QueuedRun)
        except msgspec.ValidationError as error:
            raise QueueError(describe_trouble(self.name, f"malformed row {row[0]!r}: {error}")) from None


def open_store(layout: Layout) -> Store:
    """Open the queue of a results folder, making it if there is none.

    Raises:
        QueueError: it cannot be opened, or another version made it.
    """
    if layout.has_own_database:
        layout.results.mkdir(parents=True, exist_ok=True)
    return Store(layout.database_url)


def drop_tables(url: str) -> None:
    """Remove the queue of any version from a database.

    Raises:
        QueueError: the database cannot be used.
    """
    engine = connect(url)
    try:
        METADATA.drop_all(engine)
    finally:
        engine.dispose()


def _require_move(before: RunState, after: RunState) -> None:
    if after not in MOVES[before]:
        raise ValueError(f"a run does not go from {before} to {after}")


def _columns(worker: Process) -> dict[str, Any]:
    return {"host": worker.host, "pid": worker.pid, "born": worker.born}


def _is_of(table: Table, worker: Process) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in _columns(worker).items()]


def _claim(worker: Process, first: Select[tuple[str]]) -> ReturningUpdate[Any]:
    """Give a worker the run that `first` picks."""
    return (
        update(RUNS)
        .where(RUNS.c.id == first.scalar_subquery(), RUNS.c.state == RunState.QUEUED.value)
        .values(state=RunState.RUNNING.value, attempt=RUNS.c.attempt + 1, reason="", failure=None)
        .values(**_columns(worker))
        .returning(*RUNS.c)
    )


def _of_claim(claimed: QueuedRun) -> Update:
    """Change a run only as long as the worker that claimed it has it, at that attempt."""
    holder = _is_of(RUNS, claimed.worker) if claimed.worker else [false()]
    return update(RUNS).where(
        RUNS.c.id == claimed.id,
        RUNS.c.state == RunState.RUNNING.value,
        RUNS.c.attempt == claimed.attempt,
        *holder,
    )


def _values(run: QueuedRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in QueuedRun.__struct_fields__} | {"state": run.state.value}
