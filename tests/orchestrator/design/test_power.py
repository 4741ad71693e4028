"""The power of a comparison: published answers, laws, and what is counted over simulated campaigns."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.power import TTestPower

from orchestrator.design.designs import Design
from orchestrator.design.power import POWER, ErrorModel, Rules, power, reference_factor, see
from orchestrator.stats.estimate import equivalence_p_value, estimate_delta
from orchestrator.stats.multiplicity import holm_adjust
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.pool import pool_arms
from orchestrator.stats.prior import MIN_POOLED
from orchestrator.stats.spread import ScoreTable, difference_spread

Floats = NDArray[np.float64]
SMALL_MARGIN = 1e-6
NUM_ITEMS, OWN, ITEM, REST = 60, 0.8, 5.0, 6.0
"""Standard deviations of a seed, of an item that suits an arm, and of a run at an item."""
MODEL = ErrorModel(
    run_points2=OWN**2 + REST**2 / NUM_ITEMS,
    rest_points2=REST**2 / NUM_ITEMS,
    item_points2=2 * ITEM**2 / NUM_ITEMS,
    num_items=NUM_ITEMS,
)


def rules(margin: float = SMALL_MARGIN, num_compared: int = 1) -> Rules:
    return Rules(margin_points=margin, level=0.05, equivalence_level=0.05, num_compared=num_compared)


def equal(seeds: int, items: int = 1) -> Design:
    return Design(seeds=seeds, reference_seeds=seeds, items=items)


@pytest.mark.parametrize(("seeds", "true_points"), [(3, 4.0), (5, 2.0), (10, 1.5), (20, 0.9)])
def test_a_paired_t_test_has_the_power_that_statsmodels_gives(seeds: int, true_points: float) -> None:
    found, _ = power(ErrorModel(run_points2=1.0), rules(), 2, equal(seeds), true_points)
    # One tail of a two-sided test: the level of that tail is half.
    wanted = TTestPower().power(true_points / math.sqrt(2.0), seeds, 0.025, alternative="larger")
    assert found == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize(("variation", "subjects", "wanted"), [(0.30, 40, 0.815845), (0.25, 28, 0.807439)])
def test_two_one_sided_tests_have_the_published_power(variation: float, subjects: int, wanted: float) -> None:
    """PowerTOST, `sampleN.TOST(CV)`: a cross-over of n subjects, ratio 0.95, margins 0.8 and 1.25, n - 2 freedom."""
    seeds = subjects - 1
    model = ErrorModel(run_points2=math.log1p(variation**2) * seeds / subjects)
    _, same = power(model, rules(math.log(1.25)), 2, equal(seeds), -math.log(0.95))
    assert same == pytest.approx(wanted, abs=0.0005)


def test_a_difference_inside_the_margin_is_told_no_change_and_not_found() -> None:
    steady = ErrorModel(run_points2=0.01)
    found, same = power(steady, rules(margin=3.0), 13, equal(10), 1.0)
    assert found < 0.001
    assert same > 0.999


def test_the_smallest_difference_is_found_with_the_wanted_power() -> None:
    smallest, _ = see(MODEL, rules(1.0, 12), 13, equal(3))
    assert power(MODEL, rules(1.0, 12), 13, equal(3), smallest)[0] == pytest.approx(POWER, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.integers(2, 12),
    more=st.integers(1, 12),
    num_arms=st.integers(MIN_POOLED, 20),
    margin=st.floats(0.1, 5.0),
    times=st.floats(1.0, 3.0),
)
def test_more_seeds_never_lower_the_power(seeds: int, more: int, num_arms: int, margin: float, times: float) -> None:
    """It holds where spreads are pooled.

    A difference below the margin is an exception: with more seeds it is told no_change. Two seeds of two or three arms
    are another: their approximate degrees of freedom find small differences a little too often.
    """
    model = ErrorModel(run_points2=1.0, item_points2=0.3, num_items=200, num_strata=10)
    asked, designs = rules(margin, num_arms - 1), (equal(seeds), equal(seeds + more))
    # The spreads are drawn, so neighbours may differ by chance.
    few, many = (power(model, asked, num_arms, design, times * margin)[0] for design in designs)
    assert many >= few - 0.02
    few, many = (power(model, asked, num_arms, design, 0.0)[1] for design in designs)
    assert many >= few - 0.02


@settings(max_examples=40, deadline=None)
@given(num_compared=st.integers(1, 100), more=st.integers(1, 100), seeds=st.integers(2, 12), true=st.floats(0.0, 10.0))
def test_more_comparisons_never_raise_the_power(num_compared: int, more: int, seeds: int, true: float) -> None:
    few, many = (
        power(MODEL, rules(1.0, number), 13, equal(seeds), true) for number in (num_compared, num_compared + more)
    )
    assert many[0] <= few[0]
    # No change is not corrected for many comparisons.
    assert many[1] == few[1]


@settings(max_examples=60, deadline=None)
@given(seeds=st.integers(2, 12), times=st.integers(2, 5), num_arms=st.integers(4, 20), items=st.integers(2, 8))
def test_more_of_the_reference_or_more_items_never_find_less(seeds: int, times: int, num_arms: int, items: int) -> None:
    smallest, _ = see(MODEL, rules(1.0, num_arms - 1), num_arms, equal(seeds))
    more_reference = Design(seeds=seeds, reference_seeds=seeds * times)
    # With two seeds, the pooled arms are known better than their sum: a small loss is possible, of the freedom.
    assert see(MODEL, rules(1.0, num_arms - 1), num_arms, more_reference)[0] <= smallest * 1.1
    assert see(MODEL, rules(1.0, num_arms - 1), num_arms, equal(seeds, items))[0] < smallest


class TestReferenceFactor:
    @pytest.mark.parametrize(
        ("common_share", "reference_seeds", "gain"),
        [(0.0, 10, 5 / 3), (0.0, 20, 20 / 11), (0.5, 10, 15 / 11), (0.5, 20, 10 / 7)],
    )
    def test_it_gives_the_gain_of_a_mixed_model(self, common_share: float, reference_seeds: int, gain: float) -> None:
        """Arms at two seeds: the variance of a difference over that with more seeds of the reference."""
        more = 1 / 2 + reference_factor(2, reference_seeds, common_share)
        assert 1.0 / more == pytest.approx(gain)

    def test_equal_seeds_are_pairs(self) -> None:
        assert reference_factor(3, 3, 0.7) == pytest.approx(1 / 3)

    @given(seeds=st.integers(2, 10), others=st.integers(1, 30), common=st.floats(0.0, 50.0))
    def test_no_other_weight_gives_less(self, seeds: int, others: int, common: float) -> None:
        weight_W = np.linspace(0.0, 1.0, 2001)
        run = 1.0 + common
        variance_W = common / seeds + weight_W**2 * run / seeds + (1.0 - weight_W) ** 2 * run / others
        variance_W -= 2.0 * weight_W * common / seeds
        found = reference_factor(seeds, seeds + others, common)
        assert found <= variance_W.min() + 1e-12
        assert found == pytest.approx(variance_W.min(), abs=1e-4)


def count_campaigns(num_arms: int, seeds: int, true_points: float, margin: float, number: int) -> Floats:
    """Judge simulated campaigns by the functions of a real one.

    Returns:
        [campaigns, 2]: the share of arms that are found, each as the only one that differs; and of arms of nothing
        that are told no_change.
    """
    generator = np.random.default_rng(20)
    return np.array([count_one(generator, num_arms, seeds, true_points, margin) for _ in range(number)])


def count_one(
    generator: np.random.Generator, num_arms: int, seeds: int, true_points: float, margin: float
) -> tuple[float, float]:
    runs_ASB = (
        generator.normal(size=(num_arms, seeds, 1)) * OWN
        + generator.normal(size=(num_arms, 1, NUM_ITEMS)) * ITEM
        + generator.normal(size=(num_arms, seeds, NUM_ITEMS)) * REST
    )
    scores = {str(arm): dict(enumerate(runs_SB.mean(axis=1).tolist())) for arm, runs_SB in enumerate(runs_ASB)}
    spreads = pool_arms(ScoreTable(scores, 1e-9)).spreads
    null_p, found, same = [], [], []
    for arm in range(1, num_arms):
        estimates = []
        for shift in (0.0, true_points):
            pairs = PairedDifferences(
                runs_ASB[arm] - runs_ASB[0] + shift, tuple(range(seeds)), np.zeros(NUM_ITEMS, np.int64), scale=1.0
            )
            estimates.append(estimate_delta(pairs, difference_spread(spreads[str(arm)], spreads["0"])))
        nothing, true = estimates
        null_p.append(nothing.p_value)
        same.append(equivalence_p_value(nothing, margin) < 0.05)
        found.append((true.p_value, equivalence_p_value(true, margin) < 0.05, true.delta_points > 0))
    is_found = [
        holm_adjust([*null_p[:place], p_value, *null_p[place + 1 :]])[place] < 0.05 and not inside and above
        for place, (p_value, inside, above) in enumerate(found)
    ]
    return float(np.mean(is_found)), float(np.mean(same))


@pytest.mark.parametrize(("seeds", "true_points"), [(2, 8.0), (3, 5.0), (5, 4.0)])
def test_the_power_is_what_is_counted_over_campaigns(seeds: int, true_points: float) -> None:
    margin, num_arms, number = 2.5, 9, 250
    counted_N2 = count_campaigns(num_arms, seeds, true_points, margin, number)
    found, _ = power(MODEL, rules(margin, num_arms - 1), num_arms, equal(seeds), true_points)
    _, same = power(MODEL, rules(margin, num_arms - 1), num_arms, equal(seeds), 0.0)
    error_2 = counted_N2.std(axis=0, ddof=1) / number**0.5
    # The predicted chances are drawn over fewer campaigns, so their error is counted too.
    assert (np.abs(counted_N2.mean(axis=0) - (found, same)) <= 4.0 * error_2 + 0.02).all()
