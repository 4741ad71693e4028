"""The errors that a user reads, and the one table of which faults pass by themselves."""

import errno
import os
import signal
import sys
from enum import StrEnum

REFUSED = 2
"""Exit status of a job that cannot be done as configured; the run failed, and would fail again."""
CHANGED = 65
"""Exit status of a job whose captures changed during training; nothing was saved since (EX_DATAERR of sysexits.h)."""
AWAY = 69
"""Exit status of a job after a system error that can pass; the run can continue (EX_UNAVAILABLE)."""
NO_SPACE = 74
"""Exit status of a job after a full disk; the run can continue (EX_IOERR)."""
HELD = 75
"""Exit status of a job whose folder another job holds or took over; the run can continue (EX_TEMPFAIL)."""
INTERRUPTED = 130
"""Exit status of a job after a request to stop; the run can continue."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space left on the device, in the user's quota, or under the limit of a file's size."""
OWN_DOING = (
    errno.E2BIG,
    errno.EBADF,
    errno.ECHILD,
    errno.EDOM,
    errno.EFAULT,
    errno.EILSEQ,
    errno.ENAMETOOLONG,
    errno.ENOEXEC,
    errno.ENOTTY,
    errno.ERANGE,
    errno.ESPIPE,
)
"""Errors that only a bug in the code causes. Any other number may come from the machine, and can pass."""


class KnockoutError(Exception):
    """Base of all errors for a user. The message says where, what was found, what is wanted and what to do next."""


class UsageError(KnockoutError):
    """The command line names something that does not exist."""


class SpecError(KnockoutError):
    """The campaign file is refused.

    Attributes:
        where: path of keys in the file; the loader puts file and line in front of the message.
    """

    def __init__(self, message: str, where: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.where = where


class DataError(KnockoutError):
    """Captures are missing, or do not fit the campaign."""


class CodeError(KnockoutError):
    """The repository is in a state that leaves open which code a run would execute."""


class RunError(KnockoutError):
    """A run folder cannot be read or written."""


class QueueError(KnockoutError):
    """The queue's database cannot be opened, read or written."""


class QueueLockedError(QueueError):
    """The queue cannot be used now, but later: another program has locked it, or its server is away."""


def find_system_error(error: BaseException | None) -> OSError | None:
    """Return the system error, with its number, that an error is or was caused by; None if there is none.

    If a write fails, torch's writer raises a `RuntimeError` about a position while it handles the system error.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        # The handled error is the cause only for torch's errors; for others it may have nothing to do with it.
        context = error.__context__ if isinstance(error, RuntimeError) and not error.__suppress_context__ else None
        error = error.__cause__ or context
    return None


def status_of(error: BaseException) -> int | None:
    """Return the exit status of a job after an error that can pass; None if the error is a bug of the code."""
    found = find_system_error(error)
    if found is None or found.errno in OWN_DOING:
        return None
    return NO_SPACE if found.errno in DISK_FULL else AWAY


def describe_system_error(error: OSError) -> str:
    """Return the system's message, after the file's name if there is one."""
    what = os.strerror(error.errno) if error.errno is not None else str(error)
    return f"{error.filename}: {what}" if error.filename is not None else what


WHAT_TO_DO = {
    errno.EACCES: "give this user the right to it, or name another place",
    errno.EPERM: "give this user the right to it, or name another place",
    errno.EROFS: "it can only be read; work in a folder that can be written",
    errno.EEXIST: "something else has that name; rename or remove it",
    errno.ENOTDIR: "a part of that path is a file and must be a folder; rename or remove it",
    errno.EISDIR: "it is a folder and must be a file; rename or remove it",
    errno.ENOENT: "it, or the folder that holds it, is not there; make it, or name another place",
    errno.ENOTEMPTY: "the folder holds something else; name another place",
    errno.ELOOP: "its links lead in a circle; mend them",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EMFILE: "allow this user more open files (`ulimit -n`)",
    errno.ENFILE: "the machine has no more open files to give; close some programs",
    errno.ENOMEM: "the machine has no memory left; close some programs",
    errno.ENOLCK: "files cannot be locked there; work on a file system with locks",
    errno.ENOSYS: "the file system cannot do that; work on another one",
    errno.ENOTSUP: "the file system cannot do that; work on another one",
    errno.ESTALE: "the server of this folder has lost it; mount it again",
    errno.EIO: "the disk or its connection fails; look at the machine's log",
    errno.EAGAIN: "try again; more processes or memory may be needed (`ulimit -u`)",
    errno.ENXIO: "it is no ordinary file; rename or remove it",
}
"""Number of a system error -> what the user can do."""
FREE_SPACE = "free some space, or raise the limit"
OTHERWISE = "mend that, and run the command again"


def explain_os_error(error: OSError) -> str:
    """Return a sentence: what the system refused, where, and what to do."""
    advice = FREE_SPACE if error.errno in DISK_FULL else WHAT_TO_DO.get(error.errno or 0, OTHERWISE)
    second = f" -> {error.filename2}" if error.filename2 is not None else ""
    # An error that Python raises itself, such as for a folder of temporary files, has words but no file name.
    what = describe_system_error(error) if error.filename is not None else error.strerror or str(error)
    return f"{what}{second}; {advice}"


EXTRAS = {
    "fla": "studies",
    "h5py": "studies",
    "liger_kernel": "studies",
    "torch": "studies",
    "transformers": "studies",
    "triton": "studies",
    "psycopg": "postgresql",
    "pyarrow": "parquet",
    "tensorboard": "tensorboard",
}
"""Package that only some users need -> the extra that brings it."""


def explain_missing_module(name: str) -> str:
    """Return a sentence on a module of a package that this Python has not, and what to do."""
    if extra := EXTRAS.get(name.partition(".")[0]):
        return (
            f"the module `{name}` is not installed for {sys.executable}; `pip install 'knockout[{extra}]'` brings it, "
            "and so does `make setup` in the project's folder"
        )
    return (
        f"the module `{name}` is not installed for {sys.executable}; run `make setup` in the project's folder and use "
        "its .venv/bin/knockout; for a machine without a network, `make gpu` gathers packages elsewhere"
    )


class FaultKind(StrEnum):
    """The meaning of an error, or of a job's end, for a run."""

    PASSES = "passes"
    """The fault ends by itself: wait and try again."""
    INTERRUPTS = "interrupts"
    """A person must act, or the cause is unknown: stop; the run can go on later."""
    OWN_DOING = "own_doing"
    """The run itself is the cause, so it would happen again: the run has failed."""


UNKNOWN_STATUS = 256
"""Stands for an unknown exit status of a job; no process can end with it."""
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
"""Errors of file systems and networks that end by themselves."""
NO_LOCKS = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors by which a file system says that it has no locks. On a network file system, ENOLCK can also pass."""
OWN_SIGNALS = frozenset({signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP})
"""Signals that a process causes itself. SIGBUS is not among them: it also comes if a mapped file is cut short."""
STATUSES_THAT_GO_ON = frozenset({AWAY, CHANGED, HELD, INTERRUPTED, NO_SPACE})
"""Exit statuses by which a job says that it can go on later."""
# Numbers, not names: every command imports this module, and the module `sqlite3` would delay `knockout --help`.
SQLITE_BUSY, SQLITE_LOCKED, SQLITE_NOMEM, SQLITE_IOERR, SQLITE_PROTOCOL = 5, 6, 7, 10, 15
PASSING_SQLITE_CODES = frozenset({SQLITE_BUSY, SQLITE_LOCKED, SQLITE_NOMEM, SQLITE_IOERR, SQLITE_PROTOCOL})
"""Primary codes of SQLite for another program's lock, and for a refusal of the system that passes."""
PASSING_SQLSTATE_CLASSES = frozenset({"08", "40", "53", "57", "58"})
"""Classes of SQLSTATEs that pass: connection, rollback, resources, operator intervention, system error."""
PASSING_SQLSTATES = frozenset({"25006", "25P03", "55006", "55P03"})
"""SQLSTATEs that pass beside these classes: a standby server that only reads, an object in use, limits of time."""


def kind_of_errno(number: int | None) -> FaultKind:
    """Classify a system error by its number; None stands for an unknown one."""
    if number in PASSING_ERRNOS:
        return FaultKind.PASSES
    return FaultKind.OWN_DOING if number in OWN_DOING else FaultKind.INTERRUPTS


def kind_of_status(status: int) -> FaultKind:
    """Classify the end of a job that left no result.

    Args:
        status: its exit status, or minus the number of the signal that ended it.
    """
    if status < 0:
        return FaultKind.OWN_DOING if -status in OWN_SIGNALS else FaultKind.INTERRUPTS
    # Any other status comes from the job's own code, such as 1 for an uncaught error.
    return FaultKind.INTERRUPTS if status in (*STATUSES_THAT_GO_ON, UNKNOWN_STATUS) else FaultKind.OWN_DOING


def kind_of_sqlite(code: int | None) -> FaultKind:
    """Classify an error of SQLite by its primary or extended code; None stands for an unknown one."""
    is_passing = code is not None and code & 0xFF in PASSING_SQLITE_CODES
    return FaultKind.PASSES if is_passing else FaultKind.INTERRUPTS


def kind_of_sqlstate(state: str | None) -> FaultKind:
    """Classify an error of PostgreSQL by its SQLSTATE; an error of the connection has none and passes."""
    if state is None or state in PASSING_SQLSTATES or state[:2] in PASSING_SQLSTATE_CLASSES:
        return FaultKind.PASSES
    return FaultKind.INTERRUPTS
