"""Known answers for the arithmetic, and laws that hold for any outcomes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import special, stats

from orchestrator.errors import RunError
from orchestrator.evidence import Bursts
from orchestrator.stats import (
    PairedDifferences,
    VariancePrior,
    burst_variance,
    estimate_delta,
    fit_prior,
    holm_adjust,
    lasting_burst_variance,
    moderate,
    pair_outcomes,
    seed_variance,
    seeds_to_resolve,
    t_quantile,
    trigamma_inverse,
)

OUTCOMES = arrays(np.int8, (3, 12), elements=st.integers(-1, 1))


def differences(difference_SB: object, devices_B: object = None) -> PairedDifferences:
    values_SB = np.asarray(difference_SB, dtype=np.int8)
    num_seeds, num_bursts = values_SB.shape
    devices = np.zeros(num_bursts, dtype=np.int64) if devices_B is None else np.asarray(devices_B)
    return PairedDifferences(difference_SB=values_SB, seeds=tuple(range(num_seeds)), devices_B=devices)


def bursts(correct: dict[str, bool], device: int = 0) -> Bursts:
    keys = np.array(list(correct))
    return Bursts(keys=keys, devices=np.full(len(keys), device), correct=np.array(list(correct.values())))


class TestPairing:
    def test_bursts_are_joined_by_key_not_by_place(self) -> None:
        ours = {0: bursts({"a": True, "b": False, "c": True})}
        theirs = {0: bursts({"c": False, "a": True, "b": True})}
        assert pair_outcomes(ours, theirs).difference_SB.tolist() == [[0, -1, 1]]

    def test_missing_side_drops_the_pair_and_is_counted(self) -> None:
        ours = {0: bursts({"a": True, "b": True}), 1: bursts({"a": True, "b": True}), 2: bursts({"a": True})}
        theirs = {0: bursts({"a": False, "b": False, "c": True}), 1: bursts({"a": False, "b": True}), 7: bursts({})}
        pairs = pair_outcomes(ours, theirs)
        assert (pairs.seeds, pairs.dropped_seeds) == ((0, 1), (2, 7))
        assert (pairs.difference_SB.tolist(), pairs.dropped_bursts) == ([[1, 1], [1, 0]], 1)

    def test_sides_without_a_common_burst_leave_nothing(self) -> None:
        pairs = pair_outcomes({0: bursts({"a": True})}, {0: bursts({"b": True})})
        assert (pairs.num_seeds, pairs.num_bursts, pairs.dropped_seeds, pairs.dropped_bursts) == (0, 0, (0,), 2)

    def test_sides_without_a_common_seed_leave_nothing(self) -> None:
        estimate = estimate_delta(pair_outcomes({0: bursts({"a": True})}, {1: bursts({"a": True})}), None)
        assert (estimate.delta_points, estimate.dropped_seeds) == (None, (0, 1))

    def test_burst_given_twice_is_refused(self) -> None:
        twice = Bursts(keys=np.array(["a", "a"]), devices=np.zeros(2, dtype=np.int64), correct=np.array([True, True]))
        with pytest.raises(RunError, match="burst `a` more than once"):
            pair_outcomes({0: twice}, {0: bursts({"a": True})})

    def test_burst_of_two_devices_is_refused(self) -> None:
        with pytest.raises(RunError, match="device of burst `a`"):
            pair_outcomes({0: bursts({"a": True}, device=1)}, {0: bursts({"a": True}, device=2)})

    def test_swapped_axes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="seeds x bursts"):
            PairedDifferences(np.zeros((5, 2), dtype=np.int8), seeds=(0, 1), devices_B=np.zeros(5, dtype=np.int64))


class TestVariances:
    def test_seed_variance_is_that_of_the_differences_at_each_seed(self) -> None:
        pairs = differences([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
        assert seed_variance(pairs) == pytest.approx(np.var([50, 0, 25], ddof=1))

    def test_equal_seeds_still_differ_by_less_than_a_burst(self) -> None:
        assert seed_variance(differences([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])) == pytest.approx(20**2 / 12)

    def test_burst_variance_of_one_device_is_that_of_a_mean(self) -> None:
        pairs = differences([[1, 0, -1, 1], [1, 1, 0, 0]])
        assert burst_variance(pairs) == pytest.approx(stats.sem([100, 50, -50, 50]) ** 2)

    def test_differences_between_devices_are_not_error(self) -> None:
        assert burst_variance(differences([[1, 1, 0, 0, -1, -1]], [0, 0, 1, 1, 2, 2])) == 0

    def test_burst_variance_weights_each_device_by_its_bursts(self) -> None:
        pairs = differences([[1, 0, 1, 0, 0, 0]], [0, 0, 1, 1, 1, 1])
        first, second = np.var([100, 0], ddof=1), np.var([100, 0, 0, 0], ddof=1)
        assert burst_variance(pairs) == pytest.approx((2 / 6) ** 2 * first / 2 + (4 / 6) ** 2 * second / 4)

    def test_device_with_one_burst_takes_the_variance_of_the_others(self) -> None:
        pairs = differences([[1, 0, 1]], [0, 0, 1])
        assert burst_variance(pairs) == pytest.approx((2 * 5000 + 5000) / 9)

    def test_one_burst_for_each_device_falls_back_to_all_bursts(self) -> None:
        pairs = differences([[1, 0, -1]], [0, 1, 2])
        assert burst_variance(pairs) == pytest.approx(np.var([100, 0, -100], ddof=1) / 3)

    def test_a_single_burst_has_the_widest_variance(self) -> None:
        assert burst_variance(differences([[0], [0]])) == 100**2

    def test_noise_of_seed_and_burst_together_does_not_last(self) -> None:
        rng = np.random.default_rng(0)
        together = differences(rng.integers(-1, 2, size=(20, 2000)))
        assert lasting_burst_variance(together) < 0.1 * burst_variance(together)
        repeated = differences(np.repeat(rng.integers(-1, 2, size=(1, 2000)), 20, axis=0))
        assert lasting_burst_variance(repeated) == pytest.approx(burst_variance(repeated))


class TestPrior:
    @pytest.mark.parametrize("value", [1e-9, 1e-3, 0.1, 1.0, math.pi**2 / 6, 40.0, 1e5, 1e9])
    def test_trigamma_inverse_undoes_scipys_trigamma(self, value: float) -> None:
        assert float(special.polygamma(1, trigamma_inverse(value))) == pytest.approx(value, rel=1e-6)

    def test_trigamma_inverse_knows_pi_squared_over_six(self) -> None:
        assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1.0)

    def test_moments_of_a_worked_example(self) -> None:
        # Variances 1, 4, 64 with 4 degrees of freedom: digamma(2) = 1 - gamma and trigamma(2) = pi^2/6 - 1, by hand.
        prior = fit_prior([(1.0, 4), (4.0, 4), (64.0, 4)])
        log_2 = math.log(2)
        mean = (0 + 2 * log_2 + 6 * log_2) / 3 - (1 - np.euler_gamma) + log_2
        excess = log_2**2 * ((8 / 3) ** 2 + (2 / 3) ** 2 + (10 / 3) ** 2) / 2 - (math.pi**2 / 6 - 1)
        assert prior is not None
        half = prior.degrees_of_freedom / 2
        assert float(special.polygamma(1, half)) == pytest.approx(excess)
        assert math.log(prior.variance_points2) == pytest.approx(mean + special.digamma(half) - math.log(half))
        assert prior.pooled_degrees_of_freedom == 12

    def test_prior_that_made_the_variances_is_recovered(self) -> None:
        rng = np.random.default_rng(1)
        true_C = 6.0 * 2.5 / rng.chisquare(6.0, size=40_000)
        prior = fit_prior([(float(s2), 2) for s2 in true_C * rng.chisquare(2, size=len(true_C)) / 2])
        assert prior is not None
        assert prior.degrees_of_freedom == pytest.approx(6.0, rel=0.1)
        assert prior.variance_points2 == pytest.approx(2.5, rel=0.05)

    def test_variances_no_more_apart_than_chance_give_an_infinite_prior(self) -> None:
        prior = fit_prior([(2.0, 1)] * 5)
        assert prior is not None
        assert math.isinf(prior.degrees_of_freedom)
        assert moderate(100.0, 1, prior) == prior.variance_points2

    def test_fewer_than_three_comparisons_are_not_pooled(self) -> None:
        assert fit_prior([(1.0, 1), (2.0, 1)]) is None

    def test_moderated_variance_is_the_weighted_mean(self) -> None:
        assert moderate(8.0, 1, VariancePrior(3.0, 4.0, 9)) == pytest.approx((3 * 4 + 1 * 8) / 4)


class TestEstimate:
    def test_without_a_prior_it_is_the_paired_t_test(self) -> None:
        # Whole seeds win or lose, so that bursts add no error of their own.
        pairs = differences([[1] * 4, [0] * 4, [1] * 4, [-1] * 4])
        estimate = estimate_delta(pairs, None)
        expected = stats.ttest_rel([100, 0, 100, 0], [0, 0, 0, 100])
        interval = expected.confidence_interval(0.95)
        assert estimate.p_value == pytest.approx(expected.pvalue)
        assert estimate.interval_points == pytest.approx((interval.low, interval.high))
        assert (estimate.degrees_of_freedom, estimate.moderated) == (3, False)

    def test_both_sources_of_error_add_up(self) -> None:
        estimate = estimate_delta(differences([[1, 0, 0, 1], [0, 0, 0, 1]]), VariancePrior(5.0, 300.0, 99))
        variance = (5 * 300 + 1 * np.var([50, 25], ddof=1)) / 6
        error = math.hypot(math.sqrt(variance / 2), stats.sem([50, 0, 0, 100]))
        assert estimate.interval_points == pytest.approx(
            (37.5 - stats.t.ppf(0.975, 6) * error, 37.5 + stats.t.ppf(0.975, 6) * error)
        )

    def test_degrees_of_freedom_never_exceed_those_of_all_comparisons(self) -> None:
        prior = VariancePrior(math.inf, 300.0, 14)
        assert estimate_delta(differences([[1, 0], [0, 0]]), prior).degrees_of_freedom == 14

    def test_t_becomes_normal_at_infinite_degrees_of_freedom(self) -> None:
        assert t_quantile(0.975, math.inf) == pytest.approx(1.959964)
        assert t_quantile(0.975, 1) == pytest.approx(12.7062)

    def test_one_seed_gives_a_difference_without_an_interval(self) -> None:
        estimate = estimate_delta(differences([[1, 0, 0, 0]]), None)
        assert (estimate.delta_points, estimate.interval_points, estimate.p_value) == (25.0, None, None)

    def test_no_variance_at_all_gives_a_finite_interval(self) -> None:
        estimate = estimate_delta(differences([[0, 0], [0, 0]]), fit_prior([(1e-9, 1)] * 3))
        assert estimate.interval_points is not None
        assert estimate.p_value == 1.0

    @settings(deadline=None)
    @given(OUTCOMES)
    def test_swapping_the_sides_flips_the_sign(self, outcomes: NDArray[np.int8]) -> None:
        prior = VariancePrior(4.0, 2.0, 9)
        there, back = estimate_delta(differences(outcomes), prior), estimate_delta(differences(-outcomes), prior)
        assert there.interval_points is not None
        assert back.interval_points == pytest.approx(tuple(-end for end in reversed(there.interval_points)))
        assert back.p_value == pytest.approx(there.p_value)

    @settings(deadline=None)
    @given(OUTCOMES, st.permutations(range(12)), st.permutations(range(3)))
    def test_order_of_bursts_and_seeds_changes_nothing(
        self, outcomes: NDArray[np.int8], burst_order: list[int], seed_order: list[int]
    ) -> None:
        devices = np.arange(12) // 4
        plain = estimate_delta(differences(outcomes, devices), None)
        shuffled = estimate_delta(differences(outcomes[seed_order][:, burst_order], devices[burst_order]), None)
        assert shuffled.interval_points == pytest.approx(plain.interval_points)

    @settings(max_examples=25, deadline=None)
    @given(arrays(np.bool_, (2, 2, 6)), st.permutations(range(6)))
    def test_order_in_the_files_changes_no_bit(self, correct: NDArray[np.bool_], order: list[int]) -> None:
        keys = np.array([f"0/{packet}" for packet in range(6)])

        def sides(order: object) -> list[dict[int, Bursts]]:
            zeros = np.zeros(6, dtype=np.int64)
            return [
                {seed: Bursts(keys=keys[order], devices=zeros, correct=correct[side, seed][order]) for seed in (0, 1)}
                for side in (0, 1)
            ]

        assert estimate_delta(pair_outcomes(*sides(order)), None) == estimate_delta(
            pair_outcomes(*sides(list(range(6)))), None
        )


class TestSeedsToResolve:
    def test_enough_seeds_bring_the_interval_below_the_target(self) -> None:
        rng = np.random.default_rng(2)
        estimate = estimate_delta(differences(rng.integers(-1, 2, size=(4, 300))), None)
        wider = seeds_to_resolve(estimate, 4.0, 0.05)
        assert 4 < wider < seeds_to_resolve(estimate, 3.0, 0.05) < math.inf

    def test_bursts_alone_may_be_too_few(self) -> None:
        estimate = estimate_delta(differences([[1, 0, -1, 0], [1, 0, -1, 0]]), None)
        assert seeds_to_resolve(estimate, 1.0, 0.05) == math.inf

    def test_no_width_at_all_is_out_of_reach(self) -> None:
        assert seeds_to_resolve(estimate_delta(differences([[1, 0], [0, 0]]), None), 0.0, 0.05) == math.inf


class TestHolm:
    def test_known_values(self) -> None:
        # As R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") has it.
        assert holm_adjust([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_no_adjusted_p_exceeds_one(self) -> None:
        assert holm_adjust([0.6, 0.9]) == [1.0, 1.0]

    def test_a_family_of_one_or_none_is_left_alone(self) -> None:
        assert holm_adjust([0.03]) == [0.03]
        assert holm_adjust([]) == []

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1), max_size=8))
    def test_adjusting_keeps_order_and_lowers_nothing(self, p_values: list[float]) -> None:
        adjusted = holm_adjust(p_values)
        assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
        assert [p for _, p in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


def test_intervals_of_a_campaign_of_nothing_cover_zero_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    devices_B = np.repeat(np.arange(10), 20)
    hardness_B = rng.normal(0, 1.2, size=len(devices_B))
    covered, raised = [], 0
    for _ in range(60):
        # Fifteen runs at two seeds, each with a shift of its own; the first is the reference of all the others.
        skill = rng.normal(1.7, 0.15, size=(15, 2, 1)) + rng.normal(0, 0.5, size=(15, 2, len(devices_B)))
        correct = (hardness_B + skill > 0).astype(np.int8)
        pairs = [differences(arm - correct[0], devices_B) for arm in correct[1:]]
        prior = fit_prior([(seed_variance(pair), 1) for pair in pairs])
        estimates = [estimate_delta(pair, prior) for pair in pairs]
        intervals = [estimate.interval_points or (0.0, 0.0) for estimate in estimates]
        covered += [low <= 0 <= high for low, high in intervals]
        raised += min(holm_adjust([estimate.p_value or 0.0 for estimate in estimates])) < 0.05
    assert np.mean(covered) >= 0.95
    assert raised / 60 <= 0.05
