"""Known answers for the parts of an error: seeds, items, and both together."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.sparse import NORMAL_95, score_interval
from orchestrator.stats.spread import Spread, rounding_variance
from orchestrator.stats.variance import item_freedom, seed_spread, sparse_variance, split_error, stratified_variance

Pairs = Callable[..., PairedDifferences]


def of_one_row(values_B: object, stratum_B: object) -> float:
    return float(stratified_variance(np.array([values_B], dtype=np.float64), np.array(stratum_B))[0])


class TestBursts:
    def test_variance_of_one_device_is_that_of_a_mean(self) -> None:
        assert of_one_row([100, 50, -50, 50], [0] * 4) == pytest.approx(stats.sem([100, 50, -50, 50]) ** 2)

    def test_differences_between_devices_are_not_error(self) -> None:
        assert of_one_row([1, 1, 0, 0, -1, -1], [0, 0, 1, 1, 2, 2]) == 0

    def test_each_device_is_weighted_by_its_bursts(self) -> None:
        first, second = np.var([100, 0], ddof=1), np.var([100, 0, 0, 0], ddof=1)
        expected = (2 / 6) ** 2 * first / 2 + (4 / 6) ** 2 * second / 4
        assert of_one_row([100, 0, 100, 0, 0, 0], [0, 0, 1, 1, 1, 1]) == pytest.approx(expected)

    def test_device_with_one_burst_takes_the_variance_of_the_others(self) -> None:
        assert of_one_row([100, 0, 100], [0, 0, 1]) == pytest.approx((2 * 5000 + 5000) / 9)

    def test_one_burst_for_each_device_falls_back_to_all_bursts(self, differences: Pairs) -> None:
        assert of_one_row([100, 0, -100], [0, 1, 2]) == pytest.approx(np.var([100, 0, -100], ddof=1) / 3)
        assert item_freedom(differences([[1, 0, -1]], [0, 1, 2])) == 2

    def test_a_single_burst_has_the_widest_variance(self, differences: Pairs) -> None:
        pairs = differences([[0], [0]])
        assert split_error(pairs, seed_spread(pairs)).item == 100**2


class TestParts:
    def test_they_are_the_mean_squares_of_a_two_way_layout(self, differences: Pairs) -> None:
        pairs = differences(np.random.default_rng(4).integers(-1, 2, size=(3, 8)))
        seed_SB, burst_SB = np.indices(pairs.difference_SB.shape)
        rows = {"y": 100.0 * pairs.difference_SB.ravel(), "seed": seed_SB.ravel(), "burst": burst_SB.ravel()}
        squares = anova_lm(ols("y ~ C(seed) + C(burst)", data=pd.DataFrame(rows)).fit())["mean_sq"]
        cells = pairs.difference_SB.size
        parts = split_error(pairs, seed_spread(pairs))
        assert parts.rest == pytest.approx(squares["Residual"] / cells)
        assert parts.item == pytest.approx(max(0.0, squares["C(burst)"] - squares["Residual"]) / cells)
        assert parts.seed == pytest.approx(max(0.0, squares["C(seed)"] - squares["Residual"]) / cells)

    def test_noise_of_seed_and_burst_together_is_counted_once(self, differences: Pairs) -> None:
        pairs = differences(np.random.default_rng(0).integers(-1, 2, size=(20, 2000)))
        parts = split_error(pairs, seed_spread(pairs))
        assert parts.rest == pytest.approx(100**2 * (2 / 3) / pairs.difference_SB.size, rel=0.02)
        assert parts.total < 2 * parts.rest

    def test_bursts_that_fare_alike_at_every_seed_are_all_burst(self, differences: Pairs) -> None:
        pairs = differences(np.repeat(np.random.default_rng(0).integers(-1, 2, size=(1, 200)), 4, axis=0))
        parts = split_error(pairs, Spread(1e-12, 3))
        expected = stats.sem(100 * pairs.difference_SB[0]) ** 2
        assert (parts.item, parts.rest) == (pytest.approx(expected), 0)
        assert parts.degrees_of_freedom == pytest.approx(199)

    def test_seed_that_favours_a_device_counts_as_seed(self, differences: Pairs) -> None:
        pairs = differences([[1, 1, 0, 0], [0, 0, 1, 1]], [0, 0, 1, 1])
        parts = split_error(pairs, Spread(400.0, 5))
        assert (parts.seed, parts.item, parts.rest) == (200, 0, 0)

    def test_spread_over_seeds_is_at_least_what_the_rest_alone_gives(self, differences: Pairs) -> None:
        pairs = differences([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
        parts = split_error(pairs, seed_spread(pairs))
        assert parts.seed == 0
        assert parts.total >= parts.rest > 0

    def test_freedom_of_the_sum_is_satterthwaites(self, differences: Pairs) -> None:
        pairs = differences(np.repeat([[1, 0, -1, 1, 0]], 2, axis=0))
        burst = float(stats.sem([100, 0, -100, 100, 0]) ** 2)
        parts = split_error(pairs, Spread(800.0, 3.0))
        assert parts.degrees_of_freedom == pytest.approx((400 + burst) ** 2 / (400**2 / 3 + burst**2 / 4))

    def test_burst_part_that_was_cut_at_zero_jumps_in_nothing(self, differences: Pairs) -> None:
        # Between bursts lies what the rest makes, to the last digit but one: the order of seeds decides on which side.
        pairs = differences([[1] * 8 + [-1] + [1] * 3, [0] + [1] * 11, [1] * 4 + [-1] + [1] * 7], np.arange(12) // 4)
        ways = [differences(pairs.difference_SB[list(order)], pairs.stratum_B) for order in permutations(range(3))]
        freedoms = [split_error(way, seed_spread(way)).degrees_of_freedom for way in ways]
        assert freedoms == pytest.approx([freedoms[0]] * 6)

    def test_sum_is_known_no_worse_than_its_least_known_part(self, differences: Pairs) -> None:
        pairs = differences(np.random.default_rng(0).integers(-1, 2, size=(2, 10)))
        assert split_error(pairs, seed_spread(pairs)).degrees_of_freedom >= 1


class TestSpreads:
    def test_of_seeds_is_that_of_the_differences_at_each_seed(self, differences: Pairs) -> None:
        pairs = differences([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
        assert seed_spread(pairs) == Spread(pytest.approx(np.var([50, 0, 25], ddof=1)), 2)

    def test_equal_seeds_still_differ_by_less_than_a_burst(self, differences: Pairs) -> None:
        assert seed_spread(differences([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])).variance_points2 == rounding_variance(20)


class TestSparse:
    """Shares of which few items differ have the error of the score interval."""

    def pairs(self, num_gained: int, num_lost: int, num_items: int = 300) -> PairedDifferences:
        row_B = np.zeros(num_items, dtype=np.int8)
        row_B[:num_gained], row_B[num_gained : num_gained + num_lost] = 1, -1
        return PairedDifferences(np.array([row_B, row_B]), (0, 1), np.zeros(num_items, np.int64), right_points=100.0)

    def test_item_part_is_the_farther_end_of_the_score_interval(self) -> None:
        low, high = score_interval(2, 5, 300)
        farther = 100 * max(high + 3 / 300, -3 / 300 - low) / NORMAL_95
        assert sparse_variance(self.pairs(2, 5)) == pytest.approx(farther**2)
        assert split_error(self.pairs(2, 5), Spread(1e-9, 5)).item == pytest.approx(farther**2)

    def test_sides_that_agree_on_all_items_have_an_error(self) -> None:
        # The ends of the interval are z^2 / (n + z^2) away, by hand from Tango's equation without a differing item.
        farthest = 100 * NORMAL_95**2 / (300 + NORMAL_95**2)
        assert sparse_variance(self.pairs(0, 0)) == pytest.approx((farthest / NORMAL_95) ** 2)

    def test_from_ten_differing_items_on_the_plain_variance_stands(self) -> None:
        assert sparse_variance(self.pairs(4, 5)) > 0
        assert sparse_variance(self.pairs(5, 5)) == 0

    def test_metric_of_no_right_or_wrong_items_has_no_such_part(self, differences: Pairs) -> None:
        assert sparse_variance(differences([[1, 0, 0, 0, 0]])) == 0


class TestOneSeed:
    def test_rest_of_other_runs_leaves_the_item_part(self) -> None:
        row_1B = np.array([[1, 0, -1, 1, 0, 0]])
        pairs = PairedDifferences(row_1B.astype(np.int8), (3,), np.zeros(6, dtype=np.int64), rest_points2=40.0)
        between = float(stats.sem(100 * row_1B[0]) ** 2)
        parts = split_error(pairs, Spread(90.0, 6.0))
        assert (parts.seed, parts.item, parts.rest) == (50.0, pytest.approx(between - 40.0), 40.0)

    def test_rest_that_nobody_knows_counts_with_the_items(self) -> None:
        pairs = PairedDifferences(np.array([[1, 0, -1, 1]], dtype=np.int8), (3,), np.zeros(4, dtype=np.int64))
        parts = split_error(pairs, Spread(90.0, 6.0))
        assert (parts.seed, parts.rest) == (90.0, 0.0)
        assert parts.item == pytest.approx(float(stats.sem([100, 0, -100, 100]) ** 2))

    def test_rest_is_no_more_than_what_the_items_show(self) -> None:
        pairs = PairedDifferences(np.zeros((1, 5), dtype=np.int8), (3,), np.zeros(5, dtype=np.int64), rest_points2=40.0)
        assert split_error(pairs, Spread(90.0, 6.0)).rest == 0


def test_the_worked_example_of_the_module_holds() -> None:
    difference_SB = np.zeros((3, 100), dtype=np.int8)
    for seed, count in enumerate((4, 6, 5)):
        difference_SB[seed, :count] = 1
    pairs = PairedDifferences(difference_SB, (0, 1, 2), np.repeat(np.arange(10), 10))
    parts = split_error(pairs, seed_spread(pairs))
    found = (parts.rest, parts.seed, parts.item, parts.total, parts.total**0.5)
    assert [round(part, 2) for part in found] == [0.21, 0.12, 2.07, 2.41, 1.55]
