"""`knockout queue list` and `knockout cancel`: who waits and who runs, and taking a run out of the line."""

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.layout import Layout
from orchestrator.run_names import pick_run
from orchestrator.states import RunState
from orchestrator.store import QueuedRun, Store

CANCELLED = "cancelled by `knockout cancel`; the next `knockout run` that plans it queues it again"


def waiting_rows(layout: Layout) -> list[QueuedRun]:
    """Return the runs that wait or run, in the order of the queue."""
    return [row for row in _rows(layout) if row.state in (RunState.QUEUED, RunState.RUNNING)]


def _rows(layout: Layout) -> list[QueuedRun]:
    if not layout.database.exists():
        return []
    store = Store(layout.database)
    try:
        return store.runs()
    finally:
        store.close()


def cancel(layout: Layout, words: Sequence[str]) -> list[str]:
    """Cancel waiting runs, all of those named or none; return what was done in sentences.

    Raises:
        UsageError: a run is not known, or does not wait.
    """
    rows = {row.id: row for row in _rows(layout)}
    ids = list(dict.fromkeys(pick_run(word, rows) for word in words))
    for run_id in ids:
        refuse_unless_waiting(rows[run_id])
    store = Store(layout.database)
    try:
        for run_id in ids:
            while not store.move(run_id, RunState.QUEUED, RunState.CANCELLED, reason=CANCELLED):
                refuse_unless_waiting(store.runs([run_id])[0])
    finally:
        store.close()
    return [f"{run_id} is cancelled; the next `knockout run` that plans it queues it again" for run_id in ids]


def refuse_unless_waiting(row: QueuedRun) -> None:
    """Say what to do instead with a run that does not wait. Pure.

    Raises:
        UsageError: it does not.
    """
    if row.state is RunState.QUEUED:
        return
    if row.state is RunState.RUNNING:
        how = f"process {row.pid} on {row.host} trains it; Ctrl-C there lets it finish its epoch"
    elif row.state is RunState.INTERRUPTED:
        how = "nothing trains it until `knockout run` goes on with it"
    else:
        how = "it has ended, so there is nothing to cancel"
    raise UsageError(f"{row.id} is {row.state.value}, not waiting: {how}")
