"""When a run that was interrupted by something that can pass is tried again. Pure."""

from msgspec import Struct

from model.endings import AWAY, HELD, find_system_error
from orchestrator.errors import UNKNOWN_STATUS, FaultKind, kind_of_errno, kind_of_status
from orchestrator.watcher import STOPPING_STATUSES

WAITS_SECONDS = (1.0, 5.0, 20.0, 60.0, 180.0, 300.0)
"""Wait before each try in a row that finishes no other epoch. After the last one the run stays interrupted."""


class Retry(Struct, frozen=True, kw_only=True):
    """A run that waits to be tried again by the worker that has it."""

    tries: int
    """In a row, without another finished epoch."""
    num_epochs: int
    """How many epochs were finished when it was interrupted."""
    due_at: float
    """In seconds of the worker's clock."""


def plan_retry(before: Retry | None, num_epochs: int, now: float) -> Retry | None:
    """Say when a run is tried again; None if it was tried often enough.

    Args:
        before: the last time that it was planned; None if it was not.
        num_epochs: how many epochs are finished.
        now: seconds of the worker's clock.
    """
    tries = before.tries + 1 if before is not None and num_epochs <= before.num_epochs else 1
    if tries > len(WAITS_SECONDS):
        return None
    return Retry(tries=tries, num_epochs=num_epochs, due_at=now + WAITS_SECONDS[tries - 1])


def ends_by_itself(status: int) -> bool:
    """Whether what ended a job may be over soon, by the job's exit status: nobody asked it to stop."""
    if status in (AWAY, HELD, UNKNOWN_STATUS):
        return True
    return status < 0 and status not in STOPPING_STATUSES and kind_of_status(status) is FaultKind.INTERRUPTS


def passes_by_itself(error: BaseException) -> bool:
    """Whether what kept a job from being started may be over soon."""
    found = find_system_error(error)
    return found is not None and kind_of_errno(found.errno) is FaultKind.PASSES
