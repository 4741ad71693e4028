"""A seed, or a change, that changes no number at all is found."""

from collections.abc import Callable

import numpy as np

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score
from orchestrator.stats.item_pairs import RunItems
from orchestrator.verdicts.comparisons import Runs, runs_by_seed
from orchestrator.verdicts.effects import change_has_no_effect, same_numbers, seed_has_no_effect
from tests.builders.stranger_plans import build_numbers, build_stranger

SEEDS = (0, 1)
LOSS = {"val_loss": {"better": "lower", "margin": 0.02}}


def sides(ours: list[float], theirs: list[float]) -> tuple[Runs, Runs]:
    plan = build_stranger(LOSS, seeds=SEEDS)
    records = build_numbers(plan, {"slow": {"val_loss": ours}, "baseline": {"val_loss": theirs}})
    return runs_by_seed(plan, records, "slow"), runs_by_seed(plan, records, "baseline")


def test_seed_is_dead_where_both_sides_repeat_themselves() -> None:
    assert seed_has_no_effect(*sides([2.0, 2.0], [3.0, 3.0]), SEEDS)
    assert not seed_has_no_effect(*sides([2.0, 2.0], [3.0, 3.1]), SEEDS)
    assert not seed_has_no_effect(*sides([2.0, 2.0], [3.0, 3.0]), (0,))


def test_change_is_dead_where_every_number_is_the_references() -> None:
    assert change_has_no_effect(*sides([2.0, 2.1], [2.0, 2.1]), SEEDS)
    assert not change_has_no_effect(*sides([2.0, 2.1], [2.0, 2.2]), SEEDS)
    assert not change_has_no_effect(*sides([2.0, 2.1], [2.0, 2.1]), ())


def test_equal_scores_of_other_items_are_no_dead_change(
    a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
) -> None:
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    right = np.arange(200) < 100
    for other, is_dead in ((right, True), (right[::-1], False)):
        records = runs_of(plan, {"baseline": right, "E5": other})
        runs = [runs_by_seed(plan, records, name) for name in ("E5", "baseline")]
        assert change_has_no_effect(*runs, SEEDS) == is_dead


def test_progress_counts_as_numbers(a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> None:
    """A model that guesses one class scores alike at every seed, and its losses differ."""
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    records = runs_of(plan, {"baseline": np.arange(200) < 20, "E5": np.arange(200) < 20})
    runs = [runs_by_seed(plan, records, name) for name in ("E5", "baseline")]
    assert not seed_has_no_effect(*runs, SEEDS)


def test_numbers_are_the_same_only_where_every_item_is() -> None:
    def told(*values: float) -> dict[str, Score]:
        keys = np.array([str(place) for place in range(len(values))])
        return {"m": Score(value=1.0, items=RunItems(keys, keys, None, {"x": np.array(values)}))}

    assert same_numbers(told(1.0, 2.0), told(1.0, 2.0))
    assert not same_numbers(told(1.0, 2.0), told(2.0, 1.0))
    assert not same_numbers({"m": Score(value=1.0)}, {"m": Score(value=1.0), "n": Score(value=2.0)})
    assert not same_numbers({"m": Score(value=1.0)}, told(1.0))
