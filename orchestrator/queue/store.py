"""The queue: one SQLite file, or a PostgreSQL database; states change by compare-and-set, a claim is one statement.

The run folders are the truth; this is who works on what, and what waits in which order. A worker that holds a run beats
its heart in the table of workers. Of a process of this machine it is looked up whether it lives; a worker of another
machine is gone once its heart has not beaten for a lease, by the database's own clock. What it may still send is fenced
off: every move of a claimed run names the worker and the attempt.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
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
from sqlalchemy.engine import Engine, Row
from sqlalchemy.sql.dml import ReturningUpdate, Update

from model.train.run_folder import Result
from orchestrator.errors import QueueError
from orchestrator.processes import Process, uptime_seconds
from orchestrator.queue.database import connect, is_read_only, name_of
from orchestrator.queue.rows import METADATA, RUNS, WORKERS, Heartbeat, QueuedRun, read_row, read_worker
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import MOVES, RunState

__all__ = [
    "FORGET_LEASES",
    "LEASE_SECONDS",
    "RUNS",
    "WORKERS",
    "Heartbeat",
    "QueuedRun",
    "Store",
    "drop_tables",
    "open_store",
]

LEASE_SECONDS = 300.0
"""A worker of another machine is given up after so long without a heartbeat."""
NAMESAKE_SECONDS = 30.0
"""Six heartbeats: so long a worker of this host's name and another boot is believed to live."""
FORGET_LEASES = 10
"""So many leases without a heartbeat, and the row of a worker that nobody dismissed is deleted."""
COLUMNS = {name: set(table.columns.keys()) for name, table in METADATA.tables.items()}
"""Table -> its columns, as this version makes them."""
CREATION = 0x6B6E6F636B6F7574
"""PostgreSQL's advisory lock under which the tables are made, lest two make them at once: `knockout` in ASCII."""


class Store:
    """The queue of one results folder."""

    def __init__(self, url: str, *, only_reads: bool = False) -> None:
        self.only_reads = only_reads
        """Whether nothing can be written."""
        self.unreadable: dict[str, str] = {}
        """Id -> a sentence for each row that was passed over, since another version wrote it or it is spoilt."""
        self._heard: set[tuple[str, int]] = set()
        """Run and attempt of every claim whose answer was heard."""
        self._is_unsure = False
        """Whether a run may have been claimed whose answer was lost on the way."""
        self.engine: Engine = connect(url, is_changed=_is_changed, only_reads=only_reads)
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
        found = _find_columns(self.engine)
        if any(found.get(name, columns) != columns for name, columns in COLUMNS.items()):
            raise QueueError(
                f"{self.name}: the queue was made by another version of Knockout; end what uses it, then "
                "`knockout rebuild` makes it again from the run folders"
            )
        if not found.keys() >= COLUMNS.keys() and not self.only_reads:
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
            read = [self._read(row) for row in connection.execute(query)]
        return [row for row in read if row is not None]

    def claim(self, worker: Process, ids: Sequence[str] | None = None) -> QueuedRun | None:
        """Take the first run that waits, of all or of `ids`; two workers never get the same one.

        Where an earlier claim may have been made although its answer was lost, that run comes first.
        """
        claimed = self._find_unheard(worker) if self._is_unsure else None
        if claimed is None:
            self._is_unsure = True
            claimed = self._claim_first(worker, ids)
        self._is_unsure = False
        if claimed is not None:
            self._heard.add((claimed.id, claimed.attempt))
        return claimed

    def _find_unheard(self, worker: Process) -> QueuedRun | None:
        """Return a run that is this worker's without its knowing."""
        query = select(RUNS).where(RUNS.c.state == RunState.RUNNING.value, *_is_of(RUNS, worker))
        with self.engine.connect() as connection:
            read = [self._read(row) for row in connection.execute(query)]
        return next((row for row in read if row is not None and (row.id, row.attempt) not in self._heard), None)

    def _claim_first(self, worker: Process, ids: Sequence[str] | None) -> QueuedRun | None:
        waiting = select(RUNS.c.id).where(RUNS.c.state == RunState.QUEUED.value, RUNS.c.id.is_not(None))
        if ids is not None:
            waiting = waiting.where(self._is_among(ids))
        first = waiting.order_by(RUNS.c.position, RUNS.c.id).limit(1)
        for passes in self._passes:
            readable = first
            while (row := self._take(worker, readable.with_for_update(skip_locked=passes))) is not None:
                if (claimed := self._read(row)) is not None:
                    return claimed
                readable = readable.where(RUNS.c.id.not_in(list(self.unreadable)))
        return None

    def _take(self, worker: Process, first: Select[tuple[str]]) -> Row[Any] | None:
        """Give a worker the run that `first` picks; what cannot be read stays as it is."""
        with self.engine.connect() as connection:
            row = connection.execute(_claim(worker, first)).one_or_none()
            if row is not None and self._read(row) is not None:
                connection.commit()
            return row

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
        """Move a run on that a worker has claimed; return whether it was still that claim's to move.

        Told once more, it says the same: the answer to the first time may have been lost.
        """
        _require_move(RunState.RUNNING, after)
        values = {"state": after.value, "reason": reason, "failure": failure}
        if self._change(_of_claim(claimed).values(**values)) == 1:
            return True
        is_so = [RUNS.c[name].is_not_distinct_from(value) for name, value in values.items()]
        told = select(RUNS.c.id).where(RUNS.c.id == claimed.id, *_is_held_by(claimed), *is_so)
        with self.engine.connect() as connection:
            return connection.scalar(told) is not None

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
        running = RUNS.c.state == RunState.RUNNING.value
        held = select(RUNS.c.id, RUNS.c.attempt).where(running, *_is_of(RUNS, worker))
        asked = select(WORKERS.c.is_asked_to_stop).where(*_is_of(WORKERS, worker))
        with self.engine.begin() as connection:
            connection.execute(
                beat.on_conflict_do_update(index_elements=["host", "pid", "born"], set_={"heartbeat": self._now})
            )
            self._forget_gone(connection)
            rows = connection.execute(held).all()
            is_asked_to_stop = bool(connection.scalar(asked))
        # A claim that the server got late: its row is this worker's, and the next claim finds it.
        self._is_unsure = self._is_unsure or any((run_id, attempt) not in self._heard for run_id, attempt in rows)
        return Heartbeat(held=frozenset(run_id for run_id, _ in rows), is_asked_to_stop=is_asked_to_stop)

    def _forget_gone(self, connection: Connection) -> None:
        """Delete the rows of workers that left without a word: of this machine's dead, of others' after some leases."""
        connection.execute(delete(WORKERS).where(self._now - WORKERS.c.heartbeat > FORGET_LEASES * LEASE_SECONDS))
        for worker, age in self._read_workers(connection):
            if worker.is_here and age > LEASE_SECONDS and not worker.is_alive:
                connection.execute(delete(WORKERS).where(*_is_of(WORKERS, worker)))

    def workers(self) -> list[Process]:
        """Return the workers that live, as far as can be told here."""
        with self.engine.connect() as connection:
            known = self._read_workers(connection)
        return [worker for worker, age in known if is_believed_alive(worker, age)]

    def _read_workers(self, connection: Connection) -> list[tuple[Process, float]]:
        age = (self._now - WORKERS.c.heartbeat).label("age")
        rows = connection.execute(select(WORKERS.c.host, WORKERS.c.pid, WORKERS.c.born, age))
        return [worker for row in rows if (worker := read_worker(*row)) is not None]

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

    def _read(self, row: Row[Any]) -> QueuedRun | None:
        """Read a row; one that cannot be read is noted and passed over, since all others have to go on."""
        try:
            return read_row(row)
        except ValueError as error:
            self.unreadable[row.id] = (
                f"{self.name}: the row of {row.id!r} cannot be read: {error}; another version of Knockout wrote it, or "
                "it is spoilt: `knockout rebuild` makes the queue again from the run folders"
            )
            return None


def is_believed_alive(worker: Process, age_seconds: float) -> bool:
    """Say whether a worker lives: here it is looked up, elsewhere its last heartbeat tells.

    One of this host before it restarted is gone once this boot is older than its last heartbeat. One of another machine
    with the same name beats again long before that.

    Args:
        worker: the process.
        age_seconds: of its last heartbeat, by the database's clock.
    """
    if worker.is_here:
        return worker.is_alive
    if not worker.is_of_earlier_boot:
        return age_seconds < LEASE_SECONDS
    return age_seconds < min(LEASE_SECONDS, max(NAMESAKE_SECONDS, uptime_seconds()))


def open_store(paths: Paths, *, to_read: bool = False) -> Store:
    """Open the queue of a results folder, making it if there is none.

    Args:
        paths: the folders.
        to_read: whether a queue that cannot be written will do.

    Raises:
        QueueError: it cannot be opened, or another version made it.
    """
    if paths.has_own_database:
        try:
            paths.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QueueError(
                f"{paths.results}: this folder cannot be made: {error.strerror}; move away what is "
                "in its place, or give the user who runs Knockout the right to write there"
            ) from None
    return Store(paths.database_url, only_reads=to_read and is_read_only(paths.database_url))


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


def _find_columns(engine: Engine) -> dict[str, set[str]]:
    """Return the columns of each table that a database has."""
    found = inspect(engine).get_multi_columns().items()
    return {name: {column["name"] for column in columns} for (_, name), columns in found}


def _is_changed(engine: Engine) -> bool:
    """Whether the tables of a database are not those of this version any more."""
    found = _find_columns(engine)
    return any(found.get(name) != columns for name, columns in COLUMNS.items())


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
    return update(RUNS).where(RUNS.c.id == claimed.id, RUNS.c.state == RunState.RUNNING.value, *_is_held_by(claimed))


def _is_held_by(claimed: QueuedRun) -> list[ColumnElement[bool]]:
    holder = _is_of(RUNS, claimed.worker) if claimed.worker else [false()]
    return [RUNS.c.attempt == claimed.attempt, *holder]


def _values(run: QueuedRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in QueuedRun.__struct_fields__} | {"state": run.state.value}
