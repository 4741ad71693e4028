"""Starts a claimed run: order, data, checkout, check, job. Holds the slots and the jobs under way in them."""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import DataError, RunError, SpecError
from orchestrator.launch.commands import build_launch_file, find_preload_problem, prepare_job, read_run_config, task_of
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.contention import FreeMemory, find_other_load, fits_beside
from orchestrator.launch.forked import AnyJob, Launcher
from orchestrator.launch.guards import Ruling
from orchestrator.launch.probing import References
from orchestrator.launch.provenance import with_first_threads, write_provenance
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.queue.reconcile import end_remaining_jobs
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.fingerprints import changed_captures, changed_data
from orchestrator.runs.folder import RunConfig, RunFolder
from orchestrator.runs.job_lock import HeldError
from orchestrator.runs.order import AGAIN, Order, read_order
from orchestrator.runs.paths import Paths
from orchestrator.supervisor.attempts import read_attempts
from orchestrator.supervisor.checkout import collect_outputs
from orchestrator.supervisor.launch_file import write_launch
from orchestrator.task.ask import check_job


class RejectedError(RunError):
    """An experiment's own code cannot do the job. The message is what that code says."""


@dataclass(eq=False)
class Task:
    """A run that a worker has claimed, and the job that trains it."""

    claimed: QueuedRun
    order: Order
    live: LiveRun
    slot: Slot
    ruling: Ruling | None = None
    """What a guard has ruled; None while the run goes on."""
    own_checkout: Path | None = None
    """The checkout that this run has to itself; None where runs share one."""


@dataclass
class Jobs:
    """The slots of one worker, and the jobs that train in them now."""

    slots: Sequence[Slot]
    references: References
    tasks: list[Task] = field(default_factory=list)
    is_stopping: bool = False
    """Whether the jobs were asked to finish their epochs. Then no other job starts."""
    read_free_bytes: Callable[[Slot], int | None] = field(default_factory=FreeMemory)
    """Returns the free memory of a slot's GPU in bytes; None if nobody knows."""
    unknown_memory: str | None = None
    """Why a slot of a GPU waits although memory may be free, as a sentence; None if NVML has told it."""
    _peak_bytes: int = 0
    """Most memory that a job of this worker has told."""

    @property
    def live(self) -> list[LiveRun]:
        """The runs under way."""
        return [task.live for task in self.tasks]

    def are_running(self) -> bool:
        """Whether the process of any job still runs."""
        return any(task.live.job.exit_status() is None for task in self.tasks)

    def free_slot(self, reserved: Collection[str] = ()) -> Slot | None:
        """Return a slot without a job, first one whose GPU has no job either; None if there is none.

        Args:
            reserved: devices that a run has to itself, or waits for. Their slots count as busy.
        """
        busy = [id(task.slot) for task in self.tasks]
        free = [slot for slot in self.slots if id(slot) not in busy and slot.device not in reserved]
        alone = next((slot for slot in free if not self.shares_gpu(slot)), None)
        return alone or next((slot for slot in free if self._has_room(slot)), None)

    def shares_gpu(self, slot: Slot) -> bool:
        """Whether a job runs on the GPU of a slot. Slots on a CPU share no GPU."""
        return slot.gpu is not None and bool(self._on(slot))

    def _on(self, slot: Slot) -> list[Task]:
        return [task for task in self.tasks if task.slot.device == slot.device]

    def _has_room(self, slot: Slot) -> bool:
        """Whether another job may start beside those on the GPU of a slot."""
        beside = self._on(slot)
        # A job that starts would take memory from a probe, and time from a run with a limit by the clock.
        if any(task.live.is_paused or task.order.guards.clock_limits for task in beside):
            return False
        # A job without a finished epoch has not taken all its memory yet.
        if any(task.live.peak_memory_bytes is None for task in beside):
            return False
        free_bytes = self.read_free_bytes(slot)
        if free_bytes is None:
            self.unknown_memory = (
                f"NVML does not tell the free memory of GPU {slot.gpu}, so only one job at a time runs on it"
            )
        return free_bytes is not None and fits_beside(self._peak_bytes, free_bytes)

    def slot_of_empty(self, device: str) -> Slot | None:
        """Return a slot of a device on which no job runs; None while one does."""
        if any(task.slot.device == device for task in self.tasks):
            return None
        return next(slot for slot in self.slots if slot.device == device)

    def ask_to_stop(self) -> None:
        """Let every job finish its epoch and checkpoint, and start no more."""
        # A job that is asked twice ends at once and loses its epoch.
        if not self.is_stopping:
            self.is_stopping = True
            for task in self.tasks:
                task.live.ask_to_stop()

    def stop_run(self, run_id: str) -> bool:
        """Let the job of a run finish its epoch and checkpoint; return whether it trains here."""
        found = [task.live for task in self.tasks if task.claimed.id == run_id]
        for run in found:
            run.ask_to_stop()
        return bool(found)

    def kill_run(self, run_id: str) -> list[Task]:
        """End the job of a run at once, and forget it; return what was forgotten."""
        ended = [task for task in self.tasks if task.claimed.id == run_id]
        for task in ended:
            task.live.kill()
        self.tasks = [task for task in self.tasks if task.claimed.id != run_id]
        return ended

    def check(self, task: Task) -> int | None:
        """Ask the guards about a run; return its job's exit status, None while it runs."""
        beside = [other for other in self._on(task.slot) if other is not task and task.slot.gpu is not None]
        if any(other.live.is_paused for other in beside):
            # A probe on its GPU has paused this job too. Its silence means nothing, and one probe at a time is enough.
            task.live.wait_aside()
            return task.live.job.exit_status()
        slots = [other.live.job.slot for other in self.tasks]
        # Our own jobs keep the machine busy too. Without their numbers each would count as a stranger to the others.
        jobs = (other.live.job.pid for other in self.tasks)
        own_pids = [os.getpid(), *(pid for pid in jobs if pid is not None)]
        pace = self.references.pace_of(task.order)
        # A probe pauses its job, and a paused job cannot finish its epoch.
        probe = None if self.is_stopping else self.references.probe_of(task.order, [each.live.job for each in beside])
        ruling = task.live.check(task.order.guards, pace, lambda: find_other_load(slots, own_pids), probe)
        task.ruling = ruling or task.ruling
        self._peak_bytes = max(self._peak_bytes, task.live.peak_memory_bytes or 0)
        return task.live.job.exit_status()


@dataclass
class Starter:
    """Starts the jobs of one worker."""

    paths: Paths
    launcher: Launcher
    checkouts: Checkouts
    _answers: dict[str | None, str | None] = field(default_factory=dict)
    """Commit of an experiment's own code -> why it cannot do its job; None if it can."""

    def start(self, claimed: QueuedRun, slot: Slot) -> Task:
        """Start a run's job in a slot.

        Raises:
            RejectedError: the experiment's code refuses the job, or its command cannot be built.
            RunError, CodeError, DataError: the folder, the code or the data are not as they were queued.
            OSError, ValueError: a file of the run cannot be read or written.
        """
        folder = self.paths.run(claimed.id)
        # Relative paths begin at the campaign's folder, which may have another name on the machine that queued the run.
        order = structs.replace(read_order(folder), root=str(self.paths.root.resolve()))
        config, task = read_run_config(folder), task_of(order)
        num_epochs, needs = find_facts(order, config)
        if "compiler" in needs and (lacking := find_compiler_problem()) is not None:
            raise RunError(lacking)
        self._require_data(order)
        # A job may outlive its worker. Two jobs in one folder would mix their epochs.
        held_by = end_remaining_jobs(folder)
        if held_by is not None:
            raise RunError(f"{folder.path}: {held_by}; end that, and queue the run again")
        rescue_outputs(folder, order)
        if task.shares_checkout:
            checkout = self.checkouts.open(claimed.experiment, order.code)
        else:
            checkout = self.checkouts.open_run(claimed.id, claimed.experiment, order.code)
        own = None if task.shares_checkout else checkout
        try:
            job = self._start_in(checkout, folder, order, config, slot)
        except BaseException:
            self._remove(own)
            raise
        live = LiveRun(
            id=claimed.id,
            num_epochs=num_epochs,
            folder=folder,
            job=job,
            can_probe=task.probe is not None,
            is_quiet=task.supervised and task.progress is None,
        )
        return Task(claimed, order, live, slot, own_checkout=own)

    def _start_in(self, checkout: Path, folder: RunFolder, order: Order, config: RunConfig, slot: Slot) -> AnyJob:
        problem = self._ask_code(folder, order, checkout) if _is_to_be_asked(order) else None
        if problem is not None:
            raise RejectedError(problem)
        write_provenance(folder, order, self.paths.root, slot)
        threads = with_first_threads(folder, slot)
        try:
            if task_of(order).supervised:
                launch = build_launch_file(order, config, folder, checkout, threads)
                if task_of(order).preload and find_preload_problem(task_of(order), launch.arguments) is None:
                    place = self.launcher.find_preload(task_of(order).preload, launch)
                    launch = structs.replace(launch, preload=place)
                write_launch(folder.launch, launch)
            command = prepare_job(order, config, folder, checkout, threads)
        except SpecError as error:
            raise RejectedError(str(error)) from None
        return self.launcher.start(folder, command, threads)

    def leave(self, task: Task) -> list[str]:
        """Keep what a run that has ended wrote into its own checkout, and remove that; return what is refused."""
        if task.own_checkout is not None:
            with suppress(OSError, RunError):
                rescue_outputs(task.live.folder, task.order)
        return self._remove(task.own_checkout)

    def _remove(self, own_checkout: Path | None) -> list[str]:
        return [] if own_checkout is None else self.checkouts.remove(own_checkout)

    def must_be_alone(self, claimed: QueuedRun) -> bool:
        """Whether the guards of a run would count the time that another job on its GPU takes."""
        # If the order cannot be read, the start of the run says why.
        with suppress(RunError):
            return bool(read_order(self.paths.run(claimed.id)).guards.clock_limits)
        return False

    def _require_data(self, order: Order) -> None:
        """Refuse files and data that differ from those in the run's identity."""
        other = find_changed(order, self.paths)
        if other is not None:
            raise DataError(f"{other} has changed since the run was queued; {AGAIN}")

    def _ask_code(self, folder: RunFolder, order: Order, code: Path) -> str | None:
        """Return why an experiment's own code cannot do this job; None if it can. Ask once a commit."""
        # The answer takes seconds, as it imports the code.
        # The seeds of one experiment have one commit, so they share it.
        if order.code.commit not in self._answers:
            self._answers[order.code.commit] = check_job(folder.path, code, self.paths.root)
        return self._answers[order.code.commit]


def find_changed(order: Order, paths: Paths) -> str | None:
    """Return the first file or data of a run that differ from those in its identity; None if none does.

    Raises:
        DataError: they are missing, or cannot be read.
    """
    files = changed_captures(order.captures, paths.root, paths.fingerprints)
    if files:
        return str(paths.root / files[0])
    data = changed_data(task_of(order).data, order.data, paths.root, paths.fingerprints)
    return f"the data `{data[0]}`" if data else None


def find_facts(order: Order, config: RunConfig) -> tuple[int | None, tuple[str, ...]]:
    """Return the epochs of the whole training, if they are known, and what the machine must have."""
    if order.task is not None:
        return order.num_epochs, order.needs
    return config.params["optim"]["epochs"], ("compiler",) if config.params["runtime"]["compile"] else ()


def _is_to_be_asked(order: Order) -> bool:
    """Whether an experiment's own code is asked if it can do the job."""
    return order.code.is_own and (order.task is None or order.task.check is not None)


def rescue_outputs(folder: RunFolder, order: Order) -> None:
    """Keep what the last attempt wrote into its checkout, if its supervisor died before it could.

    Raises:
        OSError: a file cannot be moved.
    """
    attempts = read_attempts(folder.attempts)
    if attempts and Path(attempts[-1].checkout).is_dir():
        collect_outputs(Path(attempts[-1].checkout), task_of(order).outputs, folder.outputs)


def clean_checkouts(paths: Paths, checkouts: Checkouts) -> list[str]:
    """Remove the checkouts of workers that are gone, after what runs wrote there is kept; return what is refused."""
    for folder in paths.ordered_runs():
        if folder.attempts.exists() and not folder.result.exists():
            # A folder that cannot be read is a problem of the run's next start, which says so.
            with suppress(OSError, RunError, HeldError):
                if folder.holder() is None:
                    rescue_outputs(folder, read_order(folder))
    return checkouts.remove_leftovers()
