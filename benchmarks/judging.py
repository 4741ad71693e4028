"""Judge simulated outcomes with the functions that judge a real campaign.

Letters: A arms, the first of which is the reference of all others, S seeds, U units (bursts or sessions).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.correlation import Contrast, correlations
from orchestrator.stats.estimate import Estimate, estimate_delta
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import PairedDifferences, join_seeds
from orchestrator.stats.pool import Pool, pool_arms
from orchestrator.stats.spread import ScoreTable, Spread
from orchestrator.stats.variance import stratified_variance
from orchestrator.stats.weights import SeedWeights, SideVariances, mean_spread

Floats = NDArray[np.float64]
LEVEL = 0.05


@dataclass(frozen=True)
class Outcomes:
    """What every run does with every unit, in percent: 0 or 100 for a burst, a mean for a session."""

    value_ASU: Floats
    stratum_U: NDArray[np.int64]
    is_share: bool = True
    """Whether units are right or wrong."""
    step: float = 1e-9
    """Smallest step of a score that is no share."""

    @property
    def smallest_step(self) -> float:
        """Smallest step of a score."""
        return 100.0 / len(self.stratum_U) if self.is_share else self.step

    @property
    def all_seeds(self) -> list[Sequence[int]]:
        """The seeds of each arm, if each has all."""
        return [range(self.value_ASU.shape[1])] * len(self.value_ASU)

    def by_group(self, group_U: NDArray[np.int64]) -> "Outcomes":
        """Return the outcomes of groups of equal size, each within one stratum."""
        member_UG = (group_U[:, None] == np.unique(group_U)).astype(np.float64)
        first_G = member_UG.argmax(axis=0)
        return Outcomes(self.value_ASU @ (member_UG / member_UG.sum(axis=0)), self.stratum_U[first_G], is_share=False)


def from_right(right_ASU: NDArray[np.bool_], stratum_U: NDArray[np.int64]) -> Outcomes:
    """Return the outcomes of bursts that are recognised or not."""
    return Outcomes(100.0 * right_ASU, stratum_U)


class Judging:
    """One campaign, judged at the seeds that its arms have."""

    def __init__(self, outcomes: Outcomes, seeds_of: Sequence[Sequence[int]], least_seeds: int = 2) -> None:
        self.outcomes, self.least_seeds = outcomes, least_seeds
        self.mean_AS = outcomes.value_ASU.mean(axis=2)
        self.noise = {
            str(arm): noise for arm, of in enumerate(seeds_of) if (noise := self._item_noise(arm, of)) is not None
        }
        points = {str(arm): {seed: float(self.mean_AS[arm, seed]) for seed in of} for arm, of in enumerate(seeds_of)}
        table = ScoreTable(points, outcomes.smallest_step, item_points2=self.noise, borrows=least_seeds < 2)
        self.pool: Pool = pool_arms(table)
        self.seeds_of = [
            [seed for seed in of if seed not in self.pool.collapsed.get(str(arm), ())]
            for arm, of in enumerate(seeds_of)
        ]

    def _item_noise(self, arm: int, seeds: Sequence[int]) -> float | None:
        if len(seeds) < 2:
            return None
        own_SU = self.outcomes.value_ASU[arm, list(seeds)]
        own_SU = own_SU - own_SU.mean(axis=0)
        return float(stratified_variance(own_SU, self.outcomes.stratum_U).sum() / (len(seeds) - 1))

    def estimate(
        self, arm: int, level: float = LEVEL, seeds: Collection[int] | None = None
    ) -> tuple[Estimate, Contrast | None]:
        """Estimate an arm's difference to the first one, at some seeds or at all that they have."""
        sides = [self.seeds_of[arm], self.seeds_of[0]]
        if seeds is not None:
            sides = [[seed for seed in of if seed in seeds] for of in sides]
        variances = self._variances(arm)
        value_2SU = self.outcomes.value_ASU
        rows = join_seeds(
            {seed: value_2SU[arm, seed] for seed in sides[0]},
            {seed: value_2SU[0, seed] for seed in sides[1]},
            len(self.outcomes.stratum_U),
            variances,
        )
        even = dict.fromkeys(rows.seeds, 1.0 / max(1, len(rows.seeds)))
        weights = rows.weights or SeedWeights(even, even)
        pairs = PairedDifferences(
            rows.difference_SB,
            rows.seeds,
            self.outcomes.stratum_U,
            scale=1.0,
            resolution=self.outcomes.smallest_step,
            rests_on="items" if self.outcomes.is_share else "clusters",
            weights=rows.weights,
            at_seed_points=rows.at_seed,
            right_points=100.0 if self.outcomes.is_share else None,
            rest_points2=self._rest(arm, weights),
        )
        enough = len(rows.seeds) >= self.least_seeds
        mean = mean_spread(weights, variances) if variances and enough else None
        spread = mean and Spread(len(rows.seeds) * mean.variance_points2, mean.degrees_of_freedom)
        estimate = estimate_delta(pairs, spread, level)
        return estimate, self._contrast(arm, weights, pairs, estimate)

    def _variances(self, arm: int) -> SideVariances | None:
        known = [self.pool.spreads.get(str(side)) for side in (arm, 0)]
        first, second = known
        return SideVariances(first, second, self.pool.common_points2) if first and second else None

    def _rest(self, arm: int, weights: SeedWeights) -> float | None:
        if not self.noise:
            return None
        usual = sum(self.noise.values()) / len(self.noise)
        sides = ((arm, weights.experiment), (0, weights.reference))
        return sum(self.noise.get(str(of), usual) * sum(w**2 for w in side.values()) for of, side in sides)

    def _contrast(
        self, arm: int, weights: SeedWeights, pairs: PairedDifferences, estimate: Estimate
    ) -> Contrast | None:
        if estimate.error_points is None:
            return None
        beyond = {
            name: max(0.0, spread.variance_points2 - self.noise.get(name, 0.0))
            for name, spread in self.pool.spreads.items()
        }
        ours = {(str(arm), seed): weight for seed, weight in weights.experiment.items()}
        theirs = {("0", seed): -weight for seed, weight in weights.reference.items()}
        return Contrast(ours | theirs, beyond, pairs, estimate.error_points)


def adjust_all(p_values: Sequence[float], contrasts: Sequence[Contrast | None]) -> list[float]:
    """Adjust the p-values of a family by Dunnett's correction; a comparison without a contrast is independent."""
    correlation_CC = np.eye(len(p_values))
    places = [place for place, contrast in enumerate(contrasts) if contrast is not None]
    known = [contrast for contrast in contrasts if contrast is not None]
    correlation_CC[np.ix_(places, places)] = correlations(known)
    return ADJUST["dunnett"](p_values, correlation_CC)


def estimate_all(outcomes: Outcomes) -> tuple[list[Estimate], list[float]]:
    """Estimate every arm's difference to the first arm, and return the adjusted p-values too."""
    judging = Judging(outcomes, outcomes.all_seeds)
    found = [judging.estimate(arm) for arm in range(1, len(outcomes.value_ASU))]
    estimates = [estimate for estimate, _ in found]
    # Without an error there is nothing to tell.
    p_values = [1.0 if estimate.p_value is None else estimate.p_value for estimate in estimates]
    return estimates, adjust_all(p_values, [contrast for _, contrast in found])
