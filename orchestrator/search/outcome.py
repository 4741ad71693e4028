"""What the runs of a trial say about it: how it ended, or that it goes on. Decides only; writes nothing."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from orchestrator.runs.folder import Result
from orchestrator.runs.states import RunState


class TrialEnd(StrEnum):
    """How a trial ended."""

    SCORED = "scored"
    TOO_SLOW = "too_slow"
    """A guard stopped every seed, or the only one, for slowness."""
    PRUNED = "pruned"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SEEDS_DISAGREE = "seeds_disagree"
    """One seed was too slow, and another trained to its end."""
    DOUBTFUL = "doubtful"
    """The result of a run contradicts its own files."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How a trial ended, and why."""

    end: TrialEnd
    reason: str = ""
    """A sentence; empty for a score."""
    results: tuple[Result, ...] = ()
    """Results of the runs, in their order; only for a score."""


class Runs(Protocol):
    """Knows how runs stand, such as `TrialRuns`."""

    def result(self, run: str) -> Result | None:
        """Return how a run ended; None while it goes on."""

    def is_cancelled(self, run: str) -> bool:
        """Whether somebody has cancelled a run."""

    def why_not_believed(self, run: str) -> str | None:
        """Return why a run's result does not count; None if it counts, or is not there."""


def find_outcome(run_ids: Sequence[str], pruning: str, runs: Runs) -> Outcome | None:
    """Return how a trial ended; None while its runs go on.

    Args:
        run_ids: the trial's runs, one a seed.
        pruning: why the pruner ended the trial; empty if it did not.
        runs: knows how they stand.
    """
    results = {run: runs.result(run) for run in run_ids}
    ended = tuple(result for result in results.values() if result is not None)
    if len(ended) == len(results):
        return _judge_ended(ended) or _find_doubt(run_ids, runs) or Outcome(end=TrialEnd.SCORED, results=ended)
    if pruning:
        return Outcome(end=TrialEnd.PRUNED, reason=pruning)
    cancelled = next((run for run, result in results.items() if result is None and runs.is_cancelled(run)), None)
    return Outcome(end=TrialEnd.CANCELLED, reason=f"{cancelled} was cancelled") if cancelled is not None else None


def _judge_ended(results: Sequence[Result]) -> Outcome | None:
    """Return the outcome of a trial of which a run failed or was too slow; None if all are done."""
    failed = next((result for result in results if result.state == RunState.FAILED), None)
    slow = next((result for result in results if result.state == RunState.TOO_SLOW), None)
    if failed is not None:
        return Outcome(end=TrialEnd.FAILED, reason=failed.reason)
    if slow is None:
        return None
    if any(result.state == RunState.DONE for result in results):
        why = f"its seeds disagree whether it is too slow: {slow.reason}"
        return Outcome(end=TrialEnd.SEEDS_DISAGREE, reason=why)
    return Outcome(end=TrialEnd.TOO_SLOW, reason=slow.reason)


def _find_doubt(run_ids: Sequence[str], runs: Runs) -> Outcome | None:
    doubts = (why for run in run_ids if (why := runs.why_not_believed(run)) is not None)
    return next((Outcome(end=TrialEnd.DOUBTFUL, reason=why) for why in doubts), None)
