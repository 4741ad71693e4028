"""The queue for a person: list the runs, cancel waiting ones, retry failed ones, stop the workers."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
from msgspec import Struct

from orchestrator.errors import RunError, UsageError
from orchestrator.queue.reconcile import ask_job_to_stop, reconcile
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.find import pick_run
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import describe_holder, find_holder, has_job, read_result, remove_result
from orchestrator.runs.states import Failure, RunState

CANCELLED = "cancelled by `knockout cancel`; the next `knockout run` or `queue add` that plans it queues it again"
ASKED = "asked to stop: {who} lets its trainings save, and ends"
ORPHANED = "its worker is gone and its job trains on; the next `knockout work` takes it over"
NONE_FAILED = "no run has failed"
UNKNOWN_JOB = (
    "its worker is gone, and it is unknown whether its job lives: {folder}: {why}; ask its owner, or move it away"
)
STATES = tuple(state.value for state in RunState)


class Listing(Struct, frozen=True, kw_only=True):
    """The part of the queue that is shown."""

    rows: tuple[QueuedRun, ...] = ()
    problems: tuple[str, ...] = ()
    """A sentence for each row that cannot be read."""


@contextmanager
def reconciled(paths: Paths, *, to_read: bool = False) -> Iterator[Store]:
    """Open the queue and reconcile it first; a queue that can only be read stays as it is.

    Args:
        paths: the campaign's folders.
        to_read: whether the caller only reads.
    """
    store = open_store(paths, to_read=to_read)
    try:
        if not store.only_reads:
            reconcile(store, paths, end_jobs=False)
        yield store
    finally:
        store.close()


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows a command asks for; an empty field means all."""

    experiments: tuple[str, ...] = ()
    profile: str | None = None
    seeds: tuple[int, ...] | None = None

    def matches(self, row: QueuedRun) -> bool:
        """Whether a row is asked for."""
        return (
            (not self.experiments or row.experiment in self.experiments)
            and self.profile in (None, row.profile)
            and (self.seeds is None or row.seed in self.seeds)
        )


def list_rows(paths: Paths, wanted: Wanted | None = None) -> Listing:
    """Return the runs in the order of the queue, and a sentence for each row that cannot be read."""
    if not paths.has_queue:
        return Listing()
    with reconciled(paths, to_read=True) as store:
        rows = store.runs()
        shown = [_with_orphan_reason(paths, row) for row in rows if wanted is None or wanted.matches(row)]
        return Listing(rows=tuple(shown), problems=tuple(store.unreadable.values()))


def is_orphan(row: QueuedRun) -> bool:
    """Whether a running row is an orphan: its worker, a process of this machine, is gone.

    In a reconciled queue such a row still has a job: otherwise the run would not be `running`.
    """
    worker = row.worker if row.state is RunState.RUNNING else None
    return worker is not None and worker.is_here and not worker.is_alive


def _with_orphan_reason(paths: Paths, row: QueuedRun) -> QueuedRun:
    if not is_orphan(row):
        return row
    try:
        reason = ORPHANED if find_holder(paths.run(row.id)) is not None else row.reason
    except OSError as error:
        reason = UNKNOWN_JOB.format(folder=paths.run(row.id).path, why=error.strerror)
    return msgspec.structs.replace(row, reason=reason)


def count_states(rows: Sequence[QueuedRun]) -> str:
    """Return the counts of the states, such as `3 queued, 1 running`."""
    states = [row.state.value for row in rows]
    return ", ".join(f"{states.count(state):,} {state}" for state in STATES if state in states)


def cancel(paths: Paths, words: Sequence[str]) -> list[str]:
    """Cancel waiting runs: all that are named, or none; return what was done, in sentences.

    Raises:
        UsageError: a run is not known, or does not wait.
    """
    _require_known(paths, words)
    with reconciled(paths) as store:
        rows = {row.id: row for row in store.runs()}
        ids = list(dict.fromkeys(pick_run(word, rows) for word in words))
        for run_id in ids:
            refuse_unless_waiting(rows[run_id])
        gone = [run_id for run_id in ids if not _cancel_row(store, run_id)]
        problems = list(store.unreadable.values())
    done = [f"{run_id} is {CANCELLED.replace(' by `knockout cancel`', '')}" for run_id in ids if run_id not in gone]
    return [*done, *(f"{run_id} is not in the queue any more" for run_id in gone), *problems]


def _require_known(paths: Paths, words: Sequence[str]) -> None:
    """Refuse named runs if there is no queue. None is made just to say so."""
    if not paths.has_queue:
        for word in words:
            pick_run(word, {})


def _cancel_row(store: Store, run_id: str) -> bool:
    """Cancel a run that waits; return whether the queue still knows it.

    Raises:
        UsageError: it no longer waits.
    """
    # A state changes only if it is still the one tried, so a run that moves meanwhile is looked at again.
    while not any(
        store.move(run_id, before, RunState.CANCELLED, reason=CANCELLED)
        for before in (RunState.QUEUED, RunState.INTERRUPTED)
    ):
        rows = store.runs([run_id])
        if not rows:
            return False
        refuse_unless_waiting(rows[0])
    return True


def refuse_unless_waiting(row: QueuedRun) -> None:
    """Refuse a run that does not wait, and say what to do instead. Pure.

    Raises:
        UsageError: it does not wait.
    """
    if row.state in (RunState.QUEUED, RunState.INTERRUPTED):
        return
    if row.state is RunState.RUNNING:
        how = f"process {row.pid} on {row.host} trains it; `knockout stop` lets it save and end"
    else:
        how = "it has ended, so there is nothing to cancel"
    raise UsageError(f"{row.id} is {row.state.value}, not waiting: {how}")


def retry(paths: Paths, words: Sequence[str], failure: str | None = None) -> list[str]:
    """Let failed runs wait again: those that are named, all, or all of one class of failures.

    A run that was stopped as too slow may be named too, if another seed of the same configuration is done. The runs
    keep the code that they were queued with, and go on from their last checkpoint.

    Args:
        paths: the campaign's folders.
        words: ids, or beginnings of ids.
        failure: the class, if no run is named.

    Returns:
        What was done, in sentences.

    Raises:
        UsageError: a run is unknown, has not failed or has no code, or there is no such class.
    """
    if failure is not None and failure not in tuple(Failure):
        raise UsageError(f"there is no class of failures `{failure}`; there are {', '.join(Failure)}")
    _require_known(paths, words)
    if not paths.has_queue:
        return [NONE_FAILED]
    with reconciled(paths) as store:
        rows = {row.id: row for row in store.runs()}
        problems = list(store.unreadable.values())
        named = [rows[pick_run(word, rows)] for word in words] or [
            row for row in rows.values() if row.state is RunState.FAILED and failure in (None, row.failure)
        ]
        if not named:
            return [NONE_FAILED + (f" with {failure}" if failure else ""), *problems]
        for row in named:
            _refuse_unless_in_doubt(paths, row, rows.values())
        return [*_retry_rows(paths, store, named, are_asked_for=bool(words)), *problems]


def _retry_rows(paths: Paths, store: Store, rows: Sequence[QueuedRun], *, are_asked_for: bool) -> list[str]:
    # All named runs are checked before one is changed, so a refusal leaves the queue as it was.
    refused = {row.id: why for row in rows if (why := _why_in_vain(paths, row)) is not None}
    if are_asked_for and refused:
        raise UsageError("; ".join(refused.values()))
    for row in rows:
        if row.id not in refused:
            try:
                _let_wait_again(paths, store, row)
            except RunError as error:
                refused[row.id] = str(error)
    waits = [f"{row.id} waits again ({row.failure or row.state.value})" for row in rows if row.id not in refused]
    return [*waits, *refused.values(), *(["`knockout work` trains what waits"] if waits else [])]


def _refuse_unless_in_doubt(paths: Paths, row: QueuedRun, rows: Iterable[QueuedRun]) -> None:
    """Refuse to retry a run whose ending is not in doubt.

    Raises:
        UsageError: it neither failed, nor was stopped as too slow while another seed is done.
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
    if not any(_differ_only_in_seed(paths, row, other) for other in others):
        raise UsageError(
            f"{row.id} is too_slow, and no other seed of its configuration is done; its ruling stands. "
            "To train it all the same, set other `guards` and move its folder away"
        )


def _differ_only_in_seed(paths: Paths, row: QueuedRun, other: QueuedRun) -> bool:
    """Whether two runs have the same code and configuration; False if a folder cannot be read."""
    with suppress(RunError, OSError, ValueError):
        folders = (paths.run(row.id), paths.run(other.id))
        one, two = ((read_order(folder).code.tree, folder.read_config()) for folder in folders)
        return one == (two[0], msgspec.structs.replace(two[1], seed=one[1].seed))
    return False


def _why_in_vain(paths: Paths, row: QueuedRun) -> str | None:
    """Say why a retry of a failed run would be in vain; None if it would not."""
    try:
        code = read_order(paths.run(row.id)).code
        read_result(paths.run(row.id))
    except RunError as error:
        return str(error)
    if row.failure != Failure.REJECTED or code.commit is not None:
        return None
    return f"{row.id} has no code to train, its patch or ref was refused; correct that and queue it again"


def _let_wait_again(paths: Paths, store: Store, row: QueuedRun) -> None:
    folder = paths.run(row.id)
    result = read_result(folder)
    # The result goes first: as long as the folder has one, the run counts as ended.
    if result is not None and result.state == row.state:
        remove_result(folder)
    store.move(row.id, row.state, RunState.QUEUED)


def stop(paths: Paths) -> list[str]:
    """Ask every worker to let its trainings save and to end; return who was asked, in sentences."""
    if not paths.has_queue:
        return _stop_strays(paths, set()) or ["nobody is at work"]
    with reconciled(paths) as store:
        workers = store.workers.list_living()
        store.workers.ask_to_stop(workers)
        # A worker asks its own jobs to stop. A job that is asked twice ends at once and loses its epoch.
        followed = {row.id for row in store.runs(states=(RunState.RUNNING,)) if not is_orphan(row)}
        problems = list(store.unreadable.values())
    asked = [ASKED.format(who=f"process {worker.pid} on {worker.host}") for worker in workers]
    asked += _stop_strays(paths, followed)
    return [*(asked or ["nobody is at work"]), *problems]


def _stop_strays(paths: Paths, followed: Collection[str]) -> list[str]:
    """Ask the jobs to stop that no worker follows, whatever the queue says of their runs."""
    folders = sorted(paths.runs.iterdir()) if paths.runs.is_dir() else []
    strays = [path.name for path in folders if path.name not in followed and has_job(paths.run(path.name))]
    return [said for run_id in strays if (said := _ask_job_to_stop(paths, run_id)) is not None]


def _ask_job_to_stop(paths: Paths, run_id: str) -> str | None:
    """Ask the job in a run's folder to save and end; return a sentence about it, None if there is no job."""
    folder = paths.run(run_id)
    try:
        is_asked = ask_job_to_stop(folder)
    except PermissionError:
        return f"{run_id}: {describe_holder(folder)}, and belongs to another user, who can stop it"
    except OSError as error:
        return f"{run_id}: {UNKNOWN_JOB.format(folder=folder.path, why=error.strerror)}"
    if is_asked:
        return ASKED.format(who=f"the job of {run_id}, whose worker is gone,")
    return describe_holder(folder)
