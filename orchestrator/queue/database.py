"""Connections to the queue's database, SQLite or PostgreSQL, and what a person is told when it refuses."""

import contextlib
import fcntl
import importlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.engine import URL, Connection, Dialect, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.errors import NO_LOCKS, FaultKind, QueueError, QueueLockedError
from orchestrator.queue.troubles import (
    QUEUE,
    Kept,
    Remedy,
    describe_trouble,
    find_remedy,
    is_refusal,
    kind_of,
    sqlite_code,
)
from orchestrator.runs.paths import DATABASE_VARIABLE

LOCK_SECONDS = 10.0
"""How long a statement of SQLite waits for another program's lock."""
LOCK_POLL_SECONDS = 0.01
FOR_A_PERSON = (Remedy.BROKEN, Remedy.FULL, Remedy.NOT_WRITABLE)
"""What does not end by itself, also where the database has worked before."""
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""How the URL of a database may begin, and the driver that is meant."""
EFFECTIVE = os.access in os.supports_effective_ids
"""Whether the system can say what a process may do that has taken on another user's rights."""
WANTED = "wanted is sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
NO_DRIVER = "PostgreSQL's driver is not installed; get it with `pip install 'knockout[postgresql]'`"


def never(engine: Engine) -> bool:
    """Say that nobody has changed the tables."""
    return False


def connect(written: str, *, is_changed: Callable[[Engine], bool] = never, only_reads: bool = False) -> Engine:
    """Prepare connections to the database of a URL; the first is made when it is needed.

    Args:
        written: the URL.
        is_changed: asked where a statement fails in SQLite for no better reason: whether the tables are not as made.
        only_reads: whether a file of SQLite is opened for reading alone, since it cannot be written.

    Raises:
        QueueError: it is no URL, of a database that is not supported, or its driver is not installed. From then on,
            every statement raises it for what the database refuses, and QueueLockedError for what passes: another
            program's lock, a server that is away.
    """
    url = _parse(written)
    if url.drivername != "sqlite":
        engine = _connect_to_server(url)
    elif only_reads:
        engine = create_engine(url, creator=lambda: _open_for_reading(url.database or ""))
    else:
        make_file(url)
        engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, pool_timeout=LOCK_SECONDS)
        event.listen(engine, "connect", _prepare_sqlite)
    listen_for_refusals(engine, is_changed)
    return engine


def listen_for_refusals(engine: Engine, is_changed: Callable[[Engine], bool] = never, kept: Kept = QUEUE) -> None:
    """Let an engine raise QueueError or QueueLockedError for what its database refuses."""
    refusals = _Refusals(is_changed, kept)
    event.listen(engine, "commit", refusals.note_work)
    event.listen(engine, "handle_error", refusals.refuse)


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
    try:
        # A connection is tried before it is used again: the server may have been restarted meanwhile.
        engine = create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_timeout=LOCK_SECONDS)
    except ImportError:
        raise QueueError(f"{name_of(url)}: {NO_DRIVER}") from None
    event.listen(engine, "do_connect", open_bounded)
    return engine


def make_file(url: URL) -> None:
    """Make the file of a database as all files are made, by the user's umask; SQLite would keep a group out of it."""
    if url.database and not url.database.startswith((":", "file:")):
        # SQLite says why it cannot be made, and gives the files beside it the same rights.
        with contextlib.suppress(OSError):
            os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o666))


def connect_bounded(url: URL) -> Callable[[], DBAPIConnection]:
    """Return what connects to a PostgreSQL server as the queue does, for an engine that others make."""
    arguments, parameters = url.get_dialect()().create_connect_args(url)
    module = importlib.import_module("orchestrator.queue.postgresql")
    return lambda: module.open_connection(*arguments, **parameters)


def open_bounded(dialect: Dialect, record: ConnectionPoolEntry, arguments: Any, parameters: Any) -> DBAPIConnection:
    """Connect to PostgreSQL so that no wait is without an end; a listener for SQLAlchemy's `do_connect`."""
    # By name, so that nobody needs the driver who keeps the queue in SQLite.
    module = importlib.import_module("orchestrator.queue.postgresql")
    connection: DBAPIConnection = module.open_connection(*arguments, **parameters)
    return connection


def _open_for_reading(file: str) -> sqlite3.Connection:
    """Open a file that cannot be written; where SQLite cannot share it either, as one that nobody else writes."""
    address = f"file:{quote(file)}?mode=ro"
    connection = _connect_for_reading(address)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
        return connection
    except sqlite3.OperationalError:
        connection.close()
        log = Path(f"{file}-wal")
        if log.exists() and log.stat().st_size:
            # What the log holds would be left out.
            raise
    return _connect_for_reading(f"{address}&immutable=1")


def _connect_for_reading(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS, check_same_thread=False)
    connection.text_factory = _decode
    return connection


def _decode(text: bytes) -> str:
    """Read text as it is, with a sign for what is no text: one spoilt field must not hide all the rows."""
    return text.decode(errors="replace")


def _prepare_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.text_factory = _decode
    cursor = connection.cursor()
    # Readers do not wait for writers, and a commit is on the disk when it returns.
    _log_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _log_ahead(cursor: sqlite3.Cursor) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Of several that make a new file at once, SQLite lets one switch it and tells the others at once.
            if find_remedy(error) is not Remedy.LOCKED or time.monotonic() >= deadline:
                raise
        time.sleep(LOCK_POLL_SECONDS)


def is_read_only(written: str) -> bool:
    """Whether a URL names a file of SQLite that is there and that this process cannot write."""
    url = _parse(written)
    file = Path(url.database or "")
    try:
        if url.drivername != "sqlite" or not file.is_file():
            return False
    except OSError:  # whoever opens it says why it cannot be read
        return False
    # Beside the file, SQLite makes others.
    return not all(os.access(path, os.W_OK, effective_ids=EFFECTIVE) for path in (file, file.parent))


def name_of(url: URL) -> str:
    """Say where a database is, without a password."""
    if url.drivername.startswith("sqlite"):
        return url.database or "memory"
    # What follows the question mark may hold a password as well.
    return url.set(query={}).render_as_string(hide_password=True)


@dataclass
class _Refusals:
    """Turns what one engine's database refuses into sentences; a mistake in a statement of ours stays what it is."""

    is_changed: Callable[[Engine], bool]
    kept: Kept
    has_worked: bool = False
    """Whether something was written. From then on a refusal is waited for: whoever mends it finds the jobs at work."""

    def note_work(self, connection: Connection) -> None:
        self.has_worked = True

    def refuse(self, context: ExceptionContext) -> None:
        """Raise a sentence for a refusal.

        Raises:
            QueueError: the database refuses.
            QueueLockedError: it refuses just now.
        """
        error, engine = context.original_exception, context.engine
        if engine is None or context.is_pre_ping or not self._is_refusal(error, engine):
            return
        remedy = self._find_remedy(error, engine.url)
        waits = kind_of(error) is FaultKind.PASSES if not self.has_worked else remedy not in FOR_A_PERSON
        kind = QueueLockedError if waits and (self.has_worked or remedy is not Remedy.NO_LOCKS) else QueueError
        raise kind(describe_trouble(name_of(engine.url), str(error), remedy, self.kept)) from None

    def _is_refusal(self, error: BaseException, engine: Engine) -> bool:
        if is_refusal(error):
            return True
        return sqlite_code(error) == sqlite3.SQLITE_ERROR and self.is_changed(engine)

    def _find_remedy(self, error: BaseException, url: URL) -> Remedy:
        remedy = find_remedy(error)
        is_file = url.drivername.startswith("sqlite") and url.database
        if remedy is Remedy.LOCKED and is_file and has_no_locks(Path(url.database or "").parent):
            return Remedy.NO_LOCKS
        return remedy


def has_no_locks(folder: Path) -> bool:
    """Whether the file system of a folder refuses the locks that SQLite takes; it says "busy" then, for ever."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in NO_LOCKS
    return False
