"""The queue's runs: listed, added, claimed by workers, and moved from state to state.

The run folders are the truth; the queue says which run waits, in which order, and who works on which. Two rules keep it
right while many programs use it at once. A state changes only if it is still what the program has seen
(compare-and-set). Each move of a claimed run names the worker and the attempt. So a worker that was presumed dead
cannot move a run that another has claimed since.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine, Row
from sqlalchemy.sql.dml import Update

from orchestrator.errors import QueueError
from orchestrator.processes import Process
from orchestrator.queue.database import connect, database_name, is_read_only
from orchestrator.queue.rows import (
    Heartbeat,
    QueuedRun,
    change_claimed,
    claim_first,
    is_among,
    is_held_by,
    is_of_worker,
    read_row,
    require_move,
    row_values,
)
from orchestrator.queue.tables import RUNS, are_tables_changed, make_tables
from orchestrator.queue.workers import Workers
from orchestrator.runs.folder import Result
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState

__all__ = ["QueuedRun", "Store", "open_store"]


class Store:
    """The queue of one results folder, in SQLite or PostgreSQL.

    Attributes:
        only_reads: whether nothing can be written.
        unreadable: id -> a sentence for each row that was skipped: another version wrote it, or it is spoilt.
        engine: the database.
        workers: the table of workers.

    Args:
        url: the database, as SQLAlchemy writes it.
        only_reads: whether a file of SQLite is opened for reading alone.

    Raises:
        QueueError: the database cannot be used, or another version made its tables.
    """

    def __init__(self, url: str, *, only_reads: bool = False) -> None:
        self.only_reads = only_reads
        self.unreadable: dict[str, str] = {}
        self._heard: set[tuple[str, int]] = set()
        """Run and attempt of each claim whose answer has arrived."""
        self._is_unsure = False
        """Whether the answer to a claim may have been lost, so that this worker holds a run without knowing it."""
        self.engine: Engine = connect(url, is_changed=are_tables_changed, only_reads=only_reads)
        self.workers = Workers(self.engine)
        self._is_sqlite = self.engine.dialect.name == "sqlite"
        try:
            make_tables(self.engine, only_reads=only_reads)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Where the queue is, without a password."""
        return database_name(self.engine.url)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def add(self, runs: Iterable[QueuedRun]) -> None:
        """Queue runs behind all others, in this order; a run that is known already stays as it is."""
        # Two programs may read the same last position at once.
        # Their runs then share positions, and the id decides the order.
        last = select(func.coalesce(func.max(RUNS.c.position), 0))
        with self.engine.begin() as connection:
            first = (connection.scalar(last) or 0) + 1
            self._insert_rows(connection, runs, first)

    def replace_all(self, runs: Iterable[QueuedRun]) -> None:
        """Replace all rows by these, in one transaction."""
        with self.engine.begin() as connection:
            # One transaction: another program sees the old rows or the new ones, never an empty queue.
            connection.execute(delete(RUNS))
            self._insert_rows(connection, runs, first=1)

    def _insert_rows(self, connection: Connection, runs: Iterable[QueuedRun], first: int) -> None:
        rows = [row_values(run) | {"position": position} for position, run in enumerate(runs, start=first)]
        if rows:
            # Sorted by id: two programs that insert the same rows in different orders would wait for each other.
            rows.sort(key=lambda row: row["id"])
            insert = sqlite.insert if self._is_sqlite else postgresql.insert
            connection.execute(insert(RUNS).on_conflict_do_nothing(), rows)

    def runs(self, ids: Sequence[str] | None = None, states: Iterable[RunState] | None = None) -> list[QueuedRun]:
        """Return the rows in the order of the queue: all of them, or those of some ids or states."""
        query = select(RUNS).order_by(RUNS.c.position, RUNS.c.id)
        if ids is not None:
            query = query.where(self._is_among(ids))
        if states is not None:
            query = query.where(RUNS.c.state.in_([state.value for state in states]))
        return self._read_all(query)

    def _is_among(self, ids: Sequence[str]) -> ColumnElement[bool]:
        return is_among(ids, is_sqlite=self._is_sqlite)

    def claim(self, worker: Process, ids: Sequence[str] | None = None) -> QueuedRun | None:
        """Give a worker the first run that waits; no two workers get the same one.

        Args:
            worker: who claims it.
            ids: the runs to choose from; None for all.

        Returns:
            The row as it is now; None where no run waits.
        """
        # The last claim may have succeeded though its answer was lost: then that run is this worker's already.
        claimed = self._find_unheard(worker) if self._is_unsure else None
        if claimed is None:
            # Set before the request, and cleared after the answer.
            # An error between the two leaves it set for the next claim.
            self._is_unsure = True
            claimed = self._claim_first(worker, ids)
        self._is_unsure = False
        if claimed is not None:
            self._heard.add((claimed.id, claimed.attempt))
        return claimed

    def _find_unheard(self, worker: Process) -> QueuedRun | None:
        """Return a run that this worker holds without knowing it; None if there is none."""
        held = self._read_all(select(RUNS).where(RUNS.c.state == RunState.RUNNING.value, *is_of_worker(RUNS, worker)))
        # The id alone is not enough: the same run may have been claimed before, lost, and claimed again.
        return next((row for row in held if (row.id, row.attempt) not in self._heard), None)

    def _claim_first(self, worker: Process, ids: Sequence[str] | None) -> QueuedRun | None:
        """Claim the first run that waits and whose row can be read."""
        waiting = select(RUNS.c.id).where(RUNS.c.state == RunState.QUEUED.value, RUNS.c.id.is_not(None))
        if ids is not None:
            waiting = waiting.where(self._is_among(ids))
        first = waiting.order_by(RUNS.c.position, RUNS.c.id).limit(1)
        # First skip rows that another worker has locked (SKIP LOCKED), so that claims do not wait for each other. If no
        # other run waits, wait for those rows: their claim may be rolled back. SQLite has one lock for all rows.
        for skip_locked in (False,) if self._is_sqlite else (True, False):
            readable = first
            while (row := self._take(worker, readable.with_for_update(skip_locked=skip_locked))) is not None:
                if (claimed := self._read(row)) is not None:
                    return claimed
                readable = readable.where(RUNS.c.id.not_in(list(self.unreadable)))
        return None

    def _take(self, worker: Process, first: Select[tuple[str]]) -> Row[Any] | None:
        """Give a worker the run that `first` selects; a row that cannot be read is rolled back to what it was."""
        with self.engine.connect() as connection:
            # A row that cannot be read must not stay claimed, since nobody could train it.
            # Without a commit the claim is undone.
            row = connection.execute(claim_first(worker, first)).one_or_none()
            if row is not None and self._read(row) is not None:
                connection.commit()
            return row

    def move(
        self, run_id: str, before: RunState, after: RunState, reason: str = "", failure: str | None = None
    ) -> bool:
        """Change a state if it is still `before`; return whether it was.

        A move back to `queued` resets the count of lost workers.
        """
        require_move(before, after)
        # The update itself compares the state.
        # A comparison before it would be stale: another program may move the run between the two.
        change = update(RUNS).where(RUNS.c.id == run_id, RUNS.c.state == before.value)
        if after is RunState.QUEUED:
            change = change.values(losses=0, epochs_at_loss=0)
        return self._change(change.values(state=after.value, reason=reason, failure=failure)) == 1

    def end(self, claimed: QueuedRun, after: RunState, reason: str = "", failure: str | None = None) -> bool:
        """Move on a run that a worker has claimed; return whether the claim still held it.

        A second call with the same values returns the same: the answer to the first may have been lost.
        """
        require_move(RunState.RUNNING, after)
        values = {"state": after.value, "reason": reason, "failure": failure}
        if self._change(change_claimed(claimed).values(**values)) == 1:
            return True
        # No row has changed. Either the claim is lost, or the first call was carried out and its answer was lost: the
        # values tell. In SQL `NULL = NULL` is not true, and `failure` is NULL for a run that is done.
        has_values = [RUNS.c[name].is_not_distinct_from(value) for name, value in values.items()]
        ended = select(RUNS.c.id).where(RUNS.c.id == claimed.id, *is_held_by(claimed), *has_values)
        with self.engine.connect() as connection:
            return connection.scalar(ended) is not None

    def requeue_lost(self, claimed: QueuedRun, losses: int, num_epochs: int, reason: str) -> bool:
        """Let a run wait again whose worker is gone; return whether the claim still held it."""
        require_move(RunState.RUNNING, RunState.QUEUED)
        change = change_claimed(claimed).values(
            state=RunState.QUEUED.value, reason=reason, losses=losses, epochs_at_loss=num_epochs
        )
        return self._change(change) == 1

    def record(self, run_id: str, result: Result) -> None:
        """Write down the result of a run folder, whatever the row said before."""
        values = {"state": RunState(result.state).value, "reason": result.reason, "failure": result.failure}
        self._change(update(RUNS).where(RUNS.c.id == run_id).values(**values))

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the rows of some runs, whatever their state."""
        with self.engine.begin() as connection:
            connection.execute(delete(RUNS).where(self._is_among(ids)))

    def send_heartbeat(self, worker: Process) -> Heartbeat:
        """Record that a worker lives; return which runs it still holds, and whether it is asked to stop."""
        running = RUNS.c.state == RunState.RUNNING.value
        held = select(RUNS.c.id, RUNS.c.attempt).where(running, *is_of_worker(RUNS, worker))
        with self.engine.begin() as connection:
            is_asked_to_stop = self.workers.write_heartbeat(connection, worker)
            rows = connection.execute(held).all()
        # A claim may have reached the server late: its row is this worker's, and the next claim returns it.
        self._is_unsure = self._is_unsure or any((run_id, attempt) not in self._heard for run_id, attempt in rows)
        return Heartbeat(held=frozenset(run_id for run_id, _ in rows), is_asked_to_stop=is_asked_to_stop)

    def _change(self, change: Update) -> int:
        """Execute a change; return the number of changed rows."""
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount

    def _read_all(self, query: Select[Any]) -> list[QueuedRun]:
        with self.engine.connect() as connection:
            read = [self._read(row) for row in connection.execute(query)]
        return [row for row in read if row is not None]

    def _read(self, row: Row[Any]) -> QueuedRun | None:
        """Read a row; one that cannot be read is noted and skipped, since all other runs must go on."""
        try:
            return read_row(row)
        except ValueError as error:
            self.unreadable[row.id] = (
                f"{self.name}: the row of {row.id!r} cannot be read: {error}; another version of Knockout wrote it, or "
                "it is spoilt: `knockout rebuild` makes the queue again from the run folders"
            )
            return None


def open_store(paths: Paths, *, to_read: bool = False) -> Store:
    """Open the queue of a results folder; it is made where there is none.

    Args:
        paths: the campaign's folders.
        to_read: whether the caller only reads, so that a queue that cannot be written is good enough.

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
