"""Known answers for the spread over seeds that a campaign pools."""

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.api import OLS, WLS

from orchestrator.stats.pool import common_variance, first_variances, pool_arms, seed_table
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
