"""Trains what a feed gives: claims runs, starts their jobs, watches them, and settles how they ended."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import CodeError, DataError, QueueLockedError, RunError
from orchestrator.launch.forked import Launcher
from orchestrator.launch.loop import Every, Feed, Interrupts, Observer
from orchestrator.launch.probing import References
from orchestrator.launch.settle import Claims, Settler, endure, interrupt_doubtful, is_passing_error
from orchestrator.launch.slots import Slot, make_own_slots
from orchestrator.launch.start import Jobs, RejectedError, Starter, Task, clean_checkouts
from orchestrator.launch.watcher import Ending
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState

POLL_SECONDS = 0.05
"""Longest wait between two turns of the loop."""
AT_ONCE = 2
"""Interrupts that end the jobs at once."""
WIND_DOWN_SECONDS = 600.0
"""Longest wait for jobs to finish their epochs after an error that ends the worker."""
SHOW_SECONDS = 0.5
CLAIM_SECONDS = 1.0
"""Wait of a worker with a free slot before it asks again for a run, if none waited."""
HEARTBEAT_SECONDS = 5.0
RECONCILE_SECONDS = 15.0


@dataclass
class Timers:
    """When a worker does what it does not do at every turn."""

    show: Every = field(default_factory=lambda: Every(SHOW_SECONDS))
    claim: Every = field(default_factory=lambda: Every(CLAIM_SECONDS))
    beat: Every = field(default_factory=lambda: Every(HEARTBEAT_SECONDS))
    reconcile: Every = field(default_factory=lambda: Every(RECONCILE_SECONDS))


class Worker:
    """Trains the runs of a feed until none is left, or somebody asks it to stop."""

    def __init__(self, store: Store, paths: Paths, slots: list[Slot], launcher: Launcher, feed: Feed) -> None:
        checkouts = Checkouts(paths)
        self.feed = feed
        self.claims = Claims(store)
        self.jobs = Jobs(slots, References(paths, checkouts))
        self.starter = Starter(paths, launcher, checkouts)
        self.settler = Settler(paths, self.claims, self.jobs, self._note)
        self.problems: list[str] = []
        """Sentences about what kept runs from being trained, each once."""
        self._timers = Timers()
        self._observer: Observer | None = None
        self._is_away = False
        """Whether the queue could not be used at the last turn."""
        self._is_memory_told = False
        """Whether the observer knows that NVML does not tell the free memory of a GPU."""

    def drain(self, observer: Observer) -> bool:
        """Train until the feed is empty; return whether it is (a request to stop returns False)."""
        self._observer = observer
        # The signals are counted until everything is left in order: none of them cuts that short.
        with Interrupts() as interrupts:
            try:
                while self._turn(interrupts, observer):
                    self.starter.launcher.wait(POLL_SECONDS)
                if not self._is_away:
                    self._attempt(lambda: self._show(observer))
            except BaseException:
                self._wind_down(interrupts)
                raise
            finally:
                self._leave()
        return not self.jobs.is_stopping

    def _wind_down(self, interrupts: Interrupts) -> None:
        """Let the jobs finish their epochs after an error. Another interrupt ends the wait."""
        count, deadline = interrupts.count, time.monotonic() + WIND_DOWN_SECONDS
        self.jobs.ask_to_stop()
        while self.jobs.are_running() and interrupts.count == count and time.monotonic() <= deadline:
            self.starter.launcher.wait(POLL_SECONDS)

    def _turn(self, interrupts: Interrupts, observer: Observer) -> bool:
        """Take a step and show the runs; return whether to go on. A locked queue is asked again at the next turn."""
        if interrupts.count >= AT_ONCE:
            self.jobs.is_stopping = True
            return False
        num_ended = len(self.claims.ended)
        try:
            goes_on = self._step(interrupts.count)
            self._is_away = False
            if len(self.claims.ended) > num_ended:
                self._timers.show.now()
            if self._timers.show.is_due():
                self._show(observer)
        except QueueLockedError as error:
            # A locked queue must not end the trainings. So the error is noted, and the next turn asks again.
            self._is_away = True
            self._note(str(error))
            self._timers.claim.now()
            return True
        return goes_on

    def _show(self, observer: Observer) -> None:
        observer.show(self.claims.rows(self.feed.ids()), self.jobs.live)

    def _attempt(self, act: Callable[[], object]) -> None:
        """Do something that the next command does too. If it fails because of the queue or git, only note that."""
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
        """Look at every job once and fill one free slot; return whether there is anything left to wait for."""
        if num_interrupts:
            self.jobs.ask_to_stop()
        else:
            self.feed.refill(self.jobs)
        self._follow_all()
        self.claims.report()
        if self._timers.beat.is_due():
            self._beat()
        if not self.jobs.is_stopping and self._timers.reconcile.is_due():
            reconcile(self.claims.store, self.starter.paths, end_jobs=True)
            self._attempt(lambda: clean_checkouts(self.starter.paths, self.starter.checkouts))
        if self.jobs.is_stopping:
            return bool(self.jobs.tasks)
        self._start_waiting()
        return self._fill() or bool(self.jobs.tasks or self.settler.retries) or self.feed.is_unfinished()

    def _beat(self) -> None:
        """Send a heartbeat, and let go of runs that another worker has by now."""
        heartbeat = self.claims.store.send_heartbeat(self.claims.process)
        if heartbeat.is_asked_to_stop:
            self.jobs.ask_to_stop()
        # A worker whose heartbeats stopped for a lease is presumed dead, and others take over its runs.
        # Two jobs in one folder would mix their epochs, so this one ends its own.
        for run_id in sorted(self.claims.held.keys() - heartbeat.held):
            self._note(f"{run_id}: it is another worker's now; its job here is ended")
            for task in self.jobs.kill_run(run_id):
                self._attempt(partial(self.starter.leave, task))
            self.settler.forget(run_id)
            self.claims.lose(run_id)
            self._timers.claim.now()

    def _fill(self) -> bool:
        """Claim a run and start it; return whether one waited."""
        # One run a turn: a start takes a moment, and a request to stop must not wait for several.
        slot = self._free_slot()
        if slot is None or not self._timers.claim.is_due():
            return False
        claimed = self.claims.take(self.feed.ids())
        if claimed is None:
            return False
        self._timers.claim.now()
        self._start(claimed, slot)
        return True

    def _start_waiting(self) -> None:
        """Start runs whose device has emptied, and runs whose wait after an interruption is over."""
        for run_id in self.settler.due_retries():
            if run_id in self.settler.reserved:
                # It has a device to itself, so it takes no slot of another.
                del self.settler.retries[run_id]
            elif (slot := self._free_slot()) is not None:
                del self.settler.retries[run_id]
                self._start(self.claims.held[run_id], slot)
        for run_id, device in tuple(self.settler.reserved.items()):
            if run_id not in self.settler.retries and (slot := self.jobs.slot_of_empty(device)) is not None:
                self.settler.stop_waiting(run_id)
                self._start(self.claims.held[run_id], slot)

    def _free_slot(self) -> Slot | None:
        slot = self.jobs.free_slot(self.settler.reserved.values())
        if self.jobs.unknown_memory is not None and not self._is_memory_told:
            # No run is lost by that, so it is no problem that the command ends with.
            self._is_memory_told = True
            if self._observer is not None:
                self._observer.tell(self.jobs.unknown_memory)
        return slot

    def _start(self, claimed: QueuedRun, slot: Slot) -> None:
        """Start a run in a slot, or let it wait until no other job runs on the slot's GPU."""
        if self.jobs.shares_gpu(slot) and self.starter.must_be_alone(claimed):
            self.settler.reserved[claimed.id] = slot.device
            return
        try:
            self.jobs.tasks.append(self.starter.start(claimed, slot))
        except RejectedError as error:
            self.settler.reject(claimed, str(error))
        except (RunError, CodeError, DataError, OSError, ValueError) as error:
            reason = f"it cannot be started: {error}"
            self.settler.interrupt(claimed, reason, is_passing=is_passing_error(error))

    def _follow_all(self) -> None:
        """Look at every job, also if the queue is locked: guards do not wait for it."""
        away: QueueLockedError | None = None
        for task in tuple(self.jobs.tasks):
            if task in self.jobs.tasks:
                try:
                    self._follow(task)
                except QueueLockedError as error:
                    away = error
        if away is not None:
            raise away

    def _follow(self, task: Task) -> None:
        """Look at one job, and settle its run if it ended."""
        try:
            ending = self._look(task)
            if ending is not None and ending.result is not None:
                ending = interrupt_doubtful(self.starter.paths, task) or ending
        except (ValueError, RunError) as error:
            # The job's code is another version's, and writes what this one cannot read.
            task.live.kill()
            ending = Ending(state=RunState.INTERRUPTED, reason=f"{task.live.folder.path}: {error}")
        except OSError as error:
            ending = endure(task, error, self._note)
        if ending is not None:
            self.jobs.tasks.remove(task)
            self._timers.claim.now()
            self.settler.settle(task, ending)
            self._attempt(partial(self.starter.leave, task))

    def _look(self, task: Task) -> Ending | None:
        """Ask the guards about a run; return how it ended, None while its job runs."""
        status = self.jobs.check(task)
        if status is None:
            return None
        # Another worker that took the run over has killed this job. Then its death says nothing about the run.
        self._beat()
        return task.live.end(status) if task in self.jobs.tasks else None

    def _leave(self) -> None:
        """Leave no job, no worktree and no claim behind. If one step fails, the others are still done."""
        with ExitStack() as last_first:
            last_first.callback(self._attempt, self._let_go)
            last_first.callback(self._attempt, self.starter.checkouts.close)
            last_first.callback(self.starter.launcher.close)
            for task in self.jobs.tasks:
                last_first.callback(self._attempt, partial(self.starter.leave, task))
            for live in self.jobs.live:
                last_first.callback(live.kill)

    def _let_go(self) -> None:
        """Report what is left to the queue, and leave it."""
        self.jobs.tasks.clear()
        # Each call of a silent server takes seconds. The next command reconciles what this one leaves.
        if not self._is_away:
            self.claims.report()
            self.settler.end_all()
            self.claims.store.workers.dismiss(self.claims.process)


def build_worker(store: Store, paths: Paths, slots: int | None, feed: Feed, per_gpu: int = 1) -> Worker:
    """Make a worker of this machine.

    Args:
        store: the queue.
        paths: the folders of the results.
        slots: how many jobs at once; None for as many as fit.
        feed: the runs that it trains.
        per_gpu: how many jobs a GPU may have at once, if `slots` says nothing.
    """
    return Worker(store, paths, make_own_slots(slots, per_gpu), Launcher(), feed)
