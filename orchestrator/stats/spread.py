"""Scores by arm and seed, and the variance of one run's score over seeds. Values, and how they combine. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Points = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> score in points; cells may be missing."""


@dataclass(frozen=True)
class Spread:
    """The variance of one seed's score, or of one seed's difference, and how well it is known."""

    variance_points2: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one metric by arm and seed, on the scale of the judgement."""

    points: Points
    step_points: float
    """Smallest step of a score, for the rounding."""
    sign: int = 1
    """1 where a higher score is better, -1 where a lower one is."""
    item_points2: Mapping[str, float] = field(default_factory=dict)
    """Arm -> the part of one run's variance that its items explain, squared points; only where there are items."""
    at_chance: frozenset[str] = frozenset()
    """Arms that only guess. They cannot vary as others do, so they say nothing about these."""
    borrows: bool = False
    """Whether an arm with one run takes the spread of the few arms that have more, as unequal as arms may be."""


def rounding_variance(step_points: float) -> float:
    """Return the variance of rounding to steps of this size, squared points: a step squared over 12.

    Of B items that are right or wrong, the step is 100/B points.
    """
    return step_points**2 / 12


def difference_spread(experiment: Spread, reference: Spread) -> Spread:
    """Return the variance of the difference of two arms at one seed; freedom by Satterthwaite (1946)."""
    parts = (experiment, reference)
    variance = sum(part.variance_points2 for part in parts)
    noise = sum(part.variance_points2**2 / part.degrees_of_freedom for part in parts)
    return Spread(variance, variance**2 / noise)
