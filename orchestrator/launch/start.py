"""Starts a run that a worker has claimed: its order, its captures, its code, and then its job."""

from dataclasses import dataclass, field
from pathlib import Path

from model.train.run_folder import RunFolder
from orchestrator.code.checkouts import Checkouts
from orchestrator.errors import DataError, RunError
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.forked import Launcher
from orchestrator.launch.guards import Ruling
from orchestrator.launch.provenance import with_first_threads, write_provenance
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.queue.reconcile import end_remaining_jobs
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.fingerprints import changed_captures
from orchestrator.runs.order import AGAIN, Order, read_order
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import check_job


class RejectedError(RunError):
    """Code that is not the campaign's own cannot do the job, in its own words."""


@dataclass(eq=False)
class Task:
    """A run that a worker has claimed, and the job that trains it."""

    claimed: QueuedRun
    order: Order
    live: LiveRun
    slot: Slot
    ruling: Ruling | None = None
    """What a guard has ruled on it."""


@dataclass
class Starter:
    """Starts the jobs of one worker."""

    paths: Paths
    launcher: Launcher
    checkouts: Checkouts
    _checked: dict[str | None, str | None] = field(default_factory=dict)
    """Commit of code that is an experiment's own -> why it cannot do its job."""

    def start(self, claimed: QueuedRun, slot: Slot) -> Task:
        """Start a run's job in a slot.

        Raises:
            RejectedError: the experiment's code refuses the job.
            RunError, CodeError, DataError: the folder, the code or a capture is not as it was queued.
            OSError, ValueError: a file of the run cannot be read or written.
        """
        folder = self.paths.run(claimed.id)
        order, config = read_order(folder), folder.read_config()
        if config.runtime.compile and (lacking := find_compiler_problem()) is not None:
            raise RunError(lacking)
        self._require_captures(order)
        code = self.checkouts.open(claimed.experiment, order.code)
        held_by = end_remaining_jobs(folder)
        if held_by is not None:
            raise RunError(f"{folder.path}: {held_by}; end that, and queue the run again")
        problem = self._check(folder, order, code) if order.code.is_own else None
        if problem is not None:
            raise RejectedError(problem)
        write_provenance(folder, order, self.paths.root, slot)
        job = self.launcher.start(folder, code, order.code.tree, with_first_threads(folder, slot))
        live = LiveRun(id=claimed.id, num_epochs=config.optim.epochs, folder=folder, job=job)
        return Task(claimed, order, live, slot)

    def _require_captures(self, order: Order) -> None:
        """Refuse to train on other bursts than those that the run is named by."""
        other = changed_captures(order.captures, self.paths.root, self.paths.fingerprints)
        if other:
            raise DataError(f"{self.paths.root / other[0]}: the capture has changed since the run was queued; {AGAIN}")

    def _check(self, folder: RunFolder, order: Order, code: Path) -> str | None:
        """Ask code that is not the campaign's own whether it can do this job; once for each experiment."""
        if order.code.commit not in self._checked:
            self._checked[order.code.commit] = check_job(folder.path, code, self.paths.root)
        return self._checked[order.code.commit]
