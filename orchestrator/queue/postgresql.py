"""Connections to PostgreSQL with a limit to every wait. Loaded only for such a URL: psycopg is optional.

A network that drops packets gives no answer at all, and the system itself waits for many minutes. So there are three
limits. The server ends a statement that takes too long. The system closes a connection whose packets are lost. This
process closes a connection that is silent for longer than both.
"""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

# 5 s for a lock, 6 s for a statement, 7 s for silence. The first limit that is reached names the cause most exactly, so
# a wait for a lock is never reported as a dead server.
LOCK_SECONDS = 5.0
"""A statement waits so long for another program's lock, and a new connection for the server's answer."""
STATEMENT_SECONDS = 6.0
"""The server ends a statement that takes longer."""
SILENCE_SECONDS = 7.0
"""A connection is closed after so long without an answer. A living server has ended the statement before."""
IDLE_SECONDS = 30.0
"""The server rolls back a transaction whose program is silent for so long, and releases its locks."""
PACKETS = {"keepalives_idle": 3, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 7000}
"""Parameters of libpq: when the system closes a connection whose packets are lost."""
CHECK_SECONDS = 0.1
"""Pause between two looks at a silent connection."""

Answer = TypeVar("Answer")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes itself after `SILENCE_SECONDS` without an answer."""

    def wait(self, gen: PQGen[Answer], interval: float = CHECK_SECONDS, timeout: float | None = None) -> Answer:
        """Wait for an answer, at most for `SILENCE_SECONDS`.

        Raises:
            OperationalError: the server was silent for too long, and the connection is closed.
        """
        return super().wait(self._watched(gen), interval)

    def _watched(self, gen: PQGen[Answer]) -> PQGen[Answer]:
        """Pass on what `gen` waits for, and measure the silence; psycopg sends `Ready.NONE` if nothing has arrived."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready is not Ready.NONE and ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE_SECONDS:
                    self.close()
                    raise psycopg.OperationalError(f"the server has said nothing for {SILENCE_SECONDS:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def open_connection(*arguments: Any, **parameters: Any) -> BoundedConnection:
    """Connect with a limit to every wait; parameters in the URL override the limits.

    Raises:
        psycopg.Error: the server refuses, or does not answer in time.
    """
    patience = {"connect_timeout": max(1, round(LOCK_SECONDS)), **PACKETS}
    connection = BoundedConnection.connect(*arguments, **(patience | parameters))
    try:
        connection.execute(
            f"SET lock_timeout = {_milliseconds(LOCK_SECONDS)}; "
            f"SET statement_timeout = {_milliseconds(STATEMENT_SECONDS)}; "
            f"SET idle_in_transaction_session_timeout = {_milliseconds(IDLE_SECONDS)}"
        )
        # Without a commit PostgreSQL would undo these settings at the first rollback.
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
