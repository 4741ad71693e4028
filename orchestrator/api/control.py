"""The verbs that see and steer the queue: status, queue list, stop, retry, cancel, rebuild. They load no campaign."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from orchestrator.errors import UsageError
from orchestrator.queue import control
from orchestrator.queue.control import Listing, Wanted, count_states
from orchestrator.queue.rebuild import Rebuilt
from orchestrator.queue.rebuild import rebuild as rebuild_queue
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.paths import find_paths
from orchestrator.runs.results import describe_forgotten
from orchestrator.runs.states import OPEN, RunState

__all__ = [
    "OPEN",
    "Listing",
    "QueuedRun",
    "Rebuilt",
    "RunState",
    "Status",
    "Wanted",
    "cancel",
    "count_states",
    "queue_list",
    "rebuild",
    "retry",
    "status",
    "stop",
]


class Status(Struct, frozen=True, kw_only=True):
    """Where the runs stand."""

    rows: tuple[QueuedRun, ...]
    problems: tuple[str, ...]
    """A sentence for each row that cannot be read."""
    forgotten: tuple[str, ...]
    """Sentences about run folders that the queue does not know; only where it knows no run at all."""

    @property
    def is_open(self) -> bool:
        """Whether a run waits or is under way."""
        return any(row.state in OPEN for row in self.rows)


def status(file: Path, wanted: Wanted | None = None) -> Status:
    """Return where every run stands, of all experiments, profiles and seeds unless some are wanted.

    Raises:
        UsageError: the campaign file does not exist.
        QueueError: the queue cannot be read.
    """
    paths = find_paths(file)
    listing = control.list_rows(paths, wanted)
    forgotten = () if listing.rows else tuple(describe_forgotten(paths))
    return Status(rows=listing.rows, problems=listing.problems, forgotten=forgotten)


def queue_list(file: Path) -> Listing:
    """Return the runs that wait or run, in the order of the queue.

    Raises:
        UsageError: the campaign file does not exist.
        QueueError: the queue cannot be read.
    """
    listing = control.list_rows(find_paths(file))
    return Listing(rows=tuple(row for row in listing.rows if row.state in OPEN), problems=listing.problems)


def stop(file: Path) -> list[str]:
    """Ask every worker to let its trainings save and end, and to end too; return in sentences who was asked."""
    return control.stop(find_paths(file))


def retry(file: Path, runs: Sequence[str] = (), *, all_failed: bool = False, failure: str | None = None) -> list[str]:
    """Let failed runs wait again with the code that they were queued with; return in sentences what was done.

    Args:
        file: the campaign file.
        runs: run ids, or the beginnings of them.
        all_failed: whether all failed runs are meant; then `runs` is empty.
        failure: the class of failures that is meant, of all failed runs.

    Raises:
        UsageError: neither runs nor all failed ones are named. Or a run is not known or has not failed.
    """
    if bool(runs) == all_failed or (failure and not all_failed):
        raise UsageError("name the runs to try again, or say --failed for all that failed, with --class for some")
    return control.retry(find_paths(file), runs, failure)


def cancel(file: Path, runs: Sequence[str]) -> list[str]:
    """Take waiting runs out of the queue, all that are named or none; return in sentences what was done.

    Raises:
        UsageError: a run is not known, or does not wait.
    """
    return control.cancel(find_paths(file), runs)


def rebuild(file: Path) -> Rebuilt:
    """Make the queue's database again from the run folders.

    Raises:
        RunError: there are no run folders, or somebody is at work on runs.
        QueueError: the database is locked, or cannot be replaced.
    """
    return rebuild_queue(find_paths(file))
