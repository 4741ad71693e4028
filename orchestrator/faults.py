"""The one table of what an error or an ending means for a run. Pure; decided by class and number, never by words.

A run has failed only where the error is known to be its own doing and would come again. What can pass is waited for.
What nobody knows interrupts: the run keeps its epochs and goes on later.
"""

import errno
import signal
import sqlite3
from enum import StrEnum

from model import endings


class FaultKind(StrEnum):
    """What an error or an ending means for a run."""

    PASSES = "passes"
    """It ends by itself: wait, and try again."""
    INTERRUPTS = "interrupts"
    """It needs a person, or nobody knows: stop here, the run can go on."""
    OWN_DOING = "own_doing"
    """The run's own doing, which would come again: the run has failed."""


UNKNOWN_STATUS = 256
"""Stands for the exit status of a job of which nobody can tell how it ended; no process ends with it."""
PASSING_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOLCK,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Errors of the file system and the network that end by themselves."""
NO_LOCKS = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors by which a file system says that it has no locks; the network's own, ENOLCK, can pass as well."""
OWN_SIGNALS = frozenset({signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP})
"""Signals that a process brings on itself. SIGBUS is none of them: a file that was cut short sends it as well."""
STATUSES_THAT_GO_ON = frozenset({endings.AWAY, endings.CHANGED, endings.HELD, endings.INTERRUPTED, endings.NO_SPACE})
"""Exit statuses by which a job says that it can go on."""
PASSING_SQLITE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary codes of SQLite for another program's lock, and for what the system refuses just now."""
PASSING_SQLSTATE_CLASSES = frozenset({"08", "40", "53", "57", "58"})
"""PostgreSQL's classes: connection, rollback, resources, operator intervention, system error."""
PASSING_SQLSTATES = frozenset({"25006", "25P03", "55006", "55P03"})
"""Beside these classes: a server that only reads just now (it is a standby), an object in use, limits of time."""


def kind_of_errno(number: int | None) -> FaultKind:
    """Classify an error of the system by its number; without one nobody knows."""
    if number in PASSING_ERRNOS:
        return FaultKind.PASSES
    return FaultKind.OWN_DOING if number in endings.OWN_DOING else FaultKind.INTERRUPTS


def kind_of_status(status: int) -> FaultKind:
    """Classify how a job ended that left no result: its exit status, or minus the number of a signal."""
    if status < 0:
        return FaultKind.OWN_DOING if -status in OWN_SIGNALS else FaultKind.INTERRUPTS
    # Any other status is what the job's own code ended with, such as 1 for an error that nothing caught.
    return FaultKind.INTERRUPTS if status in (*STATUSES_THAT_GO_ON, UNKNOWN_STATUS) else FaultKind.OWN_DOING


def kind_of_sqlite(code: int | None) -> FaultKind:
    """Classify an error of SQLite by its code, extended or not; without one nobody knows."""
    is_passing = code is not None and code & 0xFF in PASSING_SQLITE_CODES
    return FaultKind.PASSES if is_passing else FaultKind.INTERRUPTS


def kind_of_sqlstate(state: str | None) -> FaultKind:
    """Classify an error of PostgreSQL by its SQLSTATE; an error of the connection has none, and passes."""
    if state is None or state in PASSING_SQLSTATES or state[:2] in PASSING_SQLSTATE_CLASSES:
        return FaultKind.PASSES
    return FaultKind.INTERRUPTS
