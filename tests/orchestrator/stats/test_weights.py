"""Runs count as they do in the best linear unbiased estimate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.stats.spread import Spread, difference_spread
from orchestrator.stats.weights import SeedWeights, SideVariances, best_weights, mean_spread

VARIANCE = st.floats(0.01, 100.0)
EVEN = SideVariances(Spread(1.0, 5.0), Spread(1.0, 5.0))


def least_variance(ours: range, theirs: range, variances: SideVariances) -> float:
    """Solve for the weights of all runs at once: least variance, where those of each side add up to one."""
    runs = [(1.0, seed) for seed in ours] + [(-1.0, seed) for seed in theirs]
    own = [
        variances.experiment.variance_points2 if sign > 0 else variances.reference.variance_points2 for sign, _ in runs
    ]
    covariance: NDArray[np.float64] = np.diag(own)
    covariance += [[a * b * variances.common_points2 * (s == t) for b, t in runs] for a, s in runs]
    sides = np.array([[sign > 0 for sign, _ in runs], [sign < 0 for sign, _ in runs]], dtype=np.float64)
    system = np.block([[2 * covariance, sides.T], [sides, np.zeros((2, 2))]])
    weights = np.linalg.solve(system, np.array([0.0] * len(runs) + [1.0, 1.0]))[: len(runs)]
    return float(weights @ covariance @ weights)


@given(
    first=st.integers(0, 4),
    common=st.integers(1, 4),
    second=st.integers(0, 9),
    own=st.tuples(VARIANCE, VARIANCE),
    shared=st.one_of(st.just(0.0), VARIANCE),
)
def test_no_other_weights_have_less_variance(
    first: int, common: int, second: int, own: tuple[float, float], shared: float
) -> None:
    ours, theirs = range(first + common), range(first, first + common + second)
    variances = SideVariances(Spread(own[0], 5.0), Spread(own[1], 5.0), shared)
    weights = best_weights(ours, theirs, variances)
    assert sum(weights.experiment.values()) == pytest.approx(1.0)
    assert sum(weights.reference.values()) == pytest.approx(1.0)
    found = mean_spread(weights, variances).variance_points2
    assert found == pytest.approx(least_variance(ours, theirs, variances), rel=1e-6)


@given(st.integers(1, 10), VARIANCE, VARIANCE)
def test_equal_seeds_are_plain_pairs(number: int, own: float, shared: float) -> None:
    variances = SideVariances(Spread(own, 5.0), Spread(1.0, 5.0), shared)
    weights = best_weights(range(number), range(number), variances)
    assert weights.experiment == weights.reference == pytest.approx(dict.fromkeys(range(number), 1.0 / number))
    both = difference_spread(variances.experiment, variances.reference)
    found = mean_spread(weights, variances)
    assert found.variance_points2 == pytest.approx(both.variance_points2 / number)
    assert found.degrees_of_freedom == pytest.approx(both.degrees_of_freedom)


def test_the_worked_example_of_the_module_holds() -> None:
    weights = best_weights((0, 1), range(10), EVEN)
    assert weights.reference == pytest.approx(dict.fromkeys(range(10), 0.1))
    assert weights.experiment == {0: 0.5, 1: 0.5}
    assert mean_spread(weights, EVEN).variance_points2 == pytest.approx(0.6)
    pairs = SeedWeights({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert mean_spread(pairs, EVEN).variance_points2 == pytest.approx(1.0)


def test_where_seeds_do_much_to_all_arms_only_pairs_count() -> None:
    strong = SideVariances(EVEN.experiment, EVEN.reference, 1e9)
    weights = best_weights((0, 1), range(10), strong)
    assert sum(weights.reference[seed] for seed in (0, 1)) == pytest.approx(1.0, abs=1e-6)
    assert mean_spread(weights, strong).variance_points2 == pytest.approx(1.0, rel=1e-6)


def test_seeds_of_both_sides_and_of_one_are_told_apart() -> None:
    weights = best_weights((0, 1, 7), (1, 2, 0), EVEN)
    assert (weights.common, weights.extra) == ((0, 1), (2, 7))


def test_freedom_is_satterthwaites_of_both_sides() -> None:
    variances = SideVariances(Spread(2.0, 3.0), Spread(1.0, 8.0))
    found = mean_spread(best_weights((0, 1), range(4), variances), variances)
    first, second = 2.0 / 2, 1.0 / 4
    assert found.degrees_of_freedom == pytest.approx((first + second) ** 2 / (first**2 / 3 + second**2 / 8))


def test_one_estimate_for_both_sides_counts_its_freedom_once() -> None:
    one = Spread(3.0, 7.0)
    variances = SideVariances(one, one, is_one_estimate=True)
    assert mean_spread(best_weights((0, 1), (0, 1), variances), variances) == Spread(3.0, 7.0)
