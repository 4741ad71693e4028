"""Connections to PostgreSQL that never wait without an end. Loaded only where such a URL is given: psycopg is optional.

A network that drops packets answers nothing at all, and the system's own patience with it lasts for many minutes. So
the server is told how long a statement may take, the system how long a packet may be on its way, and a connection that
stays silent for longer than both is closed.
"""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

LOCK_SECONDS = 5.0
"""How long a statement waits for another program's lock, and an opening for a server's answer."""
STATEMENT_SECONDS = 6.0
"""How long a statement may take."""
SILENCE_SECONDS = 7.0
"""A connection is closed after so long without an answer: longer than the server takes to refuse a statement."""
IDLE_SECONDS = 30.0
"""The server undoes a transaction whose program says nothing for so long, and frees the rows that it has locked."""
PACKETS = {"keepalives_idle": 3, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 7000}
"""Parameters of libpq: when the system gives up a connection whose packets are lost."""
CHECK_SECONDS = 0.1

Answer = TypeVar("Answer")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server says nothing for `SILENCE_SECONDS`."""

    def wait(self, gen: PQGen[Answer], interval: float = CHECK_SECONDS, timeout: float | None = None) -> Answer:
        """Wait for an answer, but not for ever.

        Raises:
            OperationalError: the server has said nothing for too long, and the connection is closed.
        """
        return super().wait(self._watched(gen), interval)

    def _watched(self, gen: PQGen[Answer]) -> PQGen[Answer]:
        """Pass on what `gen` waits for; psycopg sends `Ready.NONE` where nothing has come."""
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
    """Connect with limits to every wait; what the URL says goes before them.

    Raises:
        psycopg.Error: the server refuses, or does not answer.
    """
    patience = {"connect_timeout": max(1, round(LOCK_SECONDS)), **PACKETS}
    connection = BoundedConnection.connect(*arguments, **(patience | parameters))
    try:
        connection.execute(
            f"SET lock_timeout = {_milliseconds(LOCK_SECONDS)}; "
            f"SET statement_timeout = {_milliseconds(STATEMENT_SECONDS)}; "
            f"SET idle_in_transaction_session_timeout = {_milliseconds(IDLE_SECONDS)}"
        )
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
