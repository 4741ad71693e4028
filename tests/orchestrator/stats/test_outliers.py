"""What one unusual arm or run may do to the spreads of the others."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from orchestrator.stats.outliers import OUTLIER_LEVEL, find_collapsed, find_outliers, longest_gap, prior_shares
from orchestrator.stats.pool import pool_arms
from orchestrator.stats.prior import PLAUSIBLE_FREEDOM, VariancePrior, fit_prior, moderate
from orchestrator.stats.spread import ScoreTable, Spread


def table(scores_AS: NDArray[np.float64]) -> dict[str, dict[int, float]]:
    return {f"arm{arm}": dict(enumerate(row)) for arm, row in enumerate(scores_AS.tolist())}


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


class TestPriorShares:
    PRIOR = VariancePrior(4.0, 1.0, 40.0)

    def test_worked_example(self) -> None:
        spreads = {name: Spread(variance, 4.0) for name, variance in (("a", 9.0), ("b", 0.5), ("c", 12.0), ("d", 1.0))}
        # The chance of a variance as large, by the prior, over that by the rank: of a 1.5 of 4, of c 0.5 of 4.
        # With four degrees of freedom on either side, the F distribution is x^2 (x + 3) / (x + 1)^3.
        a, c = (1 - 81 * 12 / 1000) / 0.375, (1 - 144 * 15 / 2197) / 0.125
        # The wider one, c, must not take more than a does: both take their mean.
        found = prior_shares(spreads, self.PRIOR)
        assert found["a"] == found["c"] == pytest.approx((a + c) / 2)
        # Of the others, d is as likely as 2.5 of 4 only to 0.8, and b as likely as 3.5 of 4 only to 0.97.
        assert found["d"] == pytest.approx((1 - 4 / 8) / 0.625)
        assert found["b"] == pytest.approx((1 - 0.25 * 3.5 / 3.375) / 0.875)

    def test_prior_of_infinite_weight_is_a_chi_squared_distribution(self) -> None:
        spreads = {str(arm): Spread(variance, 2.0) for arm, variance in enumerate((1.0, 0.5, 0.7, 8.0))}
        found = prior_shares(spreads, VariancePrior(math.inf, 1.0, 8.0))
        assert found["3"] == pytest.approx(float(stats.chi2.sf(16.0, 2)) / 0.125, rel=1e-4)

    @given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=20))
    def test_wider_arms_never_take_more(self, variances: list[float]) -> None:
        found = prior_shares({str(arm): Spread(each, 3.0) for arm, each in enumerate(variances)}, self.PRIOR)
        shares = [found[str(arm)] for arm in np.argsort(variances, kind="stable")]
        assert all(later <= earlier + 1e-9 for earlier, later in pairwise(shares))
        assert all(0.0 < share <= 1.0 for share in shares)

    def test_no_arms_take_nothing(self) -> None:
        assert prior_shares({}, self.PRIOR) == {}

    def test_pool_gives_a_nearly_outlying_arm_its_share(self) -> None:
        scores = table(np.random.default_rng(5).normal(80, 1, (12, 4)))
        scores["arm3"] = {seed: 80 + 3 * (value - 80) for seed, value in scores["arm3"].items()}
        pool = pool_arms(ScoreTable(scores, 1e-4))
        assert pool.prior is not None
        assert "arm3" not in pool.outliers
        share = prior_shares(pool.own, pool.prior)["arm3"]
        assert share < 0.5
        assert pool.spreads["arm3"] == moderate(pool.own["arm3"], pool.prior, share)


class TestCollapsed:
    USUAL = 1.0

    def found(self, *scores: float, sign: int = 1) -> tuple[int, ...]:
        points: Mapping[str, Mapping[int, float]] = {"arm": dict(enumerate(scores))}
        return find_collapsed(ScoreTable(points, 0.1, sign=sign), self.USUAL).get("arm", ())

    def test_run_far_below_others_that_agree_is_set_aside(self) -> None:
        assert self.found(80.0, 30.0, 81.0) == (1,)

    def test_two_of_six_may_be(self) -> None:
        assert self.found(30.0, 80.0, 81.0, 50.0, 79.0, 80.0) == (0, 3)

    def test_two_runs_always_stay_since_nobody_knows_which_one_is_wrong(self) -> None:
        assert self.found(80.0, 10.0) == ()

    def test_where_more_than_a_third_of_the_runs_are_low_none_is_an_exception(self) -> None:
        assert self.found(30.0, 80.0, 81.0, 29.0, 79.0) == ()

    def test_run_far_above_the_others_stays(self) -> None:
        assert self.found(30.0, 80.0, 31.0) == ()

    def test_where_less_is_better_the_high_run_collapsed(self) -> None:
        assert self.found(30.0, 80.0, 31.0, sign=-1) == (1,)
        assert self.found(80.0, 30.0, 81.0, sign=-1) == ()

    def test_others_that_do_not_agree_show_no_exception(self) -> None:
        assert self.found(80.0, 60.0, 40.0) == ()

    def test_gap_is_that_of_students_t_with_the_others_and_the_prior(self) -> None:
        others = np.array([80.0, 81.0, 79.0])
        # Four degrees of freedom by the prior, at the usual variance of 1, and two by the runs, with squares of 2.
        scale = np.sqrt((4 * self.USUAL + 2.0) / 6 * (1 + 1 / 3))
        gap = float(stats.t.ppf(1 - OUTLIER_LEVEL / 4, 6)) * scale
        assert longest_gap(others, self.USUAL, OUTLIER_LEVEL / 4) == pytest.approx(gap)
        assert self.found(*others, 80.0 - gap - 0.01) == (3,)
        assert self.found(*others, 80.0 - gap + 0.01) == ()

    def test_ordinary_campaigns_have_a_collapsed_run_in_one_of_a_hundred_at_most(self) -> None:
        rng = np.random.default_rng(3)
        wide_A = (4.0 / rng.chisquare(4, (400, 12))) ** 0.5
        campaigns = (rng.standard_normal((12, 3)) * wide[:, None] for wide in wide_A)
        assert sum(bool(find_collapsed(ScoreTable(table(each), 1e-4), 1.0)) for each in campaigns) / 400 <= 0.02

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
