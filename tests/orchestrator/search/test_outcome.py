"""How a trial ended, by its runs."""

from dataclasses import dataclass, field

import pytest

from orchestrator.runs.folder import Result
from orchestrator.search.outcome import TrialEnd, find_outcome

DONE = Result(state="done", reason="all epochs trained", epochs=4)
SLOW = Result(state="too_slow", reason="an epoch takes too long", epochs=2)
DIED = Result(state="failed", reason="the job died", failure="crashed", epochs=1)


@dataclass
class FakeRuns:
    """Runs whose results a test gives."""

    results: dict[str, Result | None]
    cancelled: tuple[str, ...] = ()
    doubts: dict[str, str] = field(default_factory=dict)

    def result(self, run: str) -> Result | None:
        return self.results[run]

    def is_cancelled(self, run: str) -> bool:
        return run in self.cancelled

    def why_not_believed(self, run: str) -> str | None:
        return self.doubts.get(run)


def end_of(runs: FakeRuns, pruning: str = "") -> tuple[TrialEnd, str] | None:
    outcome = find_outcome(tuple(runs.results), pruning, runs)
    return None if outcome is None else (outcome.end, outcome.reason)


@pytest.mark.parametrize(
    ("results", "end"),
    [
        ((DONE, DONE), (TrialEnd.SCORED, "")),
        ((DONE, None), None),
        ((DIED, None), None),
        ((DIED, SLOW), (TrialEnd.FAILED, "the job died")),
        ((SLOW, SLOW), (TrialEnd.TOO_SLOW, "an epoch takes too long")),
        (
            (SLOW, DONE),
            (TrialEnd.SEEDS_DISAGREE, "its seeds disagree whether it is too slow: an epoch takes too long"),
        ),
    ],
)
def test_the_results_of_the_seeds_decide(results: tuple[Result | None, ...], end: tuple[TrialEnd, str] | None) -> None:
    assert end_of(FakeRuns({f"s{seed}": result for seed, result in enumerate(results)})) == end


def test_a_score_has_the_results_of_all_seeds() -> None:
    outcome = find_outcome(("s0", "s1"), "", FakeRuns({"s0": DONE, "s1": DONE}))
    assert outcome is not None
    assert outcome.results == (DONE, DONE)


def test_a_pruned_trial_ends_unless_its_runs_ended_first() -> None:
    assert end_of(FakeRuns({"s0": None}, cancelled=("s0",)), "pruned") == (TrialEnd.PRUNED, "pruned")
    assert end_of(FakeRuns({"s0": DONE}), "pruned") == (TrialEnd.SCORED, "")


def test_a_cancelled_run_without_a_result_cancels_its_trial() -> None:
    assert end_of(FakeRuns({"s0": DONE, "s1": None}, cancelled=("s1",))) == (TrialEnd.CANCELLED, "s1 was cancelled")
    assert end_of(FakeRuns({"s0": DONE}, cancelled=("s0",))) == (TrialEnd.SCORED, "")


def test_a_result_that_is_not_believed_gives_no_score() -> None:
    assert end_of(FakeRuns({"s0": DONE}, doubts={"s0": "s0 is wrong"})) == (TrialEnd.DOUBTFUL, "s0 is wrong")
