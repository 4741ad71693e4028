"""How much each run counts in a difference, where one side has more seeds than the other. Pure.

Runs at the seeds that both sides have are compared in pairs, since what a seed does to all arms cancels there. Runs at
other seeds of one side still say how good that side is. Both are used, with the weights of least variance. If seeds do
nothing to all arms alike, every run of a side counts the same; if they do much, only the pairs count.

Example: the reference has ten runs and the experiment two, at seeds 0 and 1. Seeds do nothing to all arms alike, and a
run of either has a variance of 1.0. The ten runs count a tenth each. The variance of the difference is
1.0/2 + 1.0/10 = 0.6, where the two pairs alone have 2.0/2 = 1.0.

Source: Searle, Casella and McCulloch, Variance Components (1992), chapter 7: best linear unbiased estimates.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from orchestrator.stats.spread import Spread


@dataclass(frozen=True)
class SideVariances:
    """The variance of one run's score on each side of a comparison."""

    experiment: Spread
    reference: Spread
    common_points2: float = 0.0
    """Variance of what a seed does to both sides alike; it is no part of the other two."""
    is_one_estimate: bool = False
    """Whether both sides have one estimate, so that its degrees of freedom count once."""


@dataclass(frozen=True)
class SeedWeights:
    """Seed -> its weight in the mean of its side; the weights of a side add up to one."""

    experiment: Mapping[int, float]
    reference: Mapping[int, float]

    @property
    def common(self) -> tuple[int, ...]:
        """The seeds of both sides."""
        return tuple(sorted(self.experiment.keys() & self.reference.keys()))

    @property
    def extra(self) -> tuple[int, ...]:
        """The seeds of one side alone."""
        return tuple(sorted(self.experiment.keys() ^ self.reference.keys()))


def best_weights(experiment: Collection[int], reference: Collection[int], variances: SideVariances) -> SeedWeights:
    """Return the weights of least variance, of the seeds of two sides that have at least one in common.

    Args:
        experiment: its seeds.
        reference: its seeds.
        variances: of one run of either side.
    """
    common = set(experiment) & set(reference)
    first, second = _common_shares(len(common), len(experiment), len(reference), variances)
    return SeedWeights(_spread_out(experiment, common, first), _spread_out(reference, common, second))


def _common_shares(num_common: int, num_first: int, num_second: int, variances: SideVariances) -> tuple[float, float]:
    """Return the share of the common seeds in the mean of each side: where the variance has its minimum."""
    common = variances.common_points2
    own = (variances.experiment.variance_points2, variances.reference.variance_points2)
    extra = (num_first - num_common, num_second - num_common)
    # Shares a and b: variance = (common (a-b)^2 + a^2 v1 + b^2 v2) / m + sum of (1-share)^2 (common + v) / extra.
    slope = [0.0 if not more else (common + of) / more for of, more in zip(own, extra, strict=True)]
    first, second = ((common + of) / num_common + rise for of, rise in zip(own, slope, strict=True))
    across = common / num_common
    if not extra[0] and not extra[1]:
        return 1.0, 1.0
    if not extra[0]:
        return 1.0, (slope[1] + across) / second
    if not extra[1]:
        return (slope[0] + across) / first, 1.0
    determinant = first * second - across**2
    return (
        (slope[0] * second + across * slope[1]) / determinant,
        (slope[1] * first + across * slope[0]) / determinant,
    )


def _spread_out(seeds: Collection[int], common: Collection[int], share: float) -> dict[int, float]:
    extra = len(seeds) - len(common)
    return {seed: share / len(common) if seed in common else (1.0 - share) / extra for seed in sorted(seeds)}


def mean_spread(weights: SeedWeights, variances: SideVariances) -> Spread:
    """Return the variance of the weighted mean difference; its freedom is Satterthwaite's (1946)."""
    first, second = (sum(weight**2 for weight in side.values()) for side in (weights.experiment, weights.reference))
    seeds = weights.experiment.keys() | weights.reference.keys()
    apart = (weights.experiment.get(seed, 0.0) - weights.reference.get(seed, 0.0) for seed in seeds)
    common = variances.common_points2 * sum(difference**2 for difference in apart)
    parts = (first * variances.experiment.variance_points2, second * variances.reference.variance_points2)
    total = sum(parts) + common
    if variances.is_one_estimate:
        return Spread(total, variances.experiment.degrees_of_freedom)
    sides = (variances.experiment, variances.reference)
    noise = sum(part**2 / side.degrees_of_freedom for part, side in zip(parts, sides, strict=True))
    return Spread(total, sum(parts) ** 2 / noise)
