"""What becomes of a run that ended: whether its result is believed, and when it is tried again."""

import msgspec
from msgspec import Struct

from model.endings import AWAY, HELD, find_system_error
from model.train.run_folder import Result, RunFolder
from orchestrator.errors import UNKNOWN_STATUS, DataError, FaultKind, kind_of_errno, kind_of_status
from orchestrator.launch.watcher import STOPPING_STATUSES
from orchestrator.runs.consistency import why_not_believed
from orchestrator.runs.fingerprints import changed_captures
from orchestrator.runs.order import Order
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import Failure


def refuse_doubtful(paths: Paths, folder: RunFolder, order: Order) -> str | None:
    """Set aside a result that cannot be believed; return why, in a sentence; None where it stands.

    Where a capture has other bytes than those that the run is named by, nobody knows since when. Then no epoch counts.
    Where only the result contradicts its predictions, the checkpoint stays, and the run is scored again from there.

    Raises:
        OSError: a file cannot be set aside.
    """
    try:
        changed = changed_captures(order.captures, paths.root, paths.fingerprints)
    except DataError as error:
        folder.set_result_aside()
        return f"{error}; its result cannot be checked and is set aside: run again to score it"
    if changed:
        folder.set_result_aside()
        for path in (folder.checkpoint, folder.epochs):
            if path.exists():
                folder.set_aside(path)
        return (
            f"{paths.root / changed[0]}: the capture changed while the run trained, so its result is set aside; "
            "put the capture back and run again, or queue a run on the new one"
        )
    reason = why_not_believed(folder)
    if reason is None:
        return None
    folder.set_result_aside()
    return f"{folder.path}: {reason}; the result is set aside: run again to score it anew"


def tell_of_second_try(folder: RunFolder, result: Result) -> Result:
    """Let a run that ran out of memory twice say so, in its folder too."""
    if result.failure != Failure.OUT_OF_MEMORY:
        return result
    told = msgspec.structs.replace(result, reason=f"at the second try, alone on its device: {result.reason}")
    folder.write_result(told)
    return told


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
