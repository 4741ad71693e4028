"""`knockout work`: trains the runs that wait. It loads nothing that judges or draws."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from orchestrator.errors import RunError
from orchestrator.launch.contention import refuse_crowded
from orchestrator.launch.loop import EveryRun, Observer
from orchestrator.launch.watcher import LiveRun
from orchestrator.launch.worker import build_worker
from orchestrator.queue.reconcile import requeue_interrupted
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.order import GuardSpec, read_order
from orchestrator.runs.paths import Paths, find_paths
from orchestrator.runs.results import describe_forgotten
from orchestrator.runs.states import RunState

__all__ = ["SILENT", "LiveRun", "Observer", "WorkOptions", "Worked", "work"]


class _Silent:
    """An observer that shows nothing."""

    def show(self, rows: Sequence[QueuedRun], live: Sequence[LiveRun]) -> None:
        """Take the queue's rows and the runs under way."""

    def tell(self, problem: str) -> None:
        """Take a sentence about what keeps runs from being trained."""


SILENT = _Silent()
"""The observer of a script that only waits for the end."""


class WorkOptions(Struct, frozen=True, kw_only=True):
    """How `knockout work` goes about it."""

    slots: int | None = None
    """How many trainings run at a time; None for one on each GPU, or two on a CPU."""
    stays: bool = False
    """Whether it waits for runs that are queued later."""


class Worked(Struct, frozen=True, kw_only=True):
    """What `knockout work` has trained."""

    rows: list[QueuedRun]
    """The runs that it trained to an end."""
    problems: tuple[str, ...]
    is_complete: bool
    """Whether nothing waits any more; false where it was asked to stop."""


def work(file: Path, options: WorkOptions | None = None, observer: Observer = SILENT) -> Worked:
    """Train what waits, whoever queued it. The campaign file may have changed since; it is not read.

    Args:
        file: the campaign file, beside which the queue lies.
        options: how.
        observer: who follows the runs.

    Raises:
        UsageError: the campaign file does not exist, or a run that waits must have a GPU to itself.
        QueueError: the queue cannot be used.
    """
    paths, options = find_paths(file), options or WorkOptions()
    store = open_store(paths)
    try:
        # A person who stopped a worker and starts one again wants the runs to go on.
        requeue_interrupted(store)
        refuse_crowded(options.slots, _guards_of_waiting(store, paths))
        worker = build_worker(store, paths, options.slots, EveryRun(options.stays))
        is_complete = worker.drain(observer)
        rows = list(worker.claims.ended.values())
        # Only if nothing waited: a person who interrupts must not wait for a queue that is away.
        is_idle = is_complete and not rows
        forgotten = describe_forgotten(paths) if is_idle and not store.runs() else []
        problems = (*worker.problems, *forgotten)
        return Worked(rows=rows, problems=problems, is_complete=is_complete)
    finally:
        store.close()


def _guards_of_waiting(store: Store, paths: Paths) -> Iterator[GuardSpec]:
    """Yield the guards of the runs that wait. A run whose order cannot be read is told of when it starts."""
    for row in store.runs(states=[RunState.QUEUED]):
        with suppress(RunError):
            yield read_order(paths.run(row.id)).guards
