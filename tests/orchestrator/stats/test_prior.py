"""Known answers for the prior of a campaign's spreads, limma's published ones among them."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from orchestrator.stats.pool import pool_arms
from orchestrator.stats.prior import (
    PLAUSIBLE_FREEDOM,
    UNEQUAL,
    VariancePrior,
    borrowed_prior,
    fit_prior,
    moderate,
    trigamma_inverse,
)
from orchestrator.stats.spread import ScoreTable, Spread


def table(scores_AS: NDArray[np.float64]) -> dict[str, dict[int, float]]:
    return {f"arm{arm}": dict(enumerate(row)) for arm, row in enumerate(scores_AS.tolist())}


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
