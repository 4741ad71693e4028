"""The queue as a person sees and steers it: who waits and who runs; cancel, retry, stop."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
from msgspec import Struct

from orchestrator.errors import RunError, UsageError
from orchestrator.layout import Layout
from orchestrator.orders import read_order
from orchestrator.processes import ask_to_end
from orchestrator.reconcile import reconcile
from orchestrator.results import read_result
from orchestrator.run_names import pick_run
from orchestrator.states import OPEN, Failure, RunState
from orchestrator.store import QueuedRun, Store, open_store

CANCELLED = "cancelled by `knockout cancel`; the next `knockout run` or `queue add` that plans it queues it again"
ASKED = "asked to stop: {who} finishes what epochs are under way, keeps the checkpoints and ends"
ORPHANED = "its worker is gone and its job trains on; the next `knockout work` takes it over"
STATES = tuple(state.value for state in RunState)


@contextmanager
def reconciled(layout: Layout) -> Iterator[Store]:
    """Open the queue, once it says what lives and what the run folders say."""
    store = open_store(layout)
    try:
        reconcile(store, layout, end_jobs=False)
        yield store
    finally:
        store.close()


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows are asked for; empty means all."""

    experiments: tuple[str, ...] = ()
    profile: str | None = None
    seeds: tuple[int, ...] | None = None

    def holds(self, row: QueuedRun) -> bool:
        """Whether a row is among them."""
        return (
            (not self.experiments or row.experiment in self.experiments)
            and self.profile in (None, row.profile)
            and (self.seeds is None or row.seed in self.seeds)
        )


def rows_of(layout: Layout, wanted: Wanted | None = None) -> list[QueuedRun]:
    """Return the runs that are known, in the order of the queue."""
    if not layout.has_queue:
        return []
    with reconciled(layout) as store:
        rows = store.runs()
    return [_told_of_orphan(row) for row in rows if wanted is None or wanted.holds(row)]


def is_orphan(row: QueuedRun) -> bool:
    """Whether a row that says "running", as it stands once reconciled, has a job here whose worker is gone."""
    worker = row.worker if row.state is RunState.RUNNING else None
    return worker is not None and worker.is_here and not worker.is_alive


def _told_of_orphan(row: QueuedRun) -> QueuedRun:
    return msgspec.structs.replace(row, reason=ORPHANED) if is_orphan(row) else row


def open_rows(layout: Layout) -> list[QueuedRun]:
    """Return the runs that wait or run, in the order of the queue."""
    return [row for row in rows_of(layout) if row.state in OPEN]


def count_states(rows: Sequence[QueuedRun]) -> str:
    """Say how many runs are in which state, in the order of a run's life."""
    states = [row.state.value for row in rows]
    return ", ".join(f"{states.count(state):,} {state}" for state in STATES if state in states)


def cancel(layout: Layout, words: Sequence[str]) -> list[str]:
    """Cancel waiting runs, all of those named or none; return what was done in sentences.

    Raises:
        UsageError: a run is not known, or does not wait.
    """
    rows = {row.id: row for row in rows_of(layout)}
    ids = list(dict.fromkeys(pick_run(word, rows) for word in words))
    for run_id in ids:
        refuse_unless_waiting(rows[run_id])
    with reconciled(layout) as store:
        for run_id in ids:
            while not any(
                store.move(run_id, before, RunState.CANCELLED, reason=CANCELLED)
                for before in (RunState.QUEUED, RunState.INTERRUPTED)
            ):
                refuse_unless_waiting(store.runs([run_id])[0])
    return [f"{run_id} is {CANCELLED.replace(' by `knockout cancel`', '')}" for run_id in ids]


def refuse_unless_waiting(row: QueuedRun) -> None:
    """Say what to do instead with a run that does not wait. Pure.

    Raises:
        UsageError: it does not.
    """
    if row.state in (RunState.QUEUED, RunState.INTERRUPTED):
        return
    if row.state is RunState.RUNNING:
        how = f"process {row.pid} on {row.host} trains it; `knockout stop` lets it finish its epoch"
    else:
        how = "it has ended, so there is nothing to cancel"
    raise UsageError(f"{row.id} is {row.state.value}, not waiting: {how}")


def retry(layout: Layout, words: Sequence[str], failure: str | None = None) -> list[str]:
    """Let failed runs wait again: those named, or all, or all of a class; return what was done in sentences.

    A run that was ruled too slow waits again where it is named, and another seed of the same configuration is done.

    The code is the one they were queued with; they go on from their last checkpoint, if they have one.

    Raises:
        UsageError: a run is not known, has not failed or has no code, or there is no such class.
    """
    if failure is not None and failure not in tuple(Failure):
        raise UsageError(f"there is no class of failures `{failure}`; there are {', '.join(Failure)}")
    rows = {row.id: row for row in rows_of(layout)}
    named = [rows[pick_run(word, rows)] for word in words] or [
        row for row in rows.values() if row.state is RunState.FAILED and failure in (None, row.failure)
    ]
    if not named:
        return ["no run has failed" + (f" with {failure}" if failure else "")]
    for row in named:
        _refuse_unless_in_doubt(layout, row, rows.values())
    refused = {row.id: why for row in named if (why := _why_in_vain(layout, row)) is not None}
    if words and refused:
        raise UsageError("; ".join(refused.values()))
    again = [row for row in named if row.id not in refused]
    with reconciled(layout) as store:
        for row in again:
            _let_wait_again(layout, store, row)
    waits = [f"{row.id} waits again ({row.failure or row.state.value})" for row in again]
    return [*waits, *refused.values(), *(["`knockout work` trains what waits"] if waits else [])]


def _refuse_unless_in_doubt(layout: Layout, row: QueuedRun, rows: Iterable[QueuedRun]) -> None:
    """Say why a run is not tried again.

    Raises:
        UsageError: it neither failed, nor was ruled too slow against what another seed says.
    """
    if row.state is RunState.FAILED:
        return
    if row.state is not RunState.TOO_SLOW:
        raise UsageError(f"{row.id} is {row.state.value}, and only failed runs are tried again")
    others = [
        other
        for other in rows
        if (other.experiment, other.profile, other.state) == (row.experiment, row.profile, RunState.DONE)
    ]
    if not any(_is_same_but_for_seed(layout, row, other) for other in others):
        raise UsageError(
            f"{row.id} is too_slow, and no other seed of its configuration is done; its ruling stands. "
            "To train it all the same, set other `guards` and move its folder away"
        )


def _is_same_but_for_seed(layout: Layout, row: QueuedRun, other: QueuedRun) -> bool:
    """Whether two runs have the same code and configuration; what cannot be read is not."""
    with suppress(RunError, OSError, ValueError):
        folders = (layout.run(row.id), layout.run(other.id))
        one, two = ((read_order(folder).code.tree, folder.read_config()) for folder in folders)
        return one == (two[0], msgspec.structs.replace(two[1], seed=one[1].seed))
    return False


def _why_in_vain(layout: Layout, row: QueuedRun) -> str | None:
    """Say why a failed run cannot go on as it was queued; None if it can."""
    try:
        code = read_order(layout.run(row.id)).code
    except RunError as error:
        return str(error)
    if row.failure != Failure.REJECTED or code.commit is not None:
        return None
    return f"{row.id} has no code to train, its patch or ref was refused; correct that and queue it again"


def _let_wait_again(layout: Layout, store: Store, row: QueuedRun) -> None:
    folder = layout.run(row.id)
    result = read_result(folder)
    if result is not None and result.state == row.state:
        folder.result.unlink()
    store.move(row.id, row.state, RunState.QUEUED)


def stop(layout: Layout) -> list[str]:
    """Ask every worker to let its trainings finish their epoch and to end; return whom, in sentences."""
    if not layout.has_queue:
        return ["nobody is at work"]
    with reconciled(layout) as store:
        workers = store.workers()
        store.ask_to_stop(workers)
        orphans = [row for row in store.runs(states=(RunState.RUNNING,)) if is_orphan(row)]
    asked = [f"process {worker.pid} on {worker.host}" for worker in workers]
    asked += [f"the job of {row.id}, whose worker is gone," for row in orphans if _ask_job_to_stop(layout, row)]
    return [ASKED.format(who=who) for who in asked] or ["nobody is at work"]


def _ask_job_to_stop(layout: Layout, row: QueuedRun) -> bool:
    """Ask the job in a run's folder to finish its epoch; return whether there was one."""
    holder = layout.run(row.id).holder()
    if holder is not None:
        ask_to_end(holder.pid)
    return holder is not None
