"""The exit statuses of a job, and the system errors that can pass by themselves. No torch.

The job chooses its exit status by this table, and the orchestrator reads the status by the same table.
"""

import errno
import os

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
