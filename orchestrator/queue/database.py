"""Connections to the queue's database, SQLite or PostgreSQL. What the database refuses becomes a sentence."""

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
    Remedy,
    StoredContent,
    classify_refusal,
    describe_trouble,
    find_remedy,
    is_refusal,
    sqlite_code,
)
from orchestrator.runs.paths import DATABASE_VARIABLE

LOCK_SECONDS = 10.0
"""A statement of SQLite waits so long for another program's lock."""
LOCK_POLL_SECONDS = 0.01
"""Pause between two tries to switch a new file to its log."""
FOR_A_PERSON = (Remedy.BROKEN, Remedy.FULL, Remedy.NOT_WRITABLE)
"""Refusals that do not end by themselves: a person must act, even if the database has worked before."""
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""Allowed beginning of a database's URL -> driver."""
EFFECTIVE = os.access in os.supports_effective_ids
"""Whether `os.access` can check the rights of the effective user, who may differ from the real one."""
WANTED = "wanted is sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
NO_DRIVER = "PostgreSQL's driver is not installed; get it with `pip install 'knockout[postgresql]'`"


def are_never_changed(engine: Engine) -> bool:
    """Return False: the tables of this database are not checked."""
    return False


def connect(
    written: str, *, is_changed: Callable[[Engine], bool] = are_never_changed, only_reads: bool = False
) -> Engine:
    """Prepare connections to a database; the first is opened when it is needed.

    From then on, every statement raises QueueError if the database refuses. It raises QueueLockedError if the refusal
    passes, such as another program's lock, or a server that is away.

    Args:
        written: the URL of the database.
        is_changed: returns whether the tables were changed since they were made. It is called when a statement fails in
            SQLite with its general error.
        only_reads: whether a file of SQLite is opened for reading alone.

    Raises:
        QueueError: it is no URL, the database is not supported, or its driver is not installed.
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


def listen_for_refusals(
    engine: Engine, is_changed: Callable[[Engine], bool] = are_never_changed, content: StoredContent = QUEUE
) -> None:
    """Make an engine raise QueueError or QueueLockedError when its database refuses something."""
    refusals = _Refusals(is_changed, content)
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
        # pool_pre_ping tests a connection before each use: the server may have restarted meanwhile.
        engine = create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_timeout=LOCK_SECONDS)
    except ImportError:
        raise QueueError(f"{database_name(url)}: {NO_DRIVER}") from None
    event.listen(engine, "do_connect", open_bounded)
    return engine


def make_file(url: URL) -> None:
    """Make the file of a database with the rights that the umask leaves; SQLite would deny the group to write it."""
    if url.database and not url.database.startswith((":", "file:")):
        # If this fails, SQLite will say why. It gives the files beside this one the same rights.
        with contextlib.suppress(OSError):
            os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o666))


def connect_bounded(url: URL) -> Callable[[], DBAPIConnection]:
    """Return a function that connects to PostgreSQL as the queue does, for an engine of another library."""
    arguments, parameters = url.get_dialect()().create_connect_args(url)
    module = importlib.import_module("orchestrator.queue.postgresql")
    return lambda: module.open_connection(*arguments, **parameters)


def open_bounded(dialect: Dialect, record: ConnectionPoolEntry, arguments: Any, parameters: Any) -> DBAPIConnection:
    """Connect to PostgreSQL with a limit to every wait; a listener for SQLAlchemy's `do_connect`."""
    # Imported by name: with a queue in SQLite the driver need not be installed.
    module = importlib.import_module("orchestrator.queue.postgresql")
    connection: DBAPIConnection = module.open_connection(*arguments, **parameters)
    return connection


def _open_for_reading(file: str) -> sqlite3.Connection:
    """Open a file that cannot be written.

    To share it with writers, SQLite needs to write files beside it. If it cannot, the file is opened as one that never
    changes (`immutable`).
    """
    address = f"file:{quote(file)}?mode=ro"
    connection = _connect_for_reading(address)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
        return connection
    except sqlite3.OperationalError:
        connection.close()
        log = Path(f"{file}-wal")
        if log.exists() and log.stat().st_size:
            # An immutable file is read without its log, so the newest rows would be missing.
            raise
    return _connect_for_reading(f"{address}&immutable=1")


def _connect_for_reading(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS, check_same_thread=False)
    connection.text_factory = _decode
    return connection


def _decode(text: bytes) -> str:
    """Decode text; a sign replaces bytes that are no text, so that one spoilt field does not hide all rows."""
    return text.decode(errors="replace")


def _prepare_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.text_factory = _decode
    cursor = connection.cursor()
    # WAL: readers do not wait for writers. FULL: a commit is on the disk when it returns.
    _log_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _log_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch a file to its write-ahead log, which a new file needs once."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # If several programs make a new file, SQLite lets one switch it and refuses the others without a wait.
            if find_remedy(error) is not Remedy.LOCKED or time.monotonic() >= deadline:
                raise
        time.sleep(LOCK_POLL_SECONDS)


def is_read_only(written: str) -> bool:
    """Whether a URL names an existing file of SQLite that this process cannot write."""
    url = _parse(written)
    file = Path(url.database or "")
    try:
        if url.drivername != "sqlite" or not file.is_file():
            return False
    except OSError:  # opening it gives the reason
        return False
    # The folder counts too: SQLite makes files beside the database.
    return not all(os.access(path, os.W_OK, effective_ids=EFFECTIVE) for path in (file, file.parent))


def database_name(url: URL) -> str:
    """Return where a database is, without its password."""
    if url.drivername.startswith("sqlite"):
        return url.database or "memory"
    # The part behind the question mark may hold a password too.
    return url.set(query={}).render_as_string(hide_password=True)


@dataclass
class _Refusals:
    """Turns the refusals of one engine's database into sentences; an error in our own statement stays an error."""

    is_changed: Callable[[Engine], bool]
    content: StoredContent
    has_worked: bool = False
    """Whether something was written. From then on, even an unclear refusal counts as passing.

    So the jobs go on while somebody mends the database.
    """

    def note_work(self, connection: Connection) -> None:
        """Note that a transaction was written."""
        self.has_worked = True

    def refuse(self, context: ExceptionContext) -> None:
        """Raise an error with a sentence for a refusal.

        Raises:
            QueueError: the database refuses.
            QueueLockedError: the refusal passes.
        """
        error, engine = context.original_exception, context.engine
        if engine is None or context.is_pre_ping or not self._is_refusal(error, engine):
            return
        remedy = self._find_remedy(error, engine.url)
        waits = classify_refusal(error) is FaultKind.PASSES if not self.has_worked else remedy not in FOR_A_PERSON
        kind = QueueLockedError if waits and (self.has_worked or remedy is not Remedy.NO_LOCKS) else QueueError
        raise kind(describe_trouble(database_name(engine.url), str(error), remedy, self.content)) from None

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
    """Whether the file system of a folder refuses the locks that SQLite takes; SQLite would report "busy" for ever."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in NO_LOCKS
    return False
