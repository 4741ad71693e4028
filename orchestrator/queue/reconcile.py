"""Brings the queue in step with the living processes and the run folders, whatever died in between.

Every command does this first. A running row whose worker is gone gets the result of its folder. Without a result, the
run waits again. A run that is lost again and again without finishing another epoch has failed: whatever ends its
process would do so for ever.
"""

import contextlib
import time
from collections.abc import Sequence

from msgspec import Struct

from orchestrator.errors import RunError
from orchestrator.processes import Process, ask_to_end
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.job_lock import HeldError
from orchestrator.runs.members import end_members, end_processes, list_members
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import describe_holder, has_job, read_result
from orchestrator.runs.states import Failure, RunState

MAX_LOSSES = 5
"""A run fails after so many losses in a row without a finished epoch between them."""
KILL_SECONDS = 30.0
"""Longest wait until a killed job releases its folder."""


class Loss(Struct, frozen=True, kw_only=True):
    """What becomes of a run whose worker is gone."""

    losses: int
    """Losses in a row without another finished epoch; this one counts."""
    is_final: bool
    """Whether the run has failed; otherwise it waits again."""
    reason: str


def decide_loss(row: QueuedRun, num_epochs: int) -> Loss:
    """Decide whether a lost run waits again. Pure.

    Args:
        row: as it was when its worker went away.
        num_epochs: finished epochs in its folder.
    """
    # A finished epoch shows progress, so the count begins again.
    # Example: losses after epochs 3, 3, 7 and 7 count as 1, 2, 1 and 2.
    losses = row.losses + 1 if row.losses and num_epochs <= row.epochs_at_loss else 1
    since = f"after epoch {num_epochs}" if num_epochs else "before its first epoch"
    if losses < MAX_LOSSES:
        return Loss(losses=losses, is_final=False, reason=f"process {row.pid} on {row.host} went away {since}")
    reason = f"lost {losses} times in a row {since}: each time the process that trained it, or its machine, went away"
    return Loss(losses=losses, is_final=True, reason=reason)


def reconcile(store: Store, paths: Paths, *, end_jobs: bool) -> list[QueuedRun]:
    """Settle the running rows whose worker is gone, and return them as they were.

    Args:
        store: the queue.
        paths: the campaign's folders.
        end_jobs: whether to end jobs that outlived their worker. Otherwise these train on, and their rows stay.
    """
    rows = store.runs(states=(RunState.RUNNING,))
    lives = _living(store, rows)
    # A job may outlive its worker. Its run does not wait again yet, because a second job could not take the folder.
    lost = [row for row in rows if row.id not in lives and _is_over(paths.run(row.id), end_jobs=end_jobs)]
    for row in lost:
        try:
            _settle(store, paths.run(row.id), row)
        except (RunError, OSError) as error:
            # One folder that cannot be read must not hold up the others.
            store.end(row, RunState.INTERRUPTED, reason=str(error))
    return lost


def _living(store: Store, rows: Sequence[QueuedRun]) -> set[str]:
    """Return the runs whose worker lives. A worker of this machine is looked up; any other must send heartbeats."""
    elsewhere = {worker for worker in store.workers.list_living() if not worker.is_here}
    workers = {row.id: row.worker for row in rows if row.worker is not None}
    return {
        run_id for run_id, worker in workers.items() if (worker.is_alive if worker.is_here else worker in elsewhere)
    }


def _is_over(folder: RunFolder, *, end_jobs: bool) -> bool:
    """Whether no job works in a folder; with `end_jobs`, jobs of this machine are ended first."""
    return (end_remaining_jobs(folder) if end_jobs else describe_holder(folder)) is None


def end_remaining_jobs(folder: RunFolder) -> str | None:
    """End the processes that are left of a run's jobs on this machine.

    Only processes that carry the run's mark, or hold its lock, are ended. The number in `job.lock` alone proves
    nothing: the system may have given it to another process since.

    Returns:
        Who is still at work in the folder, as a sentence; None if nobody is.
    """
    # The lock of a killed process becomes free only once the kernel has removed the process, so this has to wait.
    deadline = time.monotonic() + KILL_SECONDS
    if folder.lock.exists():
        end_processes(folder, term_seconds=0)
    while (who := describe_holder(folder)) is not None and time.monotonic() < deadline:
        refused = end_members(folder)
        if refused:
            return f"{refused[0]} is at work on it, and belongs to another user"
        if not list_members(folder):
            # No process here: the holder is on another machine, in another name space, or of another user.
            return describe_holder(folder)
        time.sleep(0.01)
    return who


def ask_job_to_stop(folder: RunFolder) -> bool:
    """Ask the job in a folder to finish its epoch, or the processes it left behind to end; return whether any exist.

    Raises:
        PermissionError: it is another user's.
    """
    with contextlib.suppress(HeldError):
        holder = folder.holder()
        if holder is not None and holder.is_here and holder.is_alive:
            ask_to_end(Process(holder.host, holder.pid, holder.born or ""))
            return True
    members = list_members(folder)
    for member in members:
        ask_to_end(member)
    return bool(members)


def _settle(store: Store, folder: RunFolder, row: QueuedRun) -> None:
    """Give a row whose worker is gone the result of its folder, or let the run wait again."""
    result = read_result(folder)
    if result is not None:
        store.end(row, RunState(result.state), reason=result.reason, failure=result.failure)
        return
    num_epochs = _count_epochs(folder)
    loss = decide_loss(row, num_epochs)
    if not loss.is_final:
        store.requeue_lost(row, loss.losses, num_epochs, loss.reason)
        return
    failed = Result(state=RunState.FAILED.value, failure=Failure.LOST.value, reason=loss.reason, epochs=num_epochs)
    # First the queue: if another worker has claimed the run meanwhile, `end` refuses and no result is written.
    if store.end(row, RunState.FAILED, reason=loss.reason, failure=failed.failure):
        folder.write_result(failed)


def _count_epochs(folder: RunFolder) -> int:
    try:
        return len(folder.read_epochs())
    except ValueError as error:
        raise RunError(
            f"{folder.epochs}: a finished line cannot be read: {error}; move {folder.path} away to train it again"
        ) from None


def held_rows(store: Store, paths: Paths) -> list[QueuedRun]:
    """Return the rows that another living worker has claimed, or whose job lives."""
    own = Process.own()
    rows = store.runs()
    lives = _living(store, [row for row in rows if row.worker != own])
    return [row for row in rows if row.id in lives or (row.state is RunState.RUNNING and has_job(paths.run(row.id)))]


def requeue_interrupted(store: Store, ids: list[str] | None = None) -> None:
    """Let interrupted runs wait again: all of them, or those of some ids."""
    for row in store.runs(ids, states=(RunState.INTERRUPTED,)):
        store.move(row.id, RunState.INTERRUPTED, RunState.QUEUED)
