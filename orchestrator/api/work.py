"""`knockout work`: trains what waits, whoever queued it. It loads nothing that judges or draws."""

from msgspec import Struct

from orchestrator.launch.loop import EveryRun, Observer
from orchestrator.launch.worker import build_worker
from orchestrator.queue.reconcile import requeue_interrupted
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import describe_forgotten


class WorkOptions(Struct, frozen=True, kw_only=True):
    """How `knockout work` goes about it."""

    slots: int | None = None
    stays: bool = False


class Worked(Struct, frozen=True, kw_only=True):
    """What came of `knockout work`."""

    rows: list[QueuedRun]
    problems: tuple[str, ...]
    is_complete: bool


def work(paths: Paths, options: WorkOptions, observer: Observer) -> Worked:
    """Train what waits, whoever queued it and whatever the campaign file says by now.

    Raises:
        QueueError: the queue cannot be used.
    """
    store = open_store(paths)
    try:
        requeue_interrupted(store)
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
