"""Drains the queue: claims runs, starts their jobs, watches them, and settles how they ended."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from model.endings import AWAY
from model.train.run_folder import Result
from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import CodeError, DataError, QueueLockedError, RunError
from orchestrator.launch.contention import find_other_load
from orchestrator.launch.forked import Launcher
from orchestrator.launch.loop import Interrupts, Observer, Pacer, never
from orchestrator.launch.probing import References
from orchestrator.launch.settle import (
    Retry,
    ends_by_itself,
    passes_by_itself,
    plan_retry,
    refuse_doubtful,
    tell_of_second_try,
)
from orchestrator.launch.slots import Slot, make_own_slots
from orchestrator.launch.start import RejectedError, Starter, Task
from orchestrator.launch.watcher import STOPPING_STATUSES, Ending
from orchestrator.processes import Process
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.members import end_members
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import OPEN, Failure, RunState

POLL_SECONDS = 0.05
AT_ONCE = 2  # so many interrupts end jobs at once
WIND_DOWN_SECONDS = 600.0
"""Longest wait for jobs to finish their epochs where a worker cannot go on."""
SHOW_SECONDS = 0.5
CLAIM_SECONDS = 1.0
"""How long a worker with a free slot waits before it asks again, where nothing waited."""
HEARTBEAT_SECONDS = 5.0
RECONCILE_SECONDS = 15.0


@dataclass
class Worker:
    """One `run` or `work`: takes what waits, of all or of some runs, until nothing does."""

    store: Store
    paths: Paths
    slots: list[Slot]
    launcher: Launcher
    ids: tuple[str, ...] | None = None
    """The runs it takes, and waits for where others have them; None takes every run and waits for none."""
    stays: bool = False
    """Whether it waits for runs that are yet to be queued."""
    is_time_up: Callable[[], bool] = never
    """Asked at every turn; once it says yes, the worker stops as at a request."""
    tasks: list[Task] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What kept runs from being trained, in sentences."""
    is_stopping: bool = False

    def __post_init__(self) -> None:
        self.process = Process.own()
        self.checkouts = Checkouts(self.paths)
        self.starter = Starter(self.paths, self.launcher, self.checkouts)
        self.references = References(self.paths, self.checkouts)
        self._held: dict[str, QueuedRun] = {}
        """Claims that have not ended."""
        self._untold: list[tuple[QueuedRun, RunState, str, str | None]] = []
        """Claim, state, reason and failure of ends that the queue has yet to be told."""
        self._observer: Observer | None = None
        self._ended: dict[str, QueuedRun] = {}
        self._is_away = False  # whether the queue was away at the last turn
        self._alone: dict[str, str] = {}
        """Run that ran out of memory -> the device that it has, or waits to have, to itself."""
        self._retries: dict[str, Retry] = {}
        """Run that something interrupted -> when it is tried again; this worker keeps its claim."""
        self._tried: dict[str, Retry] = {}
        """Run -> the last of these, to count tries in a row."""
        self._shows, self._claims = Pacer(SHOW_SECONDS), Pacer(CLAIM_SECONDS)
        self._beats, self._reconciles = Pacer(HEARTBEAT_SECONDS), Pacer(RECONCILE_SECONDS)

    def drain(self, observer: Observer) -> bool:
        """Train until nothing waits; return whether the end was reached (a request to stop returns False)."""
        self._observer = observer
        # Inside, so that no signal cuts the leaving short.
        with Interrupts() as interrupts:
            try:
                while self._turn(interrupts, observer):
                    self.launcher.wait(POLL_SECONDS)
                if not self._is_away:
                    self._attempt(lambda: observer.show(self._rows(), [task.live for task in self.tasks]))
            except BaseException:
                self._wind_down(interrupts)
                raise
            finally:
                self._leave()
        return not self.is_stopping

    def _wind_down(self, interrupts: Interrupts) -> None:
        """Let the jobs finish their epochs where this worker cannot go on; another interrupt ends them at once."""
        count, deadline = interrupts.count, time.monotonic() + WIND_DOWN_SECONDS
        self._stop()
        while any(task.live.job.exit_status() is None for task in self.tasks):
            if interrupts.count > count or time.monotonic() > deadline:
                return
            self.launcher.wait(POLL_SECONDS)

    def _turn(self, interrupts: Interrupts, observer: Observer) -> bool:
        """Take a step and show what came of it; a queue that somebody has locked is asked again later."""
        if interrupts.count >= AT_ONCE:
            self.is_stopping = True
            return False
        try:
            goes_on = self._step(interrupts.count)
            self._is_away = False
            if self._shows.is_due():
                observer.show(self._rows(), [task.live for task in self.tasks])
        except QueueLockedError as error:
            self._is_away = True
            self._note(str(error))
            self._claims.hasten()
            return True
        return goes_on

    def _attempt(self, act: Callable[[], object]) -> None:
        """Do what the next command does where it fails now: the queue is locked, or git at work on the same folder."""
        try:
            act()
        except (QueueLockedError, CodeError) as error:
            self._note(str(error))

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
            if self._observer is not None:
                self._observer.tell(problem)

    def _step(self, num_interrupts: int) -> bool:
        """Look at every live run once and fill free slots; return whether there is anything left to wait for."""
        if num_interrupts or self.is_time_up():
            self._stop()
        self._follow_all()
        self._tell()
        if self._beats.is_due():
            self._beat()
        if not self.is_stopping and self._reconciles.is_due():
            reconcile(self.store, self.paths, end_jobs=True)
            self._attempt(self.checkouts.remove_leftovers)
        if self.is_stopping:
            return bool(self.tasks)
        self._start_alone()
        self._start_again()
        return self._fill() or bool(self.tasks or self._retries) or self.stays or self._is_waited_for()

    def stop_run(self, run_id: str) -> bool:
        """Let the job of a run finish its epoch and checkpoint; return whether it is at work here."""
        live = [task.live for task in self.tasks if task.claimed.id == run_id]
        for run in live:
            run.ask_to_stop()
        return bool(live)

    def _stop(self) -> None:
        """Let every job finish its epoch and checkpoint, and start no more."""
        if not self.is_stopping:
            self.is_stopping = True
            for task in self.tasks:
                task.live.ask_to_stop()

    def _beat(self) -> None:
        heartbeat = self.store.send_heartbeat(self.process)
        if heartbeat.is_asked_to_stop:
            self._stop()
        for run_id in sorted(self._held.keys() - heartbeat.held):
            self._give_up(run_id)

    def _give_up(self, run_id: str) -> None:
        """End the job of a run that is not this worker's any more: somebody took it for dead."""
        self._note(f"{run_id}: it is another worker's now; its job here is ended")
        for task in self.tasks:
            if task.claimed.id == run_id:
                task.live.kill()
        self.tasks = [task for task in self.tasks if task.claimed.id != run_id]
        self._untold = [end for end in self._untold if end[0].id != run_id]
        self._alone.pop(run_id, None)
        self._retries.pop(run_id, None)
        del self._held[run_id]
        self._claims.hasten()

    def _is_waited_for(self) -> bool:
        """Whether somebody else still has a run that this worker is there for."""
        return self.ids is not None and bool(self.store.runs(self.ids, states=OPEN))

    def _fill(self) -> bool:
        """Claim a run and start it; return whether one waited. One at a turn: a request to stop is heeded between."""
        slot = self._free_slot()
        if slot is None or not self._claims.is_due():
            return False
        claimed = self.store.claim(self.process, self.ids)
        if claimed is None:
            return False
        self._held[claimed.id] = claimed
        self._claims.hasten()
        self._start(claimed, slot)
        return True

    def _start_alone(self) -> None:
        """Start runs that wait for a device to themselves, where it has emptied."""
        for run_id, device in tuple(self._alone.items()):
            if all(task.slot.device != device for task in self.tasks):
                self._start(self._held[run_id], next(slot for slot in self.slots if slot.device == device))

    def _start_again(self) -> None:
        """Start runs whose wait after an interruption is over, where a slot is free."""
        for run_id, retry in tuple(self._retries.items()):
            if time.monotonic() >= retry.due_at and (slot := self._free_slot()) is not None:
                del self._retries[run_id]
                self._start(self._held[run_id], slot)

    def _free_slot(self) -> Slot | None:
        busy = [id(task.slot) for task in self.tasks]
        free = (slot for slot in self.slots if id(slot) not in busy)
        return next((slot for slot in free if slot.device not in self._alone.values()), None)

    def _start(self, claimed: QueuedRun, slot: Slot) -> None:
        try:
            self.tasks.append(self.starter.start(claimed, slot))
        except RejectedError as error:
            self._reject(claimed, str(error))
        except (RunError, CodeError, DataError, OSError, ValueError) as error:
            reason = f"it cannot be started: {error}"
            self._interrupt(claimed, reason, is_passing=passes_by_itself(error))

    def _interrupt(self, claimed: QueuedRun, reason: str, *, is_passing: bool = False, is_problem: bool = True) -> None:
        """Let go of a run that can go on; where what interrupted it may be over soon, it is tried again here."""
        if is_problem:
            self._note(f"{claimed.id}: {reason}")
        retry = self._plan_retry(claimed) if is_passing and not self.is_stopping else None
        if retry is None:
            self._end(claimed, RunState.INTERRUPTED, reason)
        else:
            self._retries[claimed.id] = self._tried[claimed.id] = retry

    def _plan_retry(self, claimed: QueuedRun) -> Retry | None:
        num_epochs = 0
        with suppress(OSError, ValueError):  # it is read again when it starts, and told of there
            num_epochs = len(self.paths.run(claimed.id).read_epochs())
        return plan_retry(self._tried.get(claimed.id), num_epochs, time.monotonic())

    def _reject(self, claimed: QueuedRun, problem: str) -> None:
        result = Result(state=RunState.FAILED.value, failure=Failure.REJECTED.value, reason=problem, epochs=0)
        try:
            self.paths.run(claimed.id).write_result(result)
        except OSError as error:
            self._interrupt(claimed, f"it is rejected, but its folder cannot be written: {error}", is_passing=True)
        else:
            self._settle(claimed, result)

    def _settle(self, claimed: QueuedRun, result: Result) -> None:
        self._end(claimed, RunState(result.state), result.reason, result.failure)
        self._shows.hasten()

    def _end(self, claimed: QueuedRun, state: RunState, reason: str, failure: str | None = None) -> None:
        """Let go of a claim. Where the queue is locked just now, it is told at the next turn."""
        self._alone.pop(claimed.id, None)
        self._retries.pop(claimed.id, None)
        self._untold.append((claimed, state, reason, failure))
        self._tell()

    def _tell(self) -> None:
        """Tell the queue how claims ended."""
        while self._untold:
            claimed, state, reason, failure = self._untold[0]
            was_ours = self.store.end(claimed, state, reason, failure)
            if was_ours and state is not RunState.INTERRUPTED:
                self._ended[claimed.id] = structs.replace(claimed, state=state, reason=reason, failure=failure)
            del self._untold[0], self._held[claimed.id]

    def _follow_all(self) -> None:
        """Look at every job, also while the queue is away: guards do not wait for it."""
        away: QueueLockedError | None = None
        for task in tuple(self.tasks):
            if task in self.tasks:
                try:
                    self._follow(task)
                except QueueLockedError as error:
                    away = error
        if away is not None:
            raise away

    def _follow(self, task: Task) -> None:
        try:
            ending = self._look(task)
            if ending is not None and ending.result is not None:
                ending = self._doubt(task) or ending
        except ValueError as error:
            # Its code is another version's, and writes what this one cannot read.
            task.live.kill()
            ending = Ending(state=RunState.INTERRUPTED, reason=f"{task.live.folder.path}: {error}")
        except OSError as error:
            ending = self._endure(task, error)
        if ending is not None:
            self.tasks.remove(task)
            self._claims.hasten()
            try:
                self._conclude(task, ending)
            except OSError as error:
                self._interrupt(task.claimed, f"its folder cannot be written: {error}", is_passing=True)

    def _doubt(self, task: Task) -> Ending | None:
        """Return how a run ended whose result is not believed; None where it is."""
        reason = refuse_doubtful(self.paths, task.live.folder, task.order)
        return Ending(state=RunState.INTERRUPTED, reason=reason) if reason is not None else None

    def _endure(self, task: Task, error: OSError) -> Ending | None:
        """Go on where a run's folder cannot be read or written: its job may train on, and is looked at again."""
        status = task.live.job.exit_status()
        if status is None:
            self._note(f"{task.claimed.id}: {error}; its job goes on")
            return None
        return Ending(state=RunState.INTERRUPTED, reason=f"its folder cannot be read: {error}", status=AWAY)

    def _look(self, task: Task) -> Ending | None:
        """Ask the guards about a run; return how it ended once its job is gone."""
        live = task.live
        slots = [other.live.job.slot for other in self.tasks]
        jobs = (other.live.job.pid for other in self.tasks)
        own_pids = [self.process.pid, *(pid for pid in jobs if pid is not None)]
        pace = self.references.pace_of(task.order)
        probe = None if self.is_stopping else self.references.probe_of(task.order)
        ruling = live.check(task.order.guards, pace, lambda: find_other_load(slots, own_pids), probe)
        task.ruling = ruling or task.ruling
        status = live.job.exit_status()
        if status is None:
            return None
        # Whoever took the run away has ended this job: its death says nothing about the run.
        self._beat()
        return live.end(status) if task in self.tasks else None

    def _conclude(self, task: Task, ending: Ending) -> None:
        """Write down how a run ended; one that ran out of memory for the first time keeps its claim."""
        claimed, result = task.claimed, ending.result
        end_members(task.live.folder)
        if ending.is_disk_full:
            self._note(f"{claimed.id}: {ending.reason}; nothing more was started")
            self._stop()
        if result is None:
            is_passing = ending.status is not None and ends_by_itself(ending.status)
            is_asked = self.is_stopping or ending.status in STOPPING_STATUSES
            self._interrupt(claimed, ending.reason, is_passing=is_passing, is_problem=not is_asked)
        elif claimed.id in self._alone:
            self._settle(claimed, tell_of_second_try(task.live.folder, result))
        elif task.ruling is None and result.failure == Failure.OUT_OF_MEMORY:
            # The checkpoint stays, so the second try goes on where the first one ended.
            task.live.folder.result.unlink(missing_ok=True)
            self._alone[claimed.id] = task.slot.device
        else:
            self._settle(claimed, result)

    def ended_rows(self) -> list[QueuedRun]:
        """Return the runs that this worker has seen to their end."""
        return list(self._ended.values())

    def _rows(self) -> list[QueuedRun]:
        if self.ids is not None:
            return self.store.runs([*self._ended, *(run_id for run_id in self.ids if run_id not in self._ended)])
        return [*self.ended_rows(), *self.store.runs(states=OPEN)]

    def _leave(self) -> None:
        """Leave nothing behind: no job, no worktree, no claim. What fails on the way does not keep the rest alive."""
        with ExitStack() as last_first:
            last_first.callback(self._attempt, self._let_go)
            last_first.callback(self._attempt, self.checkouts.close)
            last_first.callback(self.launcher.close)
            for task in self.tasks:
                last_first.callback(task.live.kill)

    def _let_go(self) -> None:
        """Tell the queue. Where that is away, the next command settles it: whoever leaves must not wait."""
        self.tasks.clear()
        if self._is_away:
            return
        self._tell()
        for claimed in tuple(self._held.values()):
            has_waited = "ran out of memory and waited for a second try"
            self._end(claimed, RunState.INTERRUPTED, has_waited if claimed.id in self._alone else "stopped at once")
        self.store.workers.dismiss(self.process)


def build_worker(store: Store, paths: Paths, slots: int | None, **options: Any) -> Worker:
    """Make a worker of this machine; `options` are fields of `Worker`."""
    return Worker(store=store, paths=paths, slots=make_own_slots(slots), launcher=Launcher(paths.root), **options)
