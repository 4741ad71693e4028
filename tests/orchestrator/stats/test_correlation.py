"""Differences move together as far as they share runs and items."""

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.stats.correlation import Contrast, Run, correlations
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.variance import stratified_variance

BY_SEEDS = PairedDifferences(np.zeros((2, 1)), (0, 1), np.array([""]), rests_on="seeds")


def difference(ours: str, theirs: str, seeds: tuple[int, ...] = (0, 1)) -> dict[Run, float]:
    weight = 1.0 / len(seeds)
    return {(ours, seed): weight for seed in seeds} | {(theirs, seed): -weight for seed in seeds}


def by_seeds(weights: dict[Run, float], points2: dict[str, float]) -> Contrast:
    """A difference without items: its error is that of its runs alone."""
    error = sum(weight**2 * points2[arm] for (arm, _), weight in weights.items()) ** 0.5
    return Contrast(weights, points2, BY_SEEDS, error)


class TestRuns:
    def test_two_experiments_on_one_reference_have_a_half(self) -> None:
        equal = dict.fromkeys(("base", "A", "B"), 2.0)
        found = correlations([by_seeds(difference("A", "base"), equal), by_seeds(difference("B", "base"), equal)])
        np.testing.assert_allclose(found, [[1.0, 0.5], [0.5, 1.0]])

    def test_stack_is_against_what_it_stands_on(self) -> None:
        equal = dict.fromkeys(("base", "A", "B"), 2.0)
        found = correlations([by_seeds(difference("A", "base"), equal), by_seeds(difference("B", "A"), equal)])
        np.testing.assert_allclose(found, [[1.0, -0.5], [-0.5, 1.0]])

    def test_reference_with_more_seeds_ties_them_less(self) -> None:
        """Dunnett (1955), eq. 5: with n runs an arm and m of the reference, the correlation is n / (n + m)."""
        equal = dict.fromkeys(("base", "A", "B"), 2.0)
        base: dict[Run, float] = {("base", seed): -0.1 for seed in range(10)}
        arms = [{(arm, seed): 0.5 for seed in (0, 1)} for arm in ("A", "B")]
        found = correlations([by_seeds(arm | base, equal) for arm in arms])
        assert found[0, 1] == pytest.approx(2 / 12)

    def test_arms_of_other_spreads_share_what_the_reference_has(self) -> None:
        points2 = {"base": 1.0, "A": 3.0, "B": 8.0}
        found = correlations([by_seeds(difference("A", "base"), points2), by_seeds(difference("B", "base"), points2)])
        assert found[0, 1] == pytest.approx(1.0 / (4.0 * 9.0) ** 0.5)

    def test_differences_that_share_no_run_are_independent(self) -> None:
        equal = dict.fromkeys("ABCD", 2.0)
        apart = [by_seeds(difference("A", "B"), equal), by_seeds(difference("C", "D"), equal)]
        np.testing.assert_allclose(correlations(apart), np.eye(2))

    def test_none_is_an_empty_matrix(self) -> None:
        assert correlations([]).shape == (0, 0)


class TestItems:
    def pairs(self, values: object, stratum_B: object, rests_on: str = "items") -> PairedDifferences:
        values_SB = np.asarray(values, dtype=np.float64)
        kind = "clusters" if rests_on == "clusters" else "items"
        return PairedDifferences(values_SB, (0,), np.asarray(stratum_B), scale=1.0, rests_on=kind)

    def test_shared_luck_with_items_is_their_covariance_over_items(self) -> None:
        first_B, second_B = [3.0, 1.0, 0.0, 2.0, 5.0], [2.0, 1.0, 1.0, 0.0, 4.0]
        contrasts = [
            Contrast({}, {}, self.pairs([row], [0] * 5), float(np.std(row, ddof=1) / 5**0.5))
            for row in (first_B, second_B)
        ]
        assert correlations(contrasts)[0, 1] == pytest.approx(np.corrcoef(first_B, second_B)[0, 1])

    def test_differences_between_strata_are_no_luck(self) -> None:
        first_B, second_B = [10.0, 11.0, 0.0, 1.0], [10.0, 9.0, 0.0, 1.0]
        contrasts = [
            Contrast(
                {},
                {},
                self.pairs([row], [0, 0, 1, 1]),
                float(stratified_variance(np.array([row]), np.array([0, 0, 1, 1]))[0] ** 0.5),
            )
            for row in (first_B, second_B)
        ]
        assert correlations(contrasts)[0, 1] == pytest.approx(0.0, abs=1e-12)

    def test_other_units_have_no_items_in_common(self) -> None:
        contrasts = [
            Contrast({}, {}, self.pairs([[3.0, 1.0, 0.0]], [0] * 3), 1.0),
            Contrast({}, {}, self.pairs([[3.0, 1.0, 0.0, 2.0]], [0] * 4), 1.0),
        ]
        assert correlations(contrasts)[0, 1] == 0.0


def one_campaign(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Three differences of a baseline, two experiments on it, and one on the first; and their correlations."""
    seed_points2, num_seeds, num_items = 0.02, 2, 60
    of_items = rng.normal(0, 1, (4, 1, num_items))
    value_ASB = (
        of_items + rng.normal(0, seed_points2**0.5, (4, num_seeds, 1)) + rng.normal(0, 1, (4, num_seeds, num_items))
    )
    known = dict.fromkeys("0123", seed_points2)
    contrasts, estimates = [], []
    for ours, theirs in ((1, 0), (2, 0), (3, 1)):
        values_SB = value_ASB[ours] - value_ASB[theirs]
        pairs = PairedDifferences(values_SB, (0, 1), np.zeros(num_items, dtype=np.int64), scale=1.0)
        items = float(stratified_variance(values_SB.mean(axis=0, keepdims=True), pairs.stratum_B)[0])
        error = (2 * seed_points2 / num_seeds + items) ** 0.5
        contrasts.append(Contrast(difference(str(ours), str(theirs)), known, pairs, error))
        estimates.append(float(values_SB.mean()))
    return np.array(estimates), correlations(contrasts)


def test_they_are_those_of_simulated_campaigns() -> None:
    rng = np.random.default_rng(0)
    estimates, found = zip(*(one_campaign(rng) for _ in range(3000)), strict=True)
    # Of 3000 campaigns, a correlation has a standard error of 0.02.
    np.testing.assert_allclose(np.mean(found, axis=0), np.corrcoef(np.array(estimates).T), atol=0.05)
