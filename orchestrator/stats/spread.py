"""The variance of one run's score over seeds, and how well it is known. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The variance of one seed's score, or of one seed's difference, and how well it is known."""

    variance_points2: float
    degrees_of_freedom: float


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
