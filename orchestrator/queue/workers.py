"""The workers of a queue: which of them live, who is asked to stop, and who is forgotten.

A worker writes a heartbeat into its row every few seconds. A process of this machine is looked up; a worker of another
machine is presumed dead once its last heartbeat is older than a lease. Only the database's clock counts: machines may
disagree about the time.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine

from orchestrator.processes import Process, uptime_seconds
from orchestrator.queue.rows import is_of_worker, read_worker, worker_values
from orchestrator.queue.tables import WORKERS

LEASE_SECONDS = 300.0
"""A worker of another machine is presumed dead after so many seconds without a heartbeat."""
NAMESAKE_SECONDS = 30.0
"""A worker of this host's name and another boot is presumed dead after so many seconds: six heartbeats."""
FORGET_LEASES = 10
"""The row of a worker is deleted after so many leases without a heartbeat."""


class Workers:
    """The table of workers.

    Args:
        engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        is_sqlite = engine.dialect.name == "sqlite"
        self._insert = sqlite.insert if is_sqlite else postgresql.insert
        # Seconds since 1970 by the database's clock: SQLite counts days since noon of 24 November 4714 BC.
        self._now: ColumnElement[Any] = (
            (func.julianday("now") - 2440587.5) * 86400.0
            if is_sqlite
            else func.extract("epoch", func.clock_timestamp())
        )

    def write_heartbeat(self, connection: Connection, worker: Process) -> bool:
        """Write a worker's heartbeat, and delete the rows of workers that are gone; return whether it must stop."""
        row = self._insert(WORKERS).values(**worker_values(worker), heartbeat=self._now, is_asked_to_stop=False)
        connection.execute(
            # Only the heartbeat is overwritten. A request to stop, which somebody else wrote, stays in the row.
            row.on_conflict_do_update(index_elements=["host", "pid", "born"], set_={"heartbeat": self._now})
        )
        self._forget_gone(connection)
        asked = select(WORKERS.c.is_asked_to_stop).where(*is_of_worker(WORKERS, worker))
        return bool(connection.scalar(asked))

    def _forget_gone(self, connection: Connection) -> None:
        """Delete the rows of workers that left without dismissing themselves.

        A dead process of this machine goes after one lease, any other worker after `FORGET_LEASES`.
        """
        # One lease is too early. A worker that has only lost the network needs its row: it may hold a request to stop.
        connection.execute(delete(WORKERS).where(self._now - WORKERS.c.heartbeat > FORGET_LEASES * LEASE_SECONDS))
        for worker, age in self._read_all(connection):
            if worker.is_here and age > LEASE_SECONDS and not worker.is_alive:
                connection.execute(delete(WORKERS).where(*is_of_worker(WORKERS, worker)))

    def list_living(self) -> list[Process]:
        """Return the workers that live, as far as this machine can tell."""
        with self.engine.connect() as connection:
            known = self._read_all(connection)
        return [worker for worker, age in known if is_believed_alive(worker, age)]

    def _read_all(self, connection: Connection) -> list[tuple[Process, float]]:
        """Return every worker with the age of its last heartbeat in seconds."""
        age = (self._now - WORKERS.c.heartbeat).label("age")
        rows = connection.execute(select(WORKERS.c.host, WORKERS.c.pid, WORKERS.c.born, age))
        return [worker for row in rows if (worker := read_worker(*row)) is not None]

    def dismiss(self, worker: Process) -> None:
        """Delete the row of a worker that leaves, or is gone."""
        with self.engine.begin() as connection:
            connection.execute(delete(WORKERS).where(*is_of_worker(WORKERS, worker)))

    def ask_to_stop(self, workers: Iterable[Process]) -> None:
        """Ask workers to finish their epochs and leave; each learns it with its next heartbeat."""
        for worker in workers:
            with self.engine.begin() as connection:
                # One row a transaction: two programs that lock several rows in different orders wait for each other.
                connection.execute(update(WORKERS).where(*is_of_worker(WORKERS, worker)).values(is_asked_to_stop=True))


def is_believed_alive(worker: Process, age_seconds: float) -> bool:
    """Decide whether a worker lives. One of this machine is looked up; any other must send heartbeats.

    A worker of this host's name and another boot ran before this machine restarted, or runs on a namesake. In the
    first case its last heartbeat is older than this boot. A namesake that lives sends heartbeats since then.

    Args:
        worker: the process.
        age_seconds: of its last heartbeat, by the database's clock.
    """
    if worker.is_here:
        return worker.is_alive
    if not worker.is_of_earlier_boot:
        return age_seconds < LEASE_SECONDS
    # Example: this machine booted 40 s ago. A worker from before the restart is silent for longer than 40 s, so it is
    # gone. Right after a boot the limit is 30 s: a shorter one could presume a namesake dead that is only late.
    return age_seconds < min(LEASE_SECONDS, max(NAMESAKE_SECONDS, uptime_seconds()))
