"""The findings of a search: which points have a score, and which were pruned."""

from typing import Any

import pytest

from orchestrator.campaign.scored import Objective
from orchestrator.search.objective import combine
from orchestrator.search.results import Difference, Searched, TrialRecord, point_key


def a_trial(number: int, gamma: float, score: float | None = None, state: str = "done") -> TrialRecord:
    return TrialRecord(
        number=number,
        arm=f"focal-t{number:03d}",
        change={"loss.gamma": gamma},
        state=state,
        score=None if score is None else combine([(score, 100)]),
        runs=(),
    )


def searched(*trials: TrialRecord) -> Searched:
    unused: Any = None
    return Searched(
        name="focal",
        campaign=unused,
        spec=unused,
        stack="E5",
        objective=Objective(splits=("LocC",)),
        seeds=(0,),
        default={"loss.gamma": 2.0},
        study="tiny/quick/focal/1d",
        trials=trials,
    )


def test_points_are_listed_once_the_best_first_and_of_equals_the_earlier() -> None:
    found = searched(a_trial(0, 2.0, 60.0), a_trial(1, 3.0, 70.0), a_trial(2, 2.0, 60.0), a_trial(3, 4.0, 60.0))
    assert [trial.number for trial in found.scored] == [1, 0, 3]


def test_a_pruned_point_with_a_score_counts_as_scored() -> None:
    pruned = (a_trial(1, 3.0, state="pruned"), a_trial(2, 2.0, state="pruned"), a_trial(3, 3.0, state="pruned"))
    found = searched(a_trial(0, 2.0, 60.0), *pruned)
    assert [trial.number for trial in found.pruned] == [1]
    assert found.num_visited == 2


def test_the_default_point_is_the_stacks_own_if_it_has_a_score() -> None:
    found = searched(a_trial(0, 2.0, 60.0))
    assert found.default_trial == found.trials[0]
    assert searched(a_trial(0, 3.0, 60.0)).default_trial is None


def test_the_order_of_the_knobs_does_not_matter_to_a_points_key() -> None:
    assert point_key({"a": 1, "b": 2}) == point_key({"b": 2, "a": 1})


@pytest.mark.parametrize(("low", "is_decided"), [(-0.1, False), (0.0, False), (0.1, True)])
def test_a_difference_is_decided_if_its_interval_excludes_zero(low: float, is_decided: bool) -> None:
    assert Difference(points=1.0, low=low, high=2.0, is_across_seeds=True).is_decided is is_decided


def test_an_interval_says_for_how_many_points_it_is_adjusted() -> None:
    two = Difference(points=1.0, low=0.0, high=2.0, is_across_seeds=True)
    assert (two.adjusted, Difference(points=1.0, low=0.0, high=2.0, is_across_seeds=True, best_of=5).adjusted) == (
        "",
        "adjusted for the best of 5 points",
    )
