"""Whether two effects add up: the contrast of a 2 x 2, and what is concluded from it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import RunError
from orchestrator.runs.scores import Score
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.variance import Spread
from orchestrator.verdicts import interactions
from orchestrator.verdicts.interactions import (
    Additivity,
    Effects,
    FourArms,
    InteractionJudgement,
    contrast_spread,
    judge_pairs,
)
from tests.orchestrator.conftest import build_plan

NUM_DEVICES = 5
PAIR = Interaction(first="A", second="B", neither="baseline", only_first="A", only_second="B-alone", both="B")
CELLS = ("neither", "first", "second", "both")
Rates = tuple[float, float, float, float]


def a_run(correct_B: NDArray[Any], keys: NDArray[np.str_] | None = None, moved: int = 0) -> Score:
    names = np.array([f"{burst:04d}" for burst in range(len(correct_B))]) if keys is None else keys
    devices_B = ((names.astype(np.int64) + moved) % NUM_DEVICES).astype(np.str_)
    items = RunItems(names, devices_B, None, {"correct": correct_B.astype(np.float64)})
    return Score(
        value=100.0 * float(correct_B.mean()), items=items, num_right=int(correct_B.sum()), num_items=len(names)
    )


def right(score: Score) -> NDArray[Any]:
    assert score.items is not None
    return score.items.columns["correct"]


def keys_of(score: Score) -> NDArray[np.str_]:
    assert score.items is not None
    return score.items.keys_B


def a_campaign(margin: float = 2.0) -> Campaign:
    return build_plan({}, margin=margin).campaign


def pair_cells(arms: FourArms) -> Effects:
    campaign = a_campaign()
    return interactions.pair_cells(campaign, campaign.judged, arms)


def four_arms(correct_4SB: NDArray[Any]) -> FourArms:
    """Build the runs of the cells in the order of `CELLS`, seeds 0, 1, ..."""
    return FourArms(
        **{
            name: {seed: a_run(row_B) for seed, row_B in enumerate(cell_SB)}
            for name, cell_SB in zip(CELLS, correct_4SB, strict=True)
        }
    )


def draw(rates: Rates, *, seed: int = 0, num_seeds: int = 5, num_items: int = 4000) -> FourArms:
    generator = np.random.default_rng(seed)
    hardness_B = generator.random(num_items)
    luck_4SB = 0.05 * generator.normal(size=(4, num_seeds, num_items))
    return four_arms(hardness_B + luck_4SB < np.array(rates)[:, None, None])


def judge_one(arms: FourArms, margin: float = 2.0) -> InteractionJudgement:
    (found,) = judge_pairs(a_campaign(margin), {PAIR: arms})
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 30))
def test_the_contrast_is_what_both_do_less_what_each_does(seed: int, num_seeds: int, num_items: int) -> None:
    correct_4SB = np.random.default_rng(seed).random((4, num_seeds, num_items)) < 0.5
    neither_SB, first_SB, second_SB, both_SB = correct_4SB.astype(int)
    contrast = pair_cells(four_arms(correct_4SB)).contrast
    np.testing.assert_allclose(contrast.difference_SB, 100 * (both_SB - first_SB - second_SB + neither_SB), atol=1e-9)
    found = judge_one(four_arms(correct_4SB))
    sizes = [found.both_points, found.first_points, found.second_points, found.contrast.delta_points]
    both, first, second, beyond = (size for size in sizes if size is not None)
    assert beyond == pytest.approx(both - first - second, abs=1e-9)


def test_what_all_four_do_at_a_seed_or_on_a_burst_cancels() -> None:
    correct_SB = np.random.default_rng(1).random((3, 40)) < 0.5
    assert not pair_cells(four_arms(np.stack([correct_SB] * 4))).contrast.difference_SB.any()


def test_a_seed_or_a_burst_that_one_arm_lacks_is_dropped_and_counted() -> None:
    runs = draw((0.6, 0.7, 0.7, 0.8), num_seeds=3, num_items=20)
    late = {seed: run for seed, run in runs.both.items() if seed > 0}
    cut = {seed: a_run(right(run)[:-4], keys_of(run)[:-4]) for seed, run in runs.first.items()}
    arms = FourArms(neither=runs.neither, first=cut, second=runs.second, both=late)
    contrast = pair_cells(arms).contrast
    assert (contrast.seeds, contrast.dropped_seeds) == ((1, 2), (0,))
    assert (contrast.num_items, contrast.dropped_items) == (16, 4)
    whole = pair_cells(runs).contrast
    np.testing.assert_array_equal(contrast.difference_SB, whole.difference_SB[1:, :16])


def test_bursts_are_joined_by_key_and_not_by_place() -> None:
    runs = draw((0.6, 0.7, 0.7, 0.8), num_seeds=2, num_items=20)
    turned = {seed: a_run(right(run)[::-1], keys_of(run)[::-1]) for seed, run in runs.second.items()}
    arms = FourArms(neither=runs.neither, first=runs.first, second=turned, both=runs.both)
    np.testing.assert_array_equal(pair_cells(arms).contrast.difference_SB, pair_cells(runs).contrast.difference_SB)


def test_runs_of_other_captures_are_refused() -> None:
    runs = draw((0.6, 0.7, 0.7, 0.8), num_seeds=2, num_items=20)
    moved = {seed: a_run(right(run), moved=1) for seed, run in runs.second.items()}
    arms = FourArms(neither=runs.neither, first=runs.first, second=moved, both=runs.both)
    with pytest.raises(RunError, match="runs disagree on the stratum of item"):
        pair_cells(arms)


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ((0.6, 0.7, 0.65, 0.75), Additivity.ADDITIVE),
        ((0.6, 0.65, 0.65, 0.85), Additivity.SYNERGY),
        ((0.6, 0.7, 0.7, 0.7), Additivity.ANTAGONISM),
    ],
)
def test_effects_add_up_or_do_more_or_less_than_their_sum(rates: Rates, verdict: Additivity) -> None:
    assert judge_one(draw(rates)).verdict is verdict


def test_too_few_bursts_to_tell_are_inconclusive() -> None:
    assert judge_one(draw((0.6, 0.65, 0.65, 0.75), num_items=40)).verdict is Additivity.INCONCLUSIVE


@pytest.mark.parametrize("num_seeds", [0, 1])
def test_fewer_than_two_seeds_give_no_verdict(num_seeds: int) -> None:
    found = judge_one(draw((0.6, 0.7, 0.7, 0.7), num_seeds=num_seeds))
    assert found.verdict is Additivity.NEEDS_SEEDS
    assert found.contrast.interval_points is None
    assert (found.first_points is None) == (num_seeds == 0)


def test_where_bursts_are_all_alike_it_is_the_t_test_of_the_contrasts() -> None:
    correct_4S = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    found = judge_one(four_arms(np.repeat(correct_4S[:, :, None], 20, axis=2)))
    test = scipy_stats.ttest_1samp([100.0, 200.0, 0.0, 0.0], 0.0)
    assert found.contrast.interval_points == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.contrast.p_value == pytest.approx(test.pvalue)


def test_its_spread_is_that_of_the_four_arms_together() -> None:
    arms = [Spread(1.0, 4.0), Spread(2.0, 4.0), Spread(3.0, 8.0), Spread(4.0, 8.0)]
    spread = contrast_spread(arms)
    assert spread.variance_points2 == 10.0
    assert spread.degrees_of_freedom == pytest.approx(100 / (1 / 4 + 4 / 4 + 9 / 8 + 16 / 8))


def test_pooled_spreads_are_used_where_all_four_arms_have_one() -> None:
    arms = draw((0.6, 0.65, 0.65, 0.75), num_seeds=2)
    pooled = judge_one(structs.replace(arms, spreads=(Spread(0.01, 50.0),) * 4)).contrast
    assert pooled.moderated
    assert not judge_one(arms).contrast.moderated


def test_p_values_are_adjusted_among_the_interactions_that_have_one() -> None:
    other = Interaction(first="C", second="D", neither="baseline", only_first="C", only_second="D", both="E")
    third = Interaction(first="C", second="F", neither="baseline", only_first="C", only_second="F", both="G")
    cases = {
        PAIR: draw((0.6, 0.7, 0.7, 0.76)),
        third: draw((0.6, 0.7, 0.7, 0.7), num_seeds=1),
        other: draw((0.6, 0.7, 0.7, 0.79), seed=1),
    }
    first, without, second = judge_pairs(a_campaign(), cases)
    raw = sorted((found.contrast.p_value, found.adjusted_p_value) for found in (first, second))
    assert without.adjusted_p_value is None
    assert raw[0][1] == pytest.approx(min(1.0, 2 * (raw[0][0] or 0.0)))
    assert raw[1][1] == pytest.approx(max(raw[1][0] or 0.0, raw[0][1] or 0.0))


def test_pair_that_waits_counts_as_compared_and_takes_no_word_back() -> None:
    other = Interaction(first="C", second="D", neither="baseline", only_first="C", only_second="D", both="E")
    cases = {PAIR: draw((0.6, 0.7, 0.7, 0.74)), other: draw((0.6, 0.7, 0.7, 0.9), seed=1)}
    now, waits = judge_pairs(a_campaign(), cases, [other])
    alone, told = judge_pairs(a_campaign(), cases)
    assert (waits.verdict, waits.adjusted_p_value, told.verdict) == (Additivity.WAITS, None, Additivity.SYNERGY)
    assert waits.contrast == told.contrast
    assert now.contrast.p_value is not None
    assert now.adjusted_p_value == min(1.0, 2 * now.contrast.p_value)
    assert alone.adjusted_p_value == pytest.approx(now.contrast.p_value)


def test_the_plan_names_the_arms_that_are_to_be_judged(a_plan: Callable[..., Plan]) -> None:
    experiments = {"A": {"change": {"model.depth": 2}}, "B": {"on": "A", "change": {"model.pooling": "mean"}}}
    assert a_plan(experiments, interactions=(("A", "B"),)).interactions == (PAIR,)
