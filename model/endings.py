"""How a job tells its ending, and which errors of the system can pass. No torch.

The job picks its exit status by this table. `orchestrator.errors` reads it from the other side.
"""

import errno
import os

REFUSED = 2
"""Exit status of a job that cannot be done as asked; the run failed, and would fail again."""
CHANGED = 65
"""Exit status of a job whose captures changed while it trained; it saved nothing since (EX_DATAERR of sysexits.h)."""
AWAY = 69
"""Exit status of a job that met an error of the system which can pass; it can go on (EX_UNAVAILABLE)."""
NO_SPACE = 74
"""Exit status of a job that could not write because the disk is full; it can go on (EX_IOERR)."""
HELD = 75
"""Exit status of a job whose folder another job holds, or has taken since; it can go on (EX_TEMPFAIL)."""
INTERRUPTED = 130
"""Exit status of a job that was asked to stop and can go on."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space left on the device, of the user's quota, or under the limit of a file's size."""
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
"""Errors that only the code itself brings about. Every other number may be the machine's, and can pass."""


def find_system_error(error: BaseException | None) -> OSError | None:
    """Return the system's error with a number that an error is, or came of; None if there is none.

    When a write fails, torch's writer raises a `RuntimeError` about a position, while it handles the system's error.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        # Of another error than torch's, what was being handled when it was raised is not the cause.
        context = error.__context__ if isinstance(error, RuntimeError) and not error.__suppress_context__ else None
        error = error.__cause__ or context
    return None


def status_of(error: BaseException) -> int | None:
    """Return the exit status of a job that an error ends and that can go on; None if the error is its own doing."""
    found = find_system_error(error)
    if found is None or found.errno in OWN_DOING:
        return None
    return NO_SPACE if found.errno in DISK_FULL else AWAY


def describe_system_error(error: OSError) -> str:
    """Say what the system refused, and where."""
    what = os.strerror(error.errno) if error.errno is not None else str(error)
    return f"{error.filename}: {what}" if error.filename is not None else what
