"""The queue's two tables: their columns, and how they are made, checked and removed."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table, TypeDecorator, inspect
from sqlalchemy.engine import Dialect, Engine

from orchestrator.errors import QueueError
from orchestrator.queue.database import connect, database_name


class Words(TypeDecorator[str]):
    """Text of a job's log. No database takes NUL or half a surrogate pair, so a sign is stored in their place."""

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
    Column("seed", BigInteger, nullable=False),
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
COLUMNS = {name: set(table.columns.keys()) for name, table in METADATA.tables.items()}
"""Table -> its columns in this version."""
CREATION_LOCK = 0x6B6E6F636B6F7574
"""Number of PostgreSQL's advisory lock for making the tables: `knockout` in ASCII."""


def make_tables(engine: Engine, *, only_reads: bool) -> None:
    """Make the tables that are missing.

    Args:
        engine: the database.
        only_reads: whether it cannot be written; then nothing is made.

    Raises:
        QueueError: a table is of another version, or the database refuses.
    """
    found = find_columns(engine)
    if any(found.get(name, columns) != columns for name, columns in COLUMNS.items()):
        raise QueueError(
            f"{database_name(engine.url)}: the queue was made by another version of Knockout; end what uses it, then "
            "`knockout rebuild` makes it again from the run folders"
        )
    if not found.keys() >= COLUMNS.keys() and not only_reads:
        is_sqlite = engine.dialect.name == "sqlite"
        with engine.begin() as connection:
            # One program makes the tables and the others wait: two at once would both find them missing.
            connection.exec_driver_sql(
                "BEGIN IMMEDIATE" if is_sqlite else f"SELECT pg_advisory_xact_lock({CREATION_LOCK})"
            )
            METADATA.create_all(connection)


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


def are_tables_changed(engine: Engine) -> bool:
    """Whether the tables of a database are no longer those of this version."""
    found = find_columns(engine)
    return any(found.get(name) != columns for name, columns in COLUMNS.items())


def find_columns(engine: Engine) -> dict[str, set[str]]:
    """Return the columns of each table that a database has."""
    found = inspect(engine).get_multi_columns().items()
    return {name: {column["name"] for column in columns} for (_, name), columns in found}
