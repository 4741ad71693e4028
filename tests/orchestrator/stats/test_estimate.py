"""Known answers for the arithmetic, and laws that hold for any outcomes."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import ttost_paired

from orchestrator.stats.estimate import (
    Estimate,
    equivalence_p_value,
    estimate_delta,
    not_worse_p_value,
    simultaneous_interval,
    t_quantile,
)
from orchestrator.stats.item_pairs import RunItems, pair_items
from orchestrator.stats.measure import ItemMeasure
from orchestrator.stats.pairing import PairedDifferences, pair_values
from orchestrator.stats.spread import Spread
from orchestrator.stats.variance import split_error
from orchestrator.stats.weights import SideVariances

Pairs = Callable[..., PairedDifferences]
OUTCOMES = arrays(np.int8, (3, 12), elements=st.integers(-1, 1))
WHOLE_SEEDS = [[1] * 4, [0] * 4, [1] * 4, [-1] * 4]
"""Whole seeds win or lose, so that bursts add no error of their own."""


mean_right = ItemMeasure("mean", ["right"])


class TestEstimate:
    def test_without_pooling_it_is_the_paired_t_test(self, differences: Pairs) -> None:
        estimate = estimate_delta(differences(WHOLE_SEEDS), None)
        expected = stats.ttest_rel([100, 0, 100, 0], [0, 0, 0, 100])
        interval = expected.confidence_interval(0.95)
        assert estimate.p_value == pytest.approx(expected.pvalue)
        assert estimate.interval_points == pytest.approx((interval.low, interval.high))
        assert (estimate.degrees_of_freedom, estimate.moderated) == (pytest.approx(3), False)

    @pytest.mark.parametrize("level", [0.01, 0.1, 0.3])
    def test_interval_is_that_of_the_level(self, differences: Pairs, level: float) -> None:
        estimate = estimate_delta(differences(WHOLE_SEEDS), None, level)
        interval = stats.ttest_rel([100, 0, 100, 0], [0, 0, 0, 100]).confidence_interval(1 - level)
        assert estimate.interval_points == pytest.approx((interval.low, interval.high))
        assert estimate.level == level

    def test_moderated_t_of_a_worked_example(self, differences: Pairs) -> None:
        # Smyth (2004), section 3: t = mean / (s~ / sqrt(S)) with s~^2 = 50^2, on 2 + 3 degrees of freedom.
        estimate = estimate_delta(differences(WHOLE_SEEDS), Spread(50.0**2, 5))
        assert estimate.error_points == pytest.approx(50 / math.sqrt(4))
        assert estimate.p_value == pytest.approx(2 * stats.t.sf(25 / 25, 5))
        assert (estimate.degrees_of_freedom, estimate.moderated) == (pytest.approx(5), True)

    def test_parts_are_shown_and_add_up_to_the_whole(self, differences: Pairs) -> None:
        pairs = differences([[1, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1]])
        estimate, parts = estimate_delta(pairs, Spread(3000.0, 5)), split_error(pairs, Spread(3000.0, 5))
        shown = (estimate.seed_error_points, estimate.item_error_points, estimate.rest_error_points)
        assert shown == pytest.approx((parts.seed**0.5, parts.item**0.5, parts.rest**0.5))
        assert all(part > 0 for part in shown)
        assert estimate.error_points == pytest.approx(math.hypot(*shown))
        half_width = stats.t.ppf(0.975, parts.degrees_of_freedom) * parts.total**0.5
        assert estimate.interval_points == pytest.approx((50 - 100 / 12 - half_width, 50 - 100 / 12 + half_width))

    def test_one_seed_gives_a_difference_without_an_interval(self, differences: Pairs) -> None:
        estimate = estimate_delta(differences([[1, 0, 0, 0]]), None)
        assert (estimate.delta_points, estimate.interval_points, estimate.p_value) == (25.0, None, None)

    def test_error_of_bursts_at_one_seed_is_that_of_mcnemars_test(self, differences: Pairs) -> None:
        pairs = differences([[1] * 30 + [-1] * 12 + [0] * 58])
        estimate = estimate_delta(pairs, None)
        statistic = mcnemar([[29, 30], [12, 29]], exact=False, correction=False).statistic
        # Its error is taken where there is no difference, ours where the difference is what it is.
        wald = (estimate.delta_points / estimate.item_error_points) ** 2
        assert wald == pytest.approx(statistic / (1 - statistic * 42 / 42 / 100) * 99 / 100)

    def test_no_seed_gives_no_difference(self) -> None:
        nothing: dict[int, RunItems] = {}
        assert estimate_delta(pair_items(nothing, nothing, mean_right), None) == Estimate()

    def test_no_difference_anywhere_gives_a_finite_interval(self, differences: Pairs) -> None:
        estimate = estimate_delta(differences([[0, 0], [0, 0]]), None)
        assert estimate.interval_points is not None
        assert all(math.isfinite(end) for end in estimate.interval_points)
        assert estimate.p_value == 1.0

    def test_t_becomes_normal_at_infinite_degrees_of_freedom(self) -> None:
        assert t_quantile(0.975, math.inf) == pytest.approx(1.959964)
        assert t_quantile(0.975, 1) == pytest.approx(12.7062)

    @settings(deadline=None)
    @given(outcomes=OUTCOMES)
    def test_swapping_the_sides_flips_the_sign(self, differences: Pairs, outcomes: NDArray[np.int8]) -> None:
        spread = Spread(4.0, 2.0)
        there, back = estimate_delta(differences(outcomes), spread), estimate_delta(differences(-outcomes), spread)
        assert there.interval_points is not None
        assert back.interval_points == pytest.approx(tuple(-end for end in reversed(there.interval_points)))
        assert back.p_value == pytest.approx(there.p_value)

    @settings(deadline=None)
    @given(outcomes=OUTCOMES, burst_order=st.permutations(range(12)), seed_order=st.permutations(range(3)))
    def test_order_of_bursts_and_seeds_changes_nothing(
        self, differences: Pairs, outcomes: NDArray[np.int8], burst_order: list[int], seed_order: list[int]
    ) -> None:
        devices = np.arange(12) // 4
        plain = estimate_delta(differences(outcomes, devices), None)
        shuffled = estimate_delta(differences(outcomes[seed_order][:, burst_order], devices[burst_order]), None)
        assert shuffled.interval_points == pytest.approx(plain.interval_points)

    @settings(max_examples=25, deadline=None)
    @given(arrays(np.bool_, (2, 2, 6)), st.permutations(range(6)))
    def test_order_in_the_files_changes_no_bit(self, correct: NDArray[np.bool_], order: list[int]) -> None:
        keys = np.array([f"0/{packet}" for packet in range(6)])

        def sides(order: object) -> list[dict[int, RunItems]]:
            right_2SB = correct.astype(np.float64)
            zeros = np.zeros(6, dtype=np.str_)
            return [
                {seed: RunItems(keys[order], zeros, None, {"right": right_2SB[side, seed][order]}) for seed in (0, 1)}
                for side in (0, 1)
            ]

        assert estimate_delta(pair_items(*sides(order), mean_right), None) == estimate_delta(
            pair_items(*sides(list(range(6))), mean_right), None
        )


class TestEquivalence:
    @pytest.mark.parametrize("margin_points", [10.0, 60.0, 200.0])
    def test_it_is_statsmodels_two_one_sided_paired_t_tests(self, differences: Pairs, margin_points: float) -> None:
        ours, theirs = np.array([100.0, 0, 100, 0]), np.array([0.0, 0, 0, 100])
        expected, _, _ = ttost_paired(ours, theirs, -margin_points, margin_points)
        found = equivalence_p_value(estimate_delta(differences(WHOLE_SEEDS), None), margin_points)
        assert found == pytest.approx(expected)

    @settings(deadline=None)
    @given(outcomes=OUTCOMES, margin_points=st.floats(0.1, 150))
    def test_it_is_below_the_level_where_the_interval_of_one_minus_two_levels_is_inside(
        self, differences: Pairs, outcomes: NDArray[np.int8], margin_points: float
    ) -> None:
        estimate = estimate_delta(differences(outcomes), None, level=0.1)
        low, high = estimate.interval_points or (0.0, 0.0)
        inside = -margin_points < low and high < margin_points
        assert inside == ((equivalence_p_value(estimate, margin_points) or 0.0) < 0.05)

    def test_one_seed_tests_nothing(self, differences: Pairs) -> None:
        assert equivalence_p_value(estimate_delta(differences([[1, 0]]), None), 1.0) is None


class TestSimultaneous:
    def test_interval_is_the_plain_one_at_the_level_over_the_comparisons(self, differences: Pairs) -> None:
        pairs = differences([[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]])
        found = simultaneous_interval(estimate_delta(pairs, None), 12)
        assert found == pytest.approx(estimate_delta(pairs, None, 0.05 / 12).interval_points)
        one = simultaneous_interval(estimate_delta(pairs, None), 1)
        assert one == pytest.approx(estimate_delta(pairs, None).interval_points)

    def test_one_seed_has_none(self, differences: Pairs) -> None:
        assert simultaneous_interval(estimate_delta(differences([[1, 0]]), None), 12) is None


class TestBySeeds:
    def test_is_the_paired_t_test_of_the_seeds(self) -> None:
        ours, theirs = {0: 2.0, 1: 2.6, 2: 2.3}, {0: 1.0, 1: 1.2, 2: 1.4}
        found = estimate_delta(pair_values(ours, theirs, 1e-9), None)
        wanted = stats.ttest_rel(list(ours.values()), list(theirs.values()))
        assert found.p_value == pytest.approx(wanted.pvalue)
        assert (found.rests_on, found.num_items, found.item_error_points) == ("seeds", 0, 0.0)

    def test_overlapping_test_splits_are_corrected_as_nadeau_and_bengio_do(self) -> None:
        """By hand: the variance 0.04 times 1/3 + 0.25."""
        ours = {0: 1.0, 1: 1.2, 2: 1.4}
        pairs = dataclasses.replace(pair_values(ours, dict.fromkeys(ours, 0.0), 1e-9), test_ratio=0.25)
        found = estimate_delta(pairs, None)
        assert found.error_points == pytest.approx((0.04 * (1 / 3 + 0.25)) ** 0.5)
        assert found.degrees_of_freedom == 2
        assert found.item_error_points == pytest.approx(0.1)

    def test_equal_numbers_may_hide_a_difference_below_the_last_digit(self) -> None:
        found = estimate_delta(pair_values({0: 1.5, 1: 1.5}, {0: 1.5, 1: 1.5}, 0.1), None)
        assert found.error_points == pytest.approx(0.1 / 24**0.5)

    def test_one_seed_gives_a_difference_and_no_error(self) -> None:
        found = estimate_delta(pair_values({0: 1.5}, {0: 1.0}, 0.1), None)
        assert (found.delta_points, found.item_error_points, found.interval_points) == (0.5, None, None)

    def test_one_seed_takes_the_spread_of_other_arms(self) -> None:
        found = estimate_delta(pair_values({0: 1.5}, {0: 1.0}, 0.1), Spread(0.04, 6.0))
        assert (found.error_points, found.moderated) == (pytest.approx(0.2), True)
        assert found.p_value == pytest.approx(2 * stats.t.sf(0.5 / 0.2, 6))


class TestOneSeed:
    """A first look: the spread is that of other arms, and the items are its own."""

    ROW_1B = np.array([[1, 0, -1, 1, 0, 0, 1, 1, -1, 0, 1, 1]], dtype=np.int8)

    def pairs(self, rest_points2: float | None) -> PairedDifferences:
        return PairedDifferences(self.ROW_1B, (4,), np.zeros(12, dtype=np.int64), rest_points2=rest_points2)

    def test_interval_has_the_borrowed_spread_and_the_items(self) -> None:
        items = float(stats.sem(100 * self.ROW_1B[0]) ** 2)
        found = estimate_delta(self.pairs(None), Spread(30.0, 4.0))
        assert found.error_points == pytest.approx((30.0 + items) ** 0.5)
        known = (30.0 + items) ** 2 / (30.0**2 / 4 + items**2 / 11)
        assert found.degrees_of_freedom == pytest.approx(max(known, 4))
        assert found.interval_points is not None

    def test_what_runs_do_with_single_items_is_counted_once(self) -> None:
        items = float(stats.sem(100 * self.ROW_1B[0]) ** 2)
        found = estimate_delta(self.pairs(20.0), Spread(30.0, 4.0))
        assert found.error_points == pytest.approx((30.0 + items - 20.0) ** 0.5)
        assert found.rest_error_points == pytest.approx(20.0**0.5)

    def test_without_a_spread_there_is_no_interval(self) -> None:
        found = estimate_delta(self.pairs(20.0), None)
        assert (found.interval_points, found.p_value) == (None, None)
        assert found.item_error_points == pytest.approx(stats.sem(100 * self.ROW_1B[0]))


class TestExtraSeeds:
    def test_differences_of_single_seeds_are_their_own_and_the_estimate_is_the_weighted_one(self) -> None:
        ours, theirs = {0: 2.0, 1: 2.6}, {0: 1.0, 1: 1.2, 5: 1.4, 6: 1.8}
        variances = SideVariances(Spread(0.1, 5.0), Spread(0.1, 5.0))
        found = estimate_delta(pair_values(ours, theirs, 1e-9, variances), Spread(0.15, 5.0))
        assert found.delta_points == pytest.approx(2.3 - 1.35)
        assert found.delta_points_of == pytest.approx({0: 1.0, 1: 1.4})
        assert (found.seeds, found.extra_seeds, found.dropped_seeds) == ((0, 1), (5, 6), ())


class TestNotWorse:
    @pytest.mark.parametrize(("delta", "sign"), [(-0.4, 1), (0.4, -1)])
    def test_loss_is_held_against_the_margin_on_the_worse_side(self, delta: float, sign: int) -> None:
        found = Estimate(delta_points=delta, error_points=0.2, degrees_of_freedom=4.0)
        assert not_worse_p_value(found, sign, 1.0) == pytest.approx(stats.t.sf(3.0, 4))

    def test_without_an_interval_nothing_is_shown(self) -> None:
        assert not_worse_p_value(Estimate(delta_points=1.0), 1, 1.0) is None
