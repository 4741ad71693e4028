"""Connections to the queue's database, SQLite or PostgreSQL, and what a person is told when it refuses."""

import sqlite3
import time

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.engine import URL, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.errors import QueueError, QueueLockedError
from orchestrator.layout import DATABASE_VARIABLE

LOCK_SECONDS = 10.0
"""How long a statement waits for another program's lock, and an opening for a server's answer."""
LOCK_POLL_SECONDS = 0.01
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""How the URL of a database may begin, and the driver that is meant."""
WANTED = "wanted is sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
NO_DRIVER = "PostgreSQL's driver is not installed; get it with `pip install 'knockout[postgresql]'`"
MISTAKES = {"ProgrammingError", "IntegrityError", "DataError"}
"""Of a driver's errors, those of a statement; the others come from the database and its machine (PEP 249)."""
CHANGED = ("no such table", "does not exist", "permission denied")
"""What a statement without a mistake meets where somebody has changed the database under it."""
LOCKED = ("is locked", "lock timeout", "deadlock detected")
AWAY = ("connection failed", "server closed the connection", "terminating connection", "connection is lost")
"""What is said of a server that is being restarted, or behind a network that is down."""
BROKEN = ("malformed", "not a database", "no such table", "relation ", "disk I/O", "Could not decode")
NOT_WRITABLE = ("readonly", "read-only", "unable to open", "permission denied")
FULL = ("is full", "No space left")


def connect(written: str) -> Engine:
    """Prepare connections to the database of a URL; the first is made when it is needed.

    Raises:
        QueueError: it is no URL, of a database that is not supported, or its driver is not installed. From then on,
            every statement raises it for what the database refuses, and QueueLockedError for what passes: another
            program's lock, a server that is away.
    """
    url = _parse(written)
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        engine = _connect_to_server(url)
        event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "handle_error", _refuse)
    return engine


def _parse(written: str) -> URL:
    # The text may hold a password, and is not repeated.
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        raise QueueError(f"{DATABASE_VARIABLE}: this is no URL of a database; {WANTED}") from None
    if url.drivername not in DRIVERS:
        raise QueueError(f"{DATABASE_VARIABLE}: the queue cannot be kept in {url.drivername}; {WANTED}")
    return url.set(drivername=DRIVERS[url.drivername])


def _connect_to_server(url: URL) -> Engine:
    patience = {} if "connect_timeout" in url.query else {"connect_timeout": max(1, round(LOCK_SECONDS))}
    try:
        # A connection is tried before it is used again: the server may have been restarted meanwhile.
        return create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=patience)
    except ImportError:
        raise QueueError(f"{name_of(url)}: {NO_DRIVER}") from None


def _prepare_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Readers do not wait for writers, and a commit is on the disk when it returns.
    _log_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _log_ahead(cursor: DBAPICursor) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Of several that make a new file at once, SQLite lets one switch it and tells the others at once.
            if not _says(str(error), LOCKED) or time.monotonic() >= deadline:
                raise
        time.sleep(LOCK_POLL_SECONDS)


def _prepare_postgresql(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {round(LOCK_SECONDS * 1000)}")
    cursor.close()
    connection.commit()


def name_of(url: URL) -> str:
    """Say where a database is, without a password."""
    if url.drivername == "sqlite":
        return url.database or "memory"
    # What follows the question mark may hold a password as well.
    return url.set(query={}).render_as_string(hide_password=True)


def _refuse(context: ExceptionContext) -> None:
    """Turn what a database refuses into a sentence; a mistake in a statement of ours stays what it is."""
    error = context.original_exception
    if context.engine is not None and not context.is_pre_ping and _is_refusal(error):
        kind = QueueLockedError if _says(str(error), (*LOCKED, *AWAY)) else QueueError
        raise kind(describe_trouble(name_of(context.engine.url), str(error))) from None


def _is_refusal(error: BaseException) -> bool:
    if _says(str(error), CHANGED):
        return True
    # SQLite tells of a mistake in a statement by this number, not by the kind of error.
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return False
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "DatabaseError" in kinds and not kinds & MISTAKES


def _says(words: str, any_of: tuple[str, ...]) -> bool:
    return any(part in words for part in any_of)


def describe_trouble(name: str, words: str) -> str:
    """Say what to do about a database that refuses, by its own words. Pure."""
    said = words.strip().splitlines()[0] if words.strip() else "it said nothing"
    if _says(said, LOCKED):
        how = "another program holds it; end that one and try again"
    elif _says(said, BROKEN):
        how = "`knockout rebuild` makes it again from the run folders"
    elif _says(said, NOT_WRITABLE):
        how = "it cannot be written; give the user who runs Knockout the right to"
    elif _says(said, FULL):
        how = "free some space and run again"
    else:
        how = "see that it can be reached; results are in the run folders and safe"
    return f"{name}: the queue cannot be used: {said}; {how}"
