"""Known answers for the spread over seeds that a campaign pools, and for what one unusual arm may do to it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from statsmodels.api import OLS, WLS

from orchestrator.stats.pool import (
    COLLAPSED,
    OUTLIER_LEVEL,
    PLAUSIBLE_FREEDOM,
    UNEQUAL,
    VariancePrior,
    borrowed_prior,
    common_variance,
    find_collapsed,
    find_outliers,
    first_variances,
    fit_prior,
    moderate,
    pool_arms,
    seed_table,
    trigamma_inverse,
)
from orchestrator.stats.spread import Points, ScoreTable, Spread, difference_spread

UNBALANCED: Points = {
    "a": {0: 80.0, 1: 82.0, 2: 81.0},
    "b": {0: 85.0, 2: 83.0, 3: 84.5},
    "c": {1: 79.0, 2: 70.0},
    "d": {0: 90.0, 3: 88.0},
    "one": {0: 1.0},
}
"""Each seed has two arms or more, and not each arm has each seed."""


def table(scores_AS: NDArray[np.float64]) -> dict[str, dict[int, float]]:
    return {f"arm{arm}": dict(enumerate(row)) for arm, row in enumerate(scores_AS.tolist())}


def own_spreads(points: Points, step_points: float = 1e-4) -> dict[str, Spread]:
    """The spread of each arm before the prior, from least squares with equal weights."""
    return seed_table(ScoreTable(points, step_points), dict.fromkeys(points, 1.0))[0]


def design_of(points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The scores, the columns of arms and shared seeds, and the arm of each score; arms with one seed are left out."""
    cells = [(arm, seed) for arm, of in points.items() if len(of) > 1 for seed in of]
    arms = sorted({arm for arm, _ in cells})
    seeds = [seed for seed in sorted({seed for _, seed in cells}) if sum(other == seed for _, other in cells) > 1]
    # Where each seed is shared, one seed's effect is that of all arms together.
    seeds = seeds if any(seed not in seeds for _, seed in cells) else seeds[1:]
    columns = [[arm == other for other in arms] + [seed == other for other in seeds] for arm, seed in cells]
    scores = np.array([points[arm][seed] for arm, seed in cells])
    return scores, np.array(columns, dtype=np.float64), np.array([arms.index(arm) for arm, _ in cells])


class TestSeedTable:
    def test_equal_seeds_still_differ_by_less_than_a_burst(self) -> None:
        found = own_spreads(table(np.zeros((3, 2))), 20)
        assert {spread.variance_points2 for spread in found.values()} == {20**2 / 12}

    def test_two_arms_share_the_variance_of_their_paired_differences(self) -> None:
        scores_AS = np.array([[80.0, 83.0, 81.0], [84.0, 85.0, 89.0]])
        first, second = seed_table(ScoreTable(table(scores_AS), 1e-4), {})[0].values()
        both = difference_spread(first, second)
        assert both.variance_points2 == pytest.approx(np.var(scores_AS[1] - scores_AS[0], ddof=1))
        assert both.degrees_of_freedom == pytest.approx(2)

    def test_what_a_seed_does_to_all_arms_is_no_spread(self) -> None:
        scores_AS = np.random.default_rng(0).normal(80, 1, (5, 3))
        moved = pool_arms(ScoreTable(table(scores_AS + np.array([0, 30, -7])), 1e-4))
        for arm, spread in pool_arms(ScoreTable(table(scores_AS), 1e-4)).spreads.items():
            assert moved.spreads[arm].variance_points2 == pytest.approx(spread.variance_points2)
            assert moved.spreads[arm].degrees_of_freedom == pytest.approx(spread.degrees_of_freedom)

    def test_equal_weights_give_the_residuals_of_least_squares(self) -> None:
        scores, design, arm_of = design_of(UNBALANCED)
        fit = OLS(scores, design).fit()
        freedom = np.bincount(arm_of, 1 - fit.get_influence().hat_matrix_diag)
        found = own_spreads(UNBALANCED)
        assert list(found) == ["a", "b", "c", "d"]
        assert [spread.degrees_of_freedom for spread in found.values()] == pytest.approx(freedom)
        variances = [spread.variance_points2 for spread in found.values()]
        assert variances == pytest.approx(np.bincount(arm_of, fit.resid**2) / freedom)

    @pytest.mark.parametrize("alone", [{}, {7: 60.0}], ids=["all seeds shared", "a seed of one arm"])
    def test_unequal_weights_give_the_residuals_of_weighted_least_squares(self, alone: dict[int, float]) -> None:
        points = {**UNBALANCED, "a": {**UNBALANCED["a"], **alone}}
        variances = {"a": 1.0, "b": 4.0, "c": 100.0, "d": 0.25, "one": 1.0}
        scores, design, arm_of = design_of(points)
        weights = 1.0 / np.array([variances["abcd"[arm]] for arm in arm_of])
        fit = WLS(scores, design, weights).fit()
        whitened = design * np.sqrt(weights)[:, None]
        freedom = np.bincount(arm_of, 1 - np.diag(whitened @ np.linalg.pinv(whitened)))
        found = seed_table(ScoreTable(points, 1e-4), variances)[0]
        assert [spread.degrees_of_freedom for spread in found.values()] == pytest.approx(freedom)
        squares = [spread.variance_points2 * spread.degrees_of_freedom for spread in found.values()]
        assert squares == pytest.approx(np.bincount(arm_of, fit.resid**2))

    def test_arms_that_share_no_seed_keep_their_own_sample_variance(self) -> None:
        found = own_spreads({"a": {0: 80.0, 1: 82.0}, "b": {2: 70.0, 3: 74.0}})
        assert found == {"a": Spread(pytest.approx(2.0), 1.0), "b": Spread(pytest.approx(8.0), 1.0)}

    def test_arms_with_one_seed_have_no_spread(self) -> None:
        assert own_spreads({"a": {0: 80.0}, "b": {0: 81.0}}) == {}

    def test_first_variances_take_medians_so_that_one_run_moves_one_arm(self) -> None:
        scores_AS = np.random.default_rng(3).normal(80, 1, (7, 3))
        broken_AS = scores_AS.copy()
        broken_AS[2, 1] -= 500.0
        before, after = (first_variances(table(scores), 1e-9) for scores in (scores_AS, broken_AS))
        assert after["arm2"] > 10_000 * before["arm2"]
        assert all(0.3 < after[arm] / before[arm] < 3 for arm in before if arm != "arm2")

    def test_no_first_variance_is_below_the_median(self) -> None:
        found = first_variances(table(np.random.default_rng(3).normal(80, 1, (7, 3))), 1e-9)
        assert sorted(found.values())[:4] == [min(found.values())] * 4


class TestCommonVariance:
    def test_is_one_standard_error_above_its_estimate(self) -> None:
        # Effects -2, 0 and 2 have a variance of 4, of which 1 is noise; sqrt(2/2) x (3 + 1) more is the error.
        assert common_variance(np.array([-2.0, 0.0, 2.0]), np.ones(3)) == pytest.approx(3.0 + 4.0)

    def test_is_never_negative(self) -> None:
        assert common_variance(np.array([0.0, 0.0, 0.0]), np.full(3, 4.0)) == pytest.approx(0.25)

    def test_of_one_seed_is_not_known(self) -> None:
        assert common_variance(np.array([3.0]), np.ones(1)) == 0.0

    def test_seeds_that_move_all_arms_alike_show_in_the_pool(self) -> None:
        rng = np.random.default_rng(0)
        scores_AS = rng.normal(80, 1, (12, 30)) + rng.normal(0, 3, 30)
        assert (
            9.0 < pool_arms(ScoreTable(table(scores_AS), 1e-4)).common_points2 < 9.0 * (1 + 2 * (2 / 29) ** 0.5 + 0.3)
        )


class TestOneBadArm:
    @pytest.mark.parametrize("num_seeds", [2, 3, 5])
    @pytest.mark.parametrize("draw", range(8))
    def test_collapsed_run_moves_no_other_spread_by_more_than_a_fifth(self, num_seeds: int, draw: int) -> None:
        scores_AS = np.random.default_rng(draw).normal(80, 1, (13, num_seeds))
        broken_AS = scores_AS.copy()
        broken_AS[4, 0] -= 60.0
        # The arm itself says nothing any more, so it is held against the campaign without it.
        without = pool_arms(ScoreTable({k: v for k, v in table(scores_AS).items() if k != "arm4"}, 0.1)).spreads
        after = pool_arms(ScoreTable(table(broken_AS), 0.1)).spreads
        for arm, spread in without.items():
            assert after[arm].variance_points2 ** 0.5 == pytest.approx(spread.variance_points2**0.5, rel=0.2)

    def test_arm_far_wider_than_the_others_is_an_outlier_and_keeps_its_own_spread(self) -> None:
        scores_AS = np.random.default_rng(0).normal(80, 1, (10, 4))
        scores_AS[3] = [40.0, 120.0, 60.0, 100.0]
        pool = pool_arms(ScoreTable(table(scores_AS), 0.1))
        assert (pool.outliers, pool.collapsed) == (("arm3",), {})
        assert pool.spreads["arm3"] == pool.own["arm3"]
        assert pool.prior == fit_prior([spread for arm, spread in pool.own.items() if arm != "arm3"])

    @pytest.mark.parametrize(("beyond", "found"), [(0.95, ()), (1.3, ("far",))])
    def test_outlier_lies_beyond_the_f_test_of_the_others_prior(self, beyond: float, found: tuple[str, ...]) -> None:
        """Phipson et al. (2016), section 3, with limma's centre replaced by the geometric mean."""
        others = {
            f"arm{number}": Spread(variance, 4.0) for number, variance in enumerate((0.2, 0.5, 1.0, 1.0, 2.0, 5.0))
        }
        prior = fit_prior(list(others.values()), caution=0.0)
        assert prior is not None
        weight = max(PLAUSIBLE_FREEDOM, prior.degrees_of_freedom)
        limit = prior.geometric_mean_points2 * float(stats.f.isf(OUTLIER_LEVEL / 7, 4, weight))
        assert find_outliers({**others, "far": Spread(beyond * limit, 4.0)}) == found

    def test_ordinary_campaigns_have_an_outlier_in_one_of_a_hundred_at_most(self) -> None:
        rng = np.random.default_rng(11)
        found = [
            find_outliers({str(arm): Spread(float(of), 2.0) for arm, of in enumerate(rng.chisquare(2, 12) / 2)})
            for _ in range(300)
        ]
        assert sum(bool(outliers) for outliers in found) <= 9

    def test_three_arms_tell_no_outlier(self) -> None:
        assert find_outliers({"a": Spread(1.0, 4.0), "b": Spread(1.0, 4.0), "c": Spread(1e6, 4.0)}) == ()

    def test_where_most_arms_are_wide_nothing_is_an_outlier(self) -> None:
        wide = {f"wide{number}": Spread(1e4, 4.0) for number in range(5)}
        assert find_outliers(wide | {f"calm{number}": Spread(1.0, 4.0) for number in range(4)}) == ()

    def test_arm_at_chance_says_nothing_of_the_others_and_still_has_a_spread(self) -> None:
        scores = table(np.random.default_rng(0).normal(80, 1, (6, 3))) | {"guess": {0: 10.0, 1: 10.1, 2: 10.0}}
        pool = pool_arms(ScoreTable(scores, 0.1, at_chance=frozenset({"guess"})))
        assert pool.prior == fit_prior([spread for arm, spread in pool.own.items() if arm != "guess"])
        assert "guess" in pool.spreads


class TestCollapsed:
    USUAL = 1.0

    def found(self, *scores: float, sign: int = 1) -> tuple[int, ...]:
        points: Mapping[str, Mapping[int, float]] = {"arm": dict(enumerate(scores))}
        return find_collapsed(ScoreTable(points, 0.1, sign=sign), self.USUAL).get("arm", ())

    def test_run_far_below_others_that_agree_is_set_aside(self) -> None:
        assert self.found(80.0, 30.0, 81.0) == (1,)

    def test_two_of_five_may_be(self) -> None:
        assert self.found(30.0, 80.0, 81.0, 50.0, 79.0) == (0, 3)

    def test_two_runs_always_stay_since_nobody_knows_which_one_is_wrong(self) -> None:
        assert self.found(80.0, 10.0) == ()

    def test_no_more_than_half_of_the_runs_are(self) -> None:
        assert self.found(80.0, 81.0, 30.0, 29.0) == ()

    def test_run_far_above_the_others_stays(self) -> None:
        assert self.found(30.0, 80.0, 31.0) == ()

    def test_where_less_is_better_the_high_run_collapsed(self) -> None:
        assert self.found(30.0, 80.0, 31.0, sign=-1) == (1,)
        assert self.found(80.0, 30.0, 81.0, sign=-1) == ()

    def test_others_that_do_not_agree_show_no_exception(self) -> None:
        assert self.found(80.0, 60.0, 20.0) == ()

    def test_gap_is_counted_in_common_standard_deviations(self) -> None:
        assert self.found(80.0, 80.0, 80.0 - COLLAPSED - 0.1) == (2,)
        assert self.found(80.0, 80.0, 80.0 - COLLAPSED + 0.1) == ()

    def test_four_configurations_are_enough_to_tell_which_run_collapsed(self) -> None:
        calm = table(np.random.default_rng(1).normal(80, 1, (4, 3)))
        scores = calm | {"arm2": calm["arm2"] | {1: 20.0}}
        pool, without = (pool_arms(ScoreTable(each, 0.1)) for each in (scores, calm))
        assert pool.collapsed == {"arm2": (1,)}
        for arm in ("arm0", "arm1", "arm3"):
            assert pool.spreads[arm].variance_points2 < 2.0 * without.spreads[arm].variance_points2

    def test_pool_has_the_spread_of_the_runs_that_are_left(self) -> None:
        scores = table(np.random.default_rng(0).normal(80, 1, (8, 3)))
        scores["arm2"][1] = 20.0
        pool = pool_arms(ScoreTable(scores, 0.1))
        assert pool.collapsed == {"arm2": (1,)}
        scores["arm2"].pop(1)
        assert replace(pool, collapsed={}) == pool_arms(ScoreTable(scores, 0.1))


class TestItems:
    """What items explain of a variance bounds how far arms can lie apart."""

    SPREADS = tuple(Spread(variance, 2.0) for variance in (0.05, 6.0, 1.0, 8.0, 0.1))

    def apart(self, item_points2: float) -> float:
        prior = fit_prior(self.SPREADS, [item_points2] * 5)
        assert prior is not None
        return float(special.polygamma(1, prior.degrees_of_freedom / 2))

    def test_variance_that_items_explain_wholly_leaves_arms_nearly_alike(self) -> None:
        ratio = 1.0 + math.sqrt(2.0 / 10.0)
        assert self.apart(100.0) == pytest.approx(math.log1p((UNEQUAL * (ratio - 1.0) / ratio) ** 2))

    def test_bound_is_the_log_normal_law_of_the_part_that_is_left(self) -> None:
        ratio = (sum(of.variance_points2 for of in self.SPREADS) / 5) / 2.0 * (1.0 + math.sqrt(2.0 / 10.0))
        assert self.apart(2.0) == pytest.approx(math.log1p((UNEQUAL * (ratio - 1.0) / ratio) ** 2))

    def test_items_that_explain_nothing_bound_nothing(self) -> None:
        plain = fit_prior(self.SPREADS)
        assert plain is not None
        assert self.apart(1e-9) <= float(special.polygamma(1, plain.degrees_of_freedom / 2)) * (1 + 1e-9)
        assert fit_prior(self.SPREADS, [0.0] * 5) == plain


class TestBorrowed:
    def test_few_arms_that_are_well_known_lend_a_spread_as_wide_as_unequal_arms_have(self) -> None:
        assert borrowed_prior([Spread(2.0, 9.0)]) == VariancePrior(PLAUSIBLE_FREEDOM, 2.0, 9.0)

    def test_variance_is_never_below_what_items_explain(self) -> None:
        prior = borrowed_prior([Spread(2.0, 9.0)], [3.0])
        assert prior is not None
        assert prior.variance_points2 == pytest.approx(3.0)
        assert prior.degrees_of_freedom > PLAUSIBLE_FREEDOM

    def test_arms_that_are_hardly_known_lend_nothing(self) -> None:
        assert borrowed_prior([Spread(2.0, 1.0), Spread(2.0, 2.0)]) is None

    @pytest.mark.parametrize("borrows", [True, False])
    def test_arm_with_one_run_has_it_only_where_the_table_says_so(self, borrows: bool) -> None:
        reference = dict(enumerate(np.random.default_rng(0).normal(80, 1, 10).tolist()))
        pool = pool_arms(ScoreTable({"base": reference, "E5": {0: 81.0}}, 0.1, borrows=borrows))
        variance = np.var(list(reference.values()), ddof=1)
        assert pool.spreads.get("E5") == (Spread(pytest.approx(variance), PLAUSIBLE_FREEDOM) if borrows else None)


class TestPooled:
    def test_spreads_lie_between_their_own_and_the_campaigns(self) -> None:
        pool = pool_arms(ScoreTable(table(np.random.default_rng(0).normal(80, 1, (6, 3))), 0.1))
        assert pool.prior is not None
        assert pool.outliers == ()
        for arm, spread in pool.spreads.items():
            ends = sorted((pool.own[arm].variance_points2, pool.prior.variance_points2))
            assert ends[0] <= spread.variance_points2 <= ends[1]
            assert spread.degrees_of_freedom > pool.own[arm].degrees_of_freedom

    def test_weights_are_those_of_the_spreads_that_come_out(self) -> None:
        """The spreads are a fixed point: their weights give the table that gives them."""
        scores = ScoreTable(table(np.random.default_rng(5).normal(80, [[1], [1], [2], [1], [3], [1]], (6, 4))), 0.1)
        pool = pool_arms(scores)
        again, common = seed_table(scores, {arm: spread.variance_points2 for arm, spread in pool.spreads.items()})
        for arm, spread in pool.own.items():
            assert again[arm].variance_points2 == pytest.approx(spread.variance_points2)
        assert common == pytest.approx(pool.common_points2)


class TestPrior:
    @pytest.mark.parametrize("value", [1e-9, 1e-3, 0.1, 1.0, math.pi**2 / 6, 40.0, 1e5, 1e9])
    def test_trigamma_inverse_undoes_scipys_trigamma(self, value: float) -> None:
        assert float(special.polygamma(1, trigamma_inverse(value))) == pytest.approx(value, rel=1e-6)

    def test_trigamma_inverse_knows_pi_squared_over_six(self) -> None:
        assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1.0)

    def test_moments_of_a_worked_example(self) -> None:
        # Variances 1, 1, 4, 64 with 4 degrees of freedom: digamma(2) = 1 - gamma and trigamma(2) = pi^2/6 - 1, by hand.
        prior = fit_prior([Spread(variance, 4) for variance in (1.0, 1.0, 4.0, 64.0)], caution=0.0)
        log_2 = math.log(2)
        excess = log_2**2 * (4 + 4 + 0 + 16) / 3 - (math.pi**2 / 6 - 1)
        assert prior is not None
        assert float(special.polygamma(1, prior.degrees_of_freedom / 2)) == pytest.approx(excess)
        geometric_mean = 2 * log_2 - (1 - np.euler_gamma) + log_2
        assert math.log(prior.geometric_mean_points2) == pytest.approx(geometric_mean)
        assert prior.variance_points2 == pytest.approx((1 + 1 + 4 + 64) / 4)
        assert prior.pooled_degrees_of_freedom == 16

    def test_where_one_arm_is_wild_the_law_of_the_logarithms_counts(self) -> None:
        spreads = [Spread(variance, 4) for variance in (1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.0, 1.1, 0.9, 1.0, 256.0)]
        prior = fit_prior(spreads)
        assert prior is not None
        assert (
            prior.geometric_mean_points2 < prior.variance_points2 < sum(each.variance_points2 for each in spreads) / 12
        )

    def test_caution_adds_the_standard_error_of_a_sample_variance(self) -> None:
        spreads = [Spread(variance, 4) for variance in (1.0, 1.0, 4.0, 64.0)]
        plain, careful = fit_prior(spreads, caution=0.0), fit_prior(spreads, caution=2.0)
        assert plain is not None
        assert careful is not None
        log_variance = math.log(2) ** 2 * 8
        # pentagamma(2) = pi^4/15 - 6 is the fourth cumulant of the logarithm of chi-squared with 4 degrees.
        error = math.sqrt((math.pi**4 / 15 - 6 + 2 * log_variance**2) / 4)
        apart = float(special.polygamma(1, plain.degrees_of_freedom / 2))
        assert float(special.polygamma(1, careful.degrees_of_freedom / 2)) == pytest.approx(apart + 2 * error)
        assert careful.variance_points2 == plain.variance_points2

    def test_degrees_of_freedom_that_made_the_variances_are_recovered(self) -> None:
        rng = np.random.default_rng(1)
        true_A = 6.0 * 2.5 / rng.chisquare(6.0, size=40_000)
        prior = fit_prior([Spread(float(s2), 2) for s2 in true_A * rng.chisquare(2, size=len(true_A)) / 2], 0.0)
        assert prior is not None
        assert prior.degrees_of_freedom == pytest.approx(6.0, rel=0.1)
        log_A = np.log(true_A)
        assert prior.variance_points2 == pytest.approx(np.exp(log_A.mean() + log_A.var() / 2), rel=0.05)

    def test_variances_no_more_apart_than_chance_give_an_infinite_prior_without_caution(self) -> None:
        alike = [Spread(2.0, 1)] * 5
        prior, careful = fit_prior(alike, caution=0.0), fit_prior(alike)
        assert prior is not None
        assert math.isinf(prior.degrees_of_freedom)
        assert moderate(Spread(100.0, 1), prior) == Spread(prior.variance_points2, 5)
        assert careful is not None
        assert 0 < careful.degrees_of_freedom < 10

    def test_fewer_than_four_arms_are_not_pooled(self) -> None:
        assert fit_prior([Spread(1.0, 1), Spread(2.0, 1), Spread(3.0, 1)]) is None
        assert pool_arms(ScoreTable(table(np.random.default_rng(0).normal(80, 1, (3, 4))), 1.0)).spreads == {}

    def test_arm_that_says_next_to_nothing_has_no_part_in_the_prior(self) -> None:
        four = [Spread(float(variance), 1) for variance in (1, 2, 3, 4)]
        prior, with_fifth = fit_prior(four), fit_prior([*four, Spread(1e-9, 0.1)])
        assert prior is not None
        assert with_fifth is not None
        assert with_fifth.variance_points2 == prior.variance_points2

    def test_moderated_variance_is_the_weighted_mean(self) -> None:
        assert moderate(Spread(8.0, 1), VariancePrior(3.0, 4.0, 9)) == Spread(pytest.approx((3 * 4 + 1 * 8) / 4), 4)

    def test_degrees_of_freedom_never_exceed_those_of_all_arms(self) -> None:
        assert moderate(Spread(8.0, 3), VariancePrior(20.0, 4.0, 9)).degrees_of_freedom == 9


def printed(*numbers: str) -> list[Any]:
    """What was published, to a unit of its last digit: rounded inputs are at most half of it off, and so is itself."""
    return [pytest.approx(float(number), rel=0, abs=10.0 ** -len(number.partition(".")[2])) for number in numbers]


def limmas_variance(prior: VariancePrior) -> float:
    """Turn the centre of a prior that was fitted without caution into limma's.

    limma's is the geometric mean of the variances times exp(digamma(d0 / 2)) / (d0 / 2).
    """
    half = prior.degrees_of_freedom / 2
    return prior.geometric_mean_points2 * math.exp(special.digamma(half)) / half


class TestPublishedByLimma:
    """Inputs and outputs as R printed them, rounded: sigma to seven decimals, TWENTY exact.

    GENES: limma 3.36.2 with R 3.5.0, tests/limma-Tests.Rout.save (github.com/bioc/limma, commit 0cd5c13e), the one
    `eBayes` that it prints: five genes, of which the last lacks two arrays. TWENTY: R's squeezeVar, in the test of its
    port (github.com/AllenInstitute/transcriptomic_clustering, commit 32213e4d, tests/test_de_ebayes.py, not robust).
    Ten alike: eBayes on two groups of three arrays, in the test of its port (github.com/epigenelabs/inmoose, commit
    5b8a586d, tests/limma/test_lmFit.py).
    """

    GENES = tuple(map(Spread, np.square([1.3425032, 0.4647155, 1.1993444, 0.9428569, 0.9421509]), (6, 6, 6, 6, 4)))
    GENES_PRIOR = VariancePrior(9.306153, 0.923179, 28)
    TWENTY = (20, 25, 10, 15, 25, 30, 110, 30, 15, 20, 20, 25, 30, 15, 25, 20, 20, 25, 15, 10)
    TWENTY_AFTER = {10: "16.62089", 15: "18.83185", 20: "21.04280", 25: "23.25376", 30: "25.46471", 110: "60.84000"}

    @pytest.mark.parametrize(
        ("spreads", "published"),
        [(GENES, ("9.306153", "0.923179")), ([Spread(float(of), 15) for of in TWENTY], ("18.92199", "21.86946"))],
    )
    def test_prior_is_limmas_but_for_its_centre(self, spreads: list[Spread], published: tuple[str, str]) -> None:
        prior = fit_prior(spreads, caution=0.0)
        assert prior is not None
        assert [prior.degrees_of_freedom, limmas_variance(prior)] == printed(*published)

    def test_five_genes_with_unequal_degrees_of_freedom(self) -> None:
        moderated = [moderate(gene, self.GENES_PRIOR) for gene in self.GENES]
        after = printed("1.2677996", "0.6459499", "1.1251558", "0.9097727", "0.9124980")
        assert [gene.variance_points2 for gene in moderated] == after
        freedom = printed("15.30615", "15.30615", "15.30615", "15.30615", "13.30615")
        assert [gene.degrees_of_freedom for gene in moderated] == freedom

    def test_their_moderated_t_and_its_p(self) -> None:
        # The contrast mu + alpha; limma prints more digits of p than its own rounded inputs carry.
        difference = np.array([1.677465, 2.372554, 1.053584, 1.611443, 2.051995])
        error = np.array([0.5773503] * 4 + [0.8368633])
        moderated = [moderate(gene, self.GENES_PRIOR) for gene in self.GENES]
        t = difference / error / np.sqrt([gene.variance_points2 for gene in moderated])
        assert t.tolist() == printed("2.580411", "5.113018", "1.720376", "2.926234", "2.566881")
        p_values = [0.0206493481, 0.0001195844, 0.1055117477, 0.0102514264, 0.0230888584]
        freedom = [gene.degrees_of_freedom for gene in moderated]
        assert 2 * special.stdtr(freedom, -t) == pytest.approx(p_values, rel=2e-6)

    def test_twenty_variances_of_fifteen_degrees_of_freedom(self) -> None:
        prior = VariancePrior(18.92199, 21.86946, 300)
        moderated = [moderate(Spread(variance, 15), prior).variance_points2 for variance in self.TWENTY_AFTER]
        assert moderated == printed(*self.TWENTY_AFTER.values())

    def test_ten_alike_are_known_no_better_than_all_of_them(self) -> None:
        moderated = moderate(Spread(0.7919070**2, 4), VariancePrior(71047.76, 0.1198481, 40))
        assert [moderated.variance_points2] == printed("0.1198767")
        assert moderated.degrees_of_freedom == 40
        t = 1.4339472 / 0.5773503 / moderated.variance_points2**0.5
        assert t == pytest.approx(7.1734231, rel=1e-6)
        assert 2 * special.stdtr(moderated.degrees_of_freedom, -t) == pytest.approx(1.076797e-08, rel=1e-5)

    def test_inverse_of_trigamma(self) -> None:
        assert [trigamma_inverse(5), trigamma_inverse(1e6)] == printed("0.4961687", "0.001000001")


def test_the_worked_example_of_the_module_holds() -> None:
    prior = VariancePrior(degrees_of_freedom=3.0, variance_points2=1.0, pooled_degrees_of_freedom=30.0)
    assert moderate(Spread(4.0, 1.0), prior) == Spread(1.75, 4.0)
