"""What a database's refusal means: whether it passes, and what a person does about it. Pure; decided by code.

SQLite tells its codes, PostgreSQL its SQLSTATEs. The database's own words are shown, and nothing is read from them.
"""

import sqlite3
from enum import StrEnum

from msgspec import Struct

from orchestrator.errors import FaultKind, kind_of_sqlite, kind_of_sqlstate
from orchestrator.runs.paths import DATABASE_VARIABLE


class Remedy(StrEnum):
    """What a person does about a database that refuses."""

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


class Kept(Struct, frozen=True):
    """What is kept in a database."""

    what: str
    remedies: dict[Remedy, str] = {}
    """Where it is helped in another way than the queue is."""


QUEUE = Kept("the queue")
TRIALS = Kept(
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
"""What Optuna keeps."""
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
"""Extended codes of SQLite for locks and shared memory that the file system refuses."""
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
"""Primary code of SQLite -> what to do."""
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
"""SQLSTATE of PostgreSQL, or the class of two letters that it begins with -> what to do."""
CHANGED = frozenset({"3D000", "3F000", "42501", "42703", "42P01"})
"""SQLSTATEs that a statement without a mistake meets where somebody has changed the database under it."""
MISTAKES = frozenset({"DataError", "IntegrityError", "ProgrammingError"})
"""Of a driver's errors, those of a statement; the others come from the database and its machine (PEP 249)."""


def sqlite_code(error: BaseException) -> int | None:
    """Return the extended code of an error of SQLite; None for any other."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code


def is_refusal(error: BaseException) -> bool:
    """Whether an error comes from a database and its machine, and not of a mistake in a statement of ours.

    SQLite has one code, `SQLITE_ERROR`, for mistakes and for tables that are missing: it says no.
    """
    if sqlite_code(error) == sqlite3.SQLITE_ERROR:
        return False
    if getattr(error, "sqlstate", None) in CHANGED:
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "DatabaseError" in kinds and not kinds & MISTAKES


def kind_of(error: BaseException) -> FaultKind:
    """Classify what a database refuses by its code."""
    if isinstance(error, sqlite3.Error):
        return kind_of_sqlite(sqlite_code(error))
    return kind_of_sqlstate(getattr(error, "sqlstate", None))


def find_remedy(error: BaseException) -> Remedy:
    """Say what to do about a refusal, by its code."""
    if isinstance(error, sqlite3.Error):
        code = sqlite_code(error)
        if code in SQLITE_LOCKS:
            return Remedy.NO_LOCKS
        return Remedy.UNKNOWN if code is None else OF_SQLITE.get(code & 0xFF, Remedy.UNKNOWN)
    state: str = getattr(error, "sqlstate", None) or "08"
    return OF_SQLSTATE.get(state) or OF_SQLSTATE.get(state[:2], Remedy.UNKNOWN)


def describe_trouble(name: str, words: str, remedy: Remedy, kept: Kept = QUEUE) -> str:
    """Say that what is kept in a database cannot be used, in the database's own words, and what to do."""
    said = words.strip().splitlines()[0].rstrip(".;") if words.strip() else "it said nothing"
    return f"{name}: {kept.what} cannot be used: {said}; {kept.remedies.get(remedy, remedy)}"
