"""Drains the queue: claims runs, starts their jobs, watches them, and settles how they ended."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from model.run_folder import Result, RunFolder
from orchestrator.checkouts import Checkouts
from orchestrator.errors import CodeError, DataError, QueueLockedError, RunError
from orchestrator.fingerprints import fingerprint_files
from orchestrator.guards import Ruling
from orchestrator.launchers.forked import Launcher
from orchestrator.launchers.inline import check_job
from orchestrator.launchers.local import Slot
from orchestrator.layout import Layout
from orchestrator.load import find_other_load
from orchestrator.orders import AGAIN, Order, read_order
from orchestrator.pacing import Interrupts, Pacer
from orchestrator.processes import Process
from orchestrator.provenance import with_first_threads, write_provenance
from orchestrator.reconcile import clear, reconcile
from orchestrator.references import References
from orchestrator.states import OPEN, Failure, RunState
from orchestrator.store import QueuedRun, Store
from orchestrator.watcher import Ending, LiveRun

POLL_SECONDS = 0.05
AT_ONCE = 2
"""So many interrupts end jobs at once."""
SHOW_SECONDS = 0.5
CLAIM_SECONDS = 1.0
"""How long a worker with a free slot waits before it asks again, where nothing waited."""
HEARTBEAT_SECONDS = 5.0
RECONCILE_SECONDS = 15.0


def never() -> bool:
    """Say that there is no end to the time."""
    return False


class Observer(Protocol):
    """Someone who wants to see how the runs go."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""

    def tell(self, problem: str) -> None:
        """Take a sentence about what keeps runs from being trained."""


@dataclass(eq=False)
class Task:
    """A run that this worker has claimed, and the job that trains it."""

    claimed: QueuedRun
    order: Order
    live: LiveRun
    slot: Slot
    ruling: Ruling | None = None
    """What a guard has ruled on it."""


@dataclass
class Worker:
    """One `run` or `work`: takes what waits, of all or of some runs, until nothing does."""

    store: Store
    layout: Layout
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
        self.checkouts = Checkouts(self.layout)
        self.references = References(self.layout, self.checkouts)
        self._held: dict[str, QueuedRun] = {}
        """Claims that have not ended."""
        self._untold: list[tuple[QueuedRun, RunState, str, str | None]] = []
        """Claim, state, reason and failure of ends that the queue has yet to be told."""
        self._observer: Observer | None = None
        self._ended: list[str] = []
        self._alone: dict[str, str] = {}
        """Run that ran out of memory -> the device that it has, or waits to have, to itself."""
        self._checked: dict[str | None, str | None] = {}
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
                self._attempt(lambda: observer.show(self._rows(), self._live()))
            finally:
                self._leave()
        return not self.is_stopping

    def _turn(self, interrupts: Interrupts, observer: Observer) -> bool:
        """Take a step and show what came of it; a queue that somebody has locked is asked again later."""
        try:
            goes_on = self._step(interrupts.count)
            if self._shows.is_due():
                observer.show(self._rows(), self._live())
        except QueueLockedError as error:
            self._note(str(error))
            self._claims.hasten()
            return interrupts.count < AT_ONCE
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
        if num_interrupts >= AT_ONCE:
            self.is_stopping = True
            return False
        if num_interrupts or self.is_time_up():
            self._stop()
        self._tell()
        if self._beats.is_due():
            self._beat()
        if not self.is_stopping and self._reconciles.is_due():
            reconcile(self.store, self.layout, end_jobs=True)
            self._attempt(self.checkouts.remove_leftovers)
        for task in tuple(self.tasks):
            if task in self.tasks:
                self._follow(task)
        if self.is_stopping:
            return bool(self.tasks)
        self._start_alone()
        return self._fill() or bool(self.tasks) or self.stays or self._is_waited_for()

    def stop_run(self, run_id: str) -> bool:
        """Let the job of a run finish its epoch and checkpoint; return whether it is at work here."""
        jobs = [task.live.job for task in self.tasks if task.claimed.id == run_id]
        for job in jobs:
            job.ask_to_stop()
        return bool(jobs)

    def _stop(self) -> None:
        """Let every job finish its epoch and checkpoint, and start no more."""
        if not self.is_stopping:
            self.is_stopping = True
            for task in self.tasks:
                task.live.job.ask_to_stop()

    def _beat(self) -> None:
        heartbeat = self.store.beat(self.process)
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
            if all(device_of(task.slot) != device for task in self.tasks):
                self._start(self._held[run_id], next(slot for slot in self.slots if device_of(slot) == device))

    def _free_slot(self) -> Slot | None:
        busy = [id(task.slot) for task in self.tasks]
        free = (slot for slot in self.slots if id(slot) not in busy)
        return next((slot for slot in free if device_of(slot) not in self._alone.values()), None)

    def _start(self, claimed: QueuedRun, slot: Slot) -> None:
        folder = self.layout.run(claimed.id)
        try:
            order, config = read_order(folder), folder.read_config()
            self._require_captures(order)
            code = self.checkouts.open(claimed.experiment, order.code)
            held_by = clear(folder)
            if held_by is not None:
                raise RunError(f"{folder.path}: {held_by}; end that, and queue the run again")
            problem = self._check(folder, order, code) if order.code.is_own else None
            if problem is not None:
                self._reject(claimed, folder, problem)
                return
            write_provenance(folder, order, self.layout.root, slot)
            job = self.launcher.start(folder, code, order.code.tree, with_first_threads(folder, slot))
        except (RunError, CodeError, DataError, OSError, ValueError) as error:
            self._note(f"{claimed.id}: it cannot be started: {error}")
            self._end(claimed, RunState.INTERRUPTED, f"it cannot be started: {error}")
        else:
            live = LiveRun(id=claimed.id, num_epochs=config.optim.epochs, folder=folder, job=job)
            self.tasks.append(Task(claimed, order, live, slot))

    def _require_captures(self, order: Order) -> None:
        """Refuse to train on other bursts than those that the run is named by."""
        now = fingerprint_files(order.captures, self.layout.root, self.layout.fingerprints)
        other = [path for path in now if now[path] != order.captures[path]]
        if other:
            raise DataError(f"{self.layout.root / other[0]}: the capture has changed since the run was queued; {AGAIN}")

    def _check(self, folder: RunFolder, order: Order, code: Path) -> str | None:
        """Ask code that is not the campaign's own whether it can do this job; once for each experiment."""
        if order.code.commit not in self._checked:
            self._checked[order.code.commit] = check_job(folder.path, code, self.layout.root)
        return self._checked[order.code.commit]

    def _reject(self, claimed: QueuedRun, folder: RunFolder, problem: str) -> None:
        result = Result(state=RunState.FAILED.value, failure=Failure.REJECTED.value, reason=problem, epochs=0)
        folder.write_result(result)
        self._settle(claimed, result)

    def _settle(self, claimed: QueuedRun, result: Result) -> None:
        self._end(claimed, RunState(result.state), result.reason, result.failure)
        self._shows.hasten()

    def _end(self, claimed: QueuedRun, state: RunState, reason: str, failure: str | None = None) -> None:
        """Let go of a claim. Where the queue is locked just now, it is told at the next turn."""
        self._alone.pop(claimed.id, None)
        self._untold.append((claimed, state, reason, failure))
        self._tell()

    def _tell(self) -> None:
        """Tell the queue how claims ended."""
        while self._untold:
            claimed, state, reason, failure = self._untold[0]
            was_ours = self.store.end(claimed, state, reason, failure)
            if was_ours and state is not RunState.INTERRUPTED:
                self._ended.append(claimed.id)
            del self._untold[0], self._held[claimed.id]

    def _follow(self, task: Task) -> None:
        try:
            ending = self._look(task)
        except ValueError as error:
            # Its code is another version's, and writes what this one cannot read.
            task.live.kill()
            reason = f"{task.live.folder.path}: {error}"
            self._note(f"{task.claimed.id}: {reason}")
            ending = Ending(state=RunState.INTERRUPTED, reason=reason)
        if ending is not None:
            self.tasks.remove(task)
            self._claims.hasten()
            self._conclude(task, ending)

    def _look(self, task: Task) -> Ending | None:
        """Ask the guards about a run; return how it ended once its job is gone."""
        live = task.live
        slots = [other.live.job.slot for other in self.tasks]
        own_pids = [self.process.pid, *(other.live.job.pid for other in self.tasks)]
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
        if ending.is_disk_full:
            self._note(f"{claimed.id}: {ending.reason}; nothing more was started")
            self._stop()
        if result is None:
            self._end(claimed, RunState.INTERRUPTED, ending.reason)
        elif claimed.id in self._alone:
            self._settle(claimed, _told_of_second_try(task.live.folder, result))
        elif task.ruling is None and result.failure == Failure.OUT_OF_MEMORY:
            # The checkpoint stays, so the second try goes on where the first one ended.
            task.live.folder.result.unlink(missing_ok=True)
            self._alone[claimed.id] = device_of(task.slot)
        else:
            self._settle(claimed, result)

    def ended_rows(self) -> list[QueuedRun]:
        """Return the runs that this worker has seen to their end."""
        return self.store.runs(self._ended)

    def _rows(self) -> list[QueuedRun]:
        if self.ids is not None:
            return self.store.runs([*self._ended, *(run_id for run_id in self.ids if run_id not in self._ended)])
        return [*self.ended_rows(), *self.store.runs(states=OPEN)]

    def _live(self) -> list[LiveRun]:
        return [task.live for task in self.tasks]

    def _leave(self) -> None:
        """Leave nothing behind: no job, no worktree, no claim. What fails on the way does not keep the rest alive."""
        with ExitStack() as last_first:
            last_first.callback(self._attempt, lambda: self.store.dismiss(self.process))
            last_first.callback(self._attempt, self._let_go)
            last_first.callback(self._attempt, self.checkouts.close)
            last_first.callback(self.launcher.close)
            for task in self.tasks:
                last_first.callback(task.live.kill)

    def _let_go(self) -> None:
        self.tasks.clear()
        self._tell()
        for claimed in tuple(self._held.values()):
            has_waited = "ran out of memory and waited for a second try"
            self._end(claimed, RunState.INTERRUPTED, has_waited if claimed.id in self._alone else "stopped at once")


def device_of(slot: Slot) -> str:
    """Name what the jobs of a slot share with those of others: a GPU, or the memory and cores of the machine."""
    return slot.environment.get("CUDA_VISIBLE_DEVICES", "cpu")


def _told_of_second_try(folder: RunFolder, result: Result) -> Result:
    """Let a run that ran out of memory twice say so, in its folder too."""
    if result.failure != Failure.OUT_OF_MEMORY:
        return result
    told = msgspec.structs.replace(result, reason=f"at the second try, alone on its device: {result.reason}")
    folder.write_result(told)
    return told
