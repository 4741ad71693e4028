"""The meaning of a database's refusal: whether it passes, and what a person can do. Pure.

Only codes decide: SQLite's error codes and PostgreSQL's SQLSTATEs. The database's words are shown to the person and
never interpreted: they depend on the version and the language.
"""

import sqlite3
from enum import StrEnum

from msgspec import Struct

from orchestrator.errors import FaultKind, kind_of_sqlite, kind_of_sqlstate
from orchestrator.runs.paths import DATABASE_VARIABLE


class Remedy(StrEnum):
    """What a person can do about a refusal."""

    LOCKED = "another program holds it; end that one and try again"
    SLOW = "it took too long to answer; try again when its server is less busy"
    BROKEN = "`knockout rebuild` makes it again from the run folders"
    NOT_WRITABLE = "it cannot be written; give the user who runs Knockout the right to"
    FULL = "free some space and run again"
    DISK = "its disk or file system gives errors; see the machine's log, and run again once that is mended"
    NO_LOCKS = (
        "its file system has no locks, or no shared memory, which SQLite needs; put the queue on a local disk with "
        f"{DATABASE_VARIABLE}=sqlite:////FOLDER/knockout.db, or into PostgreSQL"
    )
    CROWDED = "its server has no connection or memory left; end other programs that use it, and try again"
    UNREACHED = (
        f"see that it can be reached, and that {DATABASE_VARIABLE} names the right server, user, password and "
        "database; results are in the run folders and safe"
    )
    UNKNOWN = "see that it can be used; results are in the run folders and safe"


class StoredContent(Struct, frozen=True):
    """The content of a database, for messages."""

    what: str
    remedies: dict[Remedy, str] = {}
    """Remedies that differ from those of the queue."""


QUEUE = StoredContent("the queue")
TRIALS = StoredContent(
    "the trials",
    {
        Remedy.BROKEN: "move it away: the next search begins anew, and takes the runs that are there already",
        Remedy.NO_LOCKS: (
            "its file system has no locks, or no shared memory, which SQLite needs; keep the trials on a local disk "
            "with --storage sqlite:////FOLDER/trials.db, or in PostgreSQL"
        ),
        Remedy.UNREACHED: (
            "see that it can be reached, and that --storage names the right server, user, password and database; "
            "results are in the run folders and safe"
        ),
    },
)
"""The trials of searches, which Optuna writes."""
SQLITE_LOCKS = frozenset(
    {
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_UNLOCK,
    }
)
"""Extended codes of SQLite: the file system refuses locks or shared memory."""
OF_SQLITE = {
    sqlite3.SQLITE_AUTH: Remedy.NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: Remedy.LOCKED,
    sqlite3.SQLITE_CANTOPEN: Remedy.NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: Remedy.BROKEN,
    sqlite3.SQLITE_ERROR: Remedy.BROKEN,
    sqlite3.SQLITE_FORMAT: Remedy.BROKEN,
    sqlite3.SQLITE_FULL: Remedy.FULL,
    sqlite3.SQLITE_IOERR: Remedy.DISK,
    sqlite3.SQLITE_LOCKED: Remedy.LOCKED,
    sqlite3.SQLITE_NOTADB: Remedy.BROKEN,
    sqlite3.SQLITE_PERM: Remedy.NOT_WRITABLE,
    sqlite3.SQLITE_PROTOCOL: Remedy.LOCKED,
    sqlite3.SQLITE_READONLY: Remedy.NOT_WRITABLE,
    sqlite3.SQLITE_SCHEMA: Remedy.BROKEN,
}
"""Primary code of SQLite -> remedy."""
OF_SQLSTATE = {
    "08": Remedy.UNREACHED,
    "25": Remedy.NOT_WRITABLE,
    "25P03": Remedy.SLOW,
    "28": Remedy.UNREACHED,
    "3D": Remedy.UNREACHED,
    "3F": Remedy.BROKEN,
    "40": Remedy.LOCKED,
    "42501": Remedy.NOT_WRITABLE,
    "42703": Remedy.BROKEN,
    "42P01": Remedy.BROKEN,
    "53": Remedy.CROWDED,
    "53100": Remedy.FULL,
    "55": Remedy.LOCKED,
    "57": Remedy.UNREACHED,
    "57014": Remedy.SLOW,
    "58": Remedy.DISK,
    "58030": Remedy.DISK,
    "XX": Remedy.BROKEN,
}
"""SQLSTATE of PostgreSQL, or its class (the first two letters) -> remedy."""
CHANGED = frozenset({"3D000", "3F000", "42501", "42703", "42P01"})
"""SQLSTATEs of a correct statement if somebody has changed the database meanwhile, such as dropped a table."""
MISTAKES = frozenset({"DataError", "IntegrityError", "ProgrammingError"})
"""Errors of a driver for a wrong statement; its other errors come from the database and its machine (PEP 249)."""


def sqlite_code(error: BaseException) -> int | None:
    """Return the extended code of an error of SQLite; None for any other error."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code


def is_refusal(error: BaseException) -> bool:
    """Whether an error comes from the database or its machine, and not from a wrong statement of Knockout.

    SQLite has one code, `SQLITE_ERROR`, for wrong statements and for missing tables: False for both.
    """
    if sqlite_code(error) == sqlite3.SQLITE_ERROR:
        return False
    if getattr(error, "sqlstate", None) in CHANGED:
        return True
    # By name, because drivers share no class of errors, and psycopg need not be installed.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "DatabaseError" in kinds and not kinds & MISTAKES


def classify_refusal(error: BaseException) -> FaultKind:
    """Classify a refusal by its code: whether it passes."""
    if isinstance(error, sqlite3.Error):
        return kind_of_sqlite(sqlite_code(error))
    return kind_of_sqlstate(getattr(error, "sqlstate", None))


def find_remedy(error: BaseException) -> Remedy:
    """Return the remedy for a refusal, by its code."""
    if isinstance(error, sqlite3.Error):
        code = sqlite_code(error)
        if code in SQLITE_LOCKS:
            return Remedy.NO_LOCKS
        # The low byte of an extended code is its primary code.
        # Example: SQLITE_IOERR_WRITE is 778, and 778 & 255 is 10, SQLITE_IOERR.
        return Remedy.UNKNOWN if code is None else OF_SQLITE.get(code & 0xFF, Remedy.UNKNOWN)
    # Without a code no server has answered, so the connection failed. A whole code comes before its class: `25P03` is a
    # transaction that was idle for too long, other codes of class `25` refuse to write.
    state: str = getattr(error, "sqlstate", None) or "08"
    return OF_SQLSTATE.get(state) or OF_SQLSTATE.get(state[:2], Remedy.UNKNOWN)


def describe_trouble(name: str, words: str, remedy: Remedy, content: StoredContent = QUEUE) -> str:
    """Return a sentence: which database cannot be used, what it said, and what to do.

    Args:
        name: where the database is.
        words: what it said; only the first line is shown.
        remedy: what to do.
        content: what it holds.
    """
    said = words.strip().splitlines()[0].rstrip(".;") if words.strip() else "it said nothing"
    return f"{name}: {content.what} cannot be used: {said}; {content.remedies.get(remedy, remedy)}"
