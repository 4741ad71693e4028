"""Known answers for the parts of an error, and for the spread over seeds that a campaign pools."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from statsmodels.api import OLS
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.variance import (
    Spread,
    VariancePrior,
    arm_spreads,
    difference_spread,
    fit_prior,
    item_freedom,
    moderate,
    pool_spreads,
    rounding_variance,
    seed_spread,
    split_error,
    stratified_variance,
    trigamma_inverse,
)

Pairs = Callable[..., PairedDifferences]


def of_one_row(values_B: object, stratum_B: object) -> float:
    return float(stratified_variance(np.array([values_B], dtype=np.float64), np.array(stratum_B))[0])


def table(scores_AS: NDArray[np.float64]) -> dict[str, dict[int, float]]:
    return {f"arm{arm}": dict(enumerate(row)) for arm, row in enumerate(scores_AS.tolist())}


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
        assert rounding_variance(20) == pytest.approx(20**2 / 12)
        assert {spread.variance_points2 for spread in arm_spreads(table(np.zeros((3, 2))), 20).values()} == {20**2 / 12}

    def test_two_arms_share_the_variance_of_their_paired_differences(self) -> None:
        scores_AS = np.array([[80.0, 83.0, 81.0], [84.0, 85.0, 89.0]])
        first, second = arm_spreads(table(scores_AS), 1e-4).values()
        both = difference_spread(first, second)
        assert both.variance_points2 == pytest.approx(np.var(scores_AS[1] - scores_AS[0], ddof=1))
        assert both.degrees_of_freedom == pytest.approx(2)

    def test_what_a_seed_does_to_all_arms_is_no_spread(self) -> None:
        scores_AS = np.random.default_rng(0).normal(80, 1, (5, 3))
        moved = arm_spreads(table(scores_AS + np.array([0, 30, -7])), 1e-4)
        assert moved == {
            arm: Spread(pytest.approx(spread.variance_points2), pytest.approx(spread.degrees_of_freedom))
            for arm, spread in arm_spreads(table(scores_AS), 1e-4).items()
        }

    def test_missing_cells_give_the_residuals_of_least_squares(self) -> None:
        scores = {"a": {0: 80.0, 1: 82.0, 2: 81.0}, "b": {0: 85.0, 2: 83.0}, "c": {1: 79.0, 2: 70.0}, "one": {0: 1.0}}
        arms = [0, 0, 0, 1, 1, 2, 2]
        design = np.column_stack([np.eye(3)[arms], np.eye(3)[[0, 1, 2, 0, 2, 1, 2]][:, 1:]])
        fit = OLS([80.0, 82, 81, 85, 83, 79, 70], design).fit()
        freedom = np.bincount(arms, 1 - fit.get_influence().hat_matrix_diag)
        found = arm_spreads(scores, 1e-4)
        assert list(found) == ["a", "b", "c"]
        assert [spread.degrees_of_freedom for spread in found.values()] == pytest.approx(freedom)
        variances = [spread.variance_points2 for spread in found.values()]
        assert variances == pytest.approx(np.bincount(arms, fit.resid**2) / freedom)

    def test_arms_that_share_no_seed_with_another_leave_nothing_to_compare(self) -> None:
        assert arm_spreads({"a": {0: 80.0, 1: 82.0}}, 1.0) == {}
        assert arm_spreads({"a": {0: 80.0}, "b": {0: 81.0}}, 1.0) == {}

    def test_difference_of_two_arms_has_both_variances_and_satterthwaites_freedom(self) -> None:
        assert difference_spread(Spread(3.0, 4.0), Spread(1.0, 2.0)) == Spread(4.0, pytest.approx(16 / (9 / 4 + 1 / 2)))


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
        assert pool_spreads(table(np.random.default_rng(0).normal(80, 1, (3, 4))), 1.0) == {}

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

    def test_pooled_spreads_lie_between_their_own_and_the_campaigns(self) -> None:
        scores = table(np.random.default_rng(0).normal(80, 1, (6, 3)))
        own, pooled = arm_spreads(scores, 0.1), pool_spreads(scores, 0.1)
        prior = fit_prior(list(own.values()))
        assert prior is not None
        for arm, spread in pooled.items():
            ends = sorted((own[arm].variance_points2, prior.variance_points2))
            assert ends[0] <= spread.variance_points2 <= ends[1]
            assert spread.degrees_of_freedom > own[arm].degrees_of_freedom


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


def test_the_worked_examples_of_the_module_hold() -> None:
    difference_SB = np.zeros((3, 100), dtype=np.int8)
    for seed, count in enumerate((4, 6, 5)):
        difference_SB[seed, :count] = 1
    pairs = PairedDifferences(difference_SB, (0, 1, 2), np.repeat(np.arange(10), 10))
    parts = split_error(pairs, seed_spread(pairs))
    found = (parts.rest, parts.seed, parts.item, parts.total, parts.total**0.5)
    assert [round(part, 2) for part in found] == [0.21, 0.12, 2.07, 2.41, 1.55]
    prior = VariancePrior(degrees_of_freedom=3.0, variance_points2=1.0, pooled_degrees_of_freedom=30.0)
    assert moderate(Spread(4.0, 1.0), prior) == Spread(1.75, 4.0)
