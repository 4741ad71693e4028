"""Settles a run that ended: whether its result counts, when it is tried again, and what the queue says of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct, structs

from orchestrator.errors import (
    AWAY,
    HELD,
    UNKNOWN_STATUS,
    DataError,
    FaultKind,
    RunError,
    find_system_error,
    kind_of_errno,
    kind_of_status,
)
from orchestrator.launch.commands import task_of
from orchestrator.launch.start import Jobs, Task, find_changed
from orchestrator.launch.watcher import STOPPING_STATUSES, Ending
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.consistency import why_not_believed
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.members import end_processes
from orchestrator.runs.order import Order
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import OPEN, Failure, RunState


def refuse_doubtful(paths: Paths, folder: RunFolder, order: Order) -> str | None:
    """Set aside a result that does not count; return the reason as a sentence, None if the result counts.

    Data may have other bytes than those in the run's identity. Nobody knows since when, so no epoch counts.
    A result may contradict its own predictions. Then the checkpoint stays, and the next job scores the run again.

    Raises:
        OSError: a file cannot be set aside.
    """
    try:
        changed = find_changed(order, paths)
    except DataError as error:
        folder.set_result_aside()
        return f"{error}; its result cannot be checked and is set aside: run again to score it"
    if changed:
        folder.set_result_aside()
        # Without its attempts, a supervised run starts over.
        for path in (folder.checkpoint, folder.epochs, folder.attempts, folder.progress):
            if path.exists():
                folder.set_aside(path)
        return (
            f"{changed} changed while the run trained, so its result is set aside; put the data back and run "
            "again, or queue a run on the new ones"
        )
    # A supervised run's numbers are read from what it leaves, so there is no second account to contradict it.
    reason = None if task_of(order).supervised else why_not_believed(folder)
    if reason is None:
        return None
    folder.set_result_aside()
    return f"{folder.path}: {reason}; the result is set aside: run again to score it anew"


def interrupt_doubtful(paths: Paths, task: Task) -> Ending | None:
    """Return how a run ended whose result does not count; None if it counts.

    Raises:
        OSError: a file of the run cannot be read, or set aside.
    """
    reason = refuse_doubtful(paths, task.live.folder, task.order)
    return None if reason is None else Ending(state=RunState.INTERRUPTED, reason=reason)


def mark_second_try(folder: RunFolder, result: Result) -> Result:
    """Return a result whose reason names the second try if that ran out of memory too; write it into the folder."""
    if result.failure != Failure.OUT_OF_MEMORY:
        return result
    marked = structs.replace(result, reason=f"at the second try, alone on its device: {result.reason}")
    folder.write_result(marked)
    return marked


# The first waits are short, because most causes pass within seconds. All six together are about nine minutes.
WAITS_SECONDS = (1.0, 5.0, 20.0, 60.0, 180.0, 300.0)
"""Waits before the tries in a row between which no epoch was finished. After the last one the run stays interrupted."""


class Retry(Struct, frozen=True, kw_only=True):
    """When a worker tries a run again that it still has."""

    tries: int
    """Tries in a row between which the run finished no epoch; this one counts."""
    num_epochs: int
    """Epochs that were finished at the interruption."""
    due_at: float
    """Time of the try, in seconds of the worker's clock."""


def plan_retry(before: Retry | None, num_epochs: int, now: float) -> Retry | None:
    """Plan the next try of an interrupted run; None after as many tries as there are waits.

    A finished epoch starts the count anew: a run that comes further each time is never left.

    Args:
        before: the run's last retry; None if there was none.
        num_epochs: epochs that are finished.
        now: seconds of the worker's clock.
    """
    tries = before.tries + 1 if before is not None and num_epochs <= before.num_epochs else 1
    if tries > len(WAITS_SECONDS):
        return None
    return Retry(tries=tries, num_epochs=num_epochs, due_at=now + WAITS_SECONDS[tries - 1])


def is_passing_status(status: int) -> bool:
    """Whether the cause of a job's end may be over soon, by its exit status. A request to stop is no such cause."""
    if status in (AWAY, HELD, UNKNOWN_STATUS):
        return True
    return status < 0 and status not in STOPPING_STATUSES and kind_of_status(status) is FaultKind.INTERRUPTS


def is_passing_error(error: BaseException) -> bool:
    """Whether the error that kept a job from its start may be over soon."""
    found = find_system_error(error)
    return found is not None and kind_of_errno(found.errno) is FaultKind.PASSES


def endure(task: Task, error: OSError, note: Callable[[str], None]) -> Ending | None:
    """Return how a run ended whose folder cannot be read or written; None while its job runs.

    The job may train on, since only this process may have lost the folder. The worker looks at it again.
    """
    if task.live.job.exit_status() is None:
        note(f"{task.claimed.id}: {error}; its job goes on")
        return None
    return Ending(state=RunState.INTERRUPTED, reason=f"its folder cannot be read: {error}", status=AWAY)


class _End(NamedTuple):
    claimed: QueuedRun
    state: RunState
    reason: str
    failure: str | None


@dataclass
class Claims:
    """The runs that one worker holds in the queue, and the ends of those that it held before."""

    store: Store
    process: Process = field(default_factory=Process.own)
    held: dict[str, QueuedRun] = field(default_factory=dict)
    """Id -> a run that is claimed and has not ended."""
    ended: dict[str, QueuedRun] = field(default_factory=dict)
    """Id -> a run that this worker has trained to its end, with its final state."""
    _unreported: list[_End] = field(default_factory=list)
    """Ends that the queue does not know yet, the oldest first."""

    def take(self, ids: tuple[str, ...] | None) -> QueuedRun | None:
        """Claim the first run that waits, of all or of `ids`; None if none waits."""
        claimed = self.store.claim(self.process, ids)
        if claimed is not None:
            self.held[claimed.id] = claimed
        return claimed

    def end(self, claimed: QueuedRun, state: RunState, reason: str, failure: str | None = None) -> None:
        """Let go of a run. If the queue is locked now, it is reported at the next turn.

        Raises:
            QueueLockedError: the queue is locked now.
        """
        self._unreported.append(_End(claimed, state, reason, failure))
        self.report()

    def report(self) -> None:
        """Write the ends into the queue that it does not know yet.

        Raises:
            QueueLockedError: the queue is locked now; what is left waits for the next call.
        """
        while self._unreported:
            claimed, state, reason, failure = self._unreported[0]
            # An end stays in the list until the queue has it. If this call raises, the next one tries it again.
            was_ours = self.store.end(claimed, state, reason, failure)
            if was_ours and state is not RunState.INTERRUPTED:
                self.ended[claimed.id] = structs.replace(claimed, state=state, reason=reason, failure=failure)
            del self._unreported[0], self.held[claimed.id]

    def lose(self, run_id: str) -> None:
        """Forget a run that another worker has now. Nothing of it is reported any more."""
        self._unreported = [end for end in self._unreported if end.claimed.id != run_id]
        del self.held[run_id]

    def rows(self, ids: tuple[str, ...] | None) -> list[QueuedRun]:
        """Return the queue's rows of `ids`, or of all runs that wait or run; those that ended here come first."""
        if ids is not None:
            return self.store.runs([*self.ended, *(run_id for run_id in ids if run_id not in self.ended)])
        return [*self.ended.values(), *self.store.runs(states=OPEN)]


@dataclass
class Settler:
    """Decides what becomes of a run that ended: an end, another try later, or a second try alone on its device."""

    paths: Paths
    claims: Claims
    jobs: Jobs
    note: Callable[[str], None]
    """Takes a sentence about what keeps a run from being trained."""
    reserved: dict[str, str] = field(default_factory=dict)
    """Run -> the device that it waits to have to itself. A second try keeps it until it ends."""
    second_tries: set[str] = field(default_factory=set)
    """Runs that ran out of memory beside other jobs."""
    retries: dict[str, Retry] = field(default_factory=dict)
    """Run that something interrupted -> when it is tried again. The worker keeps its claim."""
    _tried: dict[str, Retry] = field(default_factory=dict)
    """Run -> its last retry. `plan_retry` counts tries in a row by it."""

    def settle(self, task: Task, ending: Ending) -> None:
        """Write down how a run ended. A folder that cannot be written interrupts the run."""
        try:
            self._settle(task, ending)
        except OSError as error:
            self.interrupt(task.claimed, f"its folder cannot be written: {error}", is_passing=True)

    def _settle(self, task: Task, ending: Ending) -> None:
        claimed, result, folder = task.claimed, ending.result, task.live.folder
        end_processes(folder, term_seconds=0)
        if ending.is_disk_full:
            self.note(f"{claimed.id}: {ending.reason}; nothing more was started")
            self.jobs.ask_to_stop()
        if result is None:
            is_passing = ending.status is not None and is_passing_status(ending.status)
            is_asked = self.jobs.is_stopping or ending.status in STOPPING_STATUSES
            self.interrupt(claimed, ending.reason, is_passing=is_passing, is_problem=not is_asked)
        elif claimed.id in self.second_tries:
            self._end_with(claimed, mark_second_try(folder, result))
        elif task.ruling is None and result.failure == Failure.OUT_OF_MEMORY:
            # Other jobs on the device may have taken the memory, so the run gets one try without them.
            # The checkpoint stays: that try goes on where the first one ended.
            folder.result.unlink(missing_ok=True)
            self.reserved[claimed.id] = task.slot.device
            self.second_tries.add(claimed.id)
        else:
            self._end_with(claimed, result)

    def interrupt(self, claimed: QueuedRun, reason: str, *, is_passing: bool = False, is_problem: bool = True) -> None:
        """Let go of a run that can go on, or plan another try.

        Args:
            claimed: the run.
            reason: what interrupted it, in words.
            is_passing: whether the cause may be over soon. Then this worker tries the run again.
            is_problem: whether a person reads the reason.
        """
        if is_problem:
            self.note(f"{claimed.id}: {reason}")
        retry = self._plan_retry(claimed) if is_passing and not self.jobs.is_stopping else None
        if retry is None:
            self.end(claimed, RunState.INTERRUPTED, reason)
        else:
            self.retries[claimed.id] = self._tried[claimed.id] = retry

    def _plan_retry(self, claimed: QueuedRun) -> Retry | None:
        num_epochs = 0
        # Epochs that cannot be read are a problem of the next start, which says so.
        with suppress(OSError, ValueError, RunError):
            num_epochs = len(self.paths.run(claimed.id).read_epochs())
        return plan_retry(self._tried.get(claimed.id), num_epochs, time.monotonic())

    def reject(self, claimed: QueuedRun, problem: str) -> None:
        """Fail a run whose own code refuses the job."""
        result = Result(state=RunState.FAILED.value, failure=Failure.REJECTED.value, reason=problem, epochs=0)
        try:
            self.paths.run(claimed.id).write_result(result)
        except OSError as error:
            self.interrupt(claimed, f"it is rejected, but its folder cannot be written: {error}", is_passing=True)
        else:
            self._end_with(claimed, result)

    def _end_with(self, claimed: QueuedRun, result: Result) -> None:
        self.end(claimed, RunState(result.state), result.reason, result.failure)

    def end(self, claimed: QueuedRun, state: RunState, reason: str, failure: str | None = None) -> None:
        """Let go of a run, and of the device or the retry that it waited for."""
        self.forget(claimed.id)
        self.claims.end(claimed, state, reason, failure)

    def forget(self, run_id: str) -> None:
        """Plan no further try of a run."""
        self.reserved.pop(run_id, None)
        self.second_tries.discard(run_id)
        self.retries.pop(run_id, None)

    def stop_waiting(self, run_id: str) -> None:
        """Give back the device that a run waited for, since it starts now. A second try keeps its device."""
        if run_id not in self.second_tries:
            del self.reserved[run_id]

    def due_retries(self) -> list[str]:
        """Return the runs whose wait after an interruption is over."""
        now = time.monotonic()
        return [run_id for run_id, retry in self.retries.items() if now >= retry.due_at]

    def end_all(self) -> None:
        """Let go of every run that this worker still has. Each of them can go on later."""
        for claimed in tuple(self.claims.held.values()):
            has_waited = "ran out of memory and waited for a second try"
            self.end(
                claimed, RunState.INTERRUPTED, has_waited if claimed.id in self.second_tries else "stopped at once"
            )
