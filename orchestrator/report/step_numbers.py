"""How the numbers of a verdict's steps are written: with enough places to do the sums again. Pure."""

import math

from orchestrator import wording
from orchestrator.verdicts.arithmetic import Arithmetic
from orchestrator.verdicts.scale import PERCENT, Scale

PLACES = 3
"""Decimal places of points where the margin is 1 or more, so that a reader can do the sums again."""
MAX_PLACES = 12
LOG_UNIT = "hundredths of a natural logarithm"
"""The unit of a difference of two values that are compared by ratio."""


def points_of(steps: Arithmetic, value: float | None) -> str:
    """Write a difference with enough places to do the sums again."""
    if value is None:
        return wording.MISSING
    places = places_of(steps)
    # Rounding first keeps a tiny negative number from reading "−0.000".
    return f"{round(value, places) + 0.0:+.{places}f}".replace("-", "−")


def size_of(steps: Arithmetic, value: float) -> str:
    """Write the length of a difference, with as many places."""
    return f"{value:.{places_of(steps)}f}"


def places_of(steps: Arithmetic) -> int:
    """Return the decimal places of points: two more than the report shows."""
    margin = Scale(steps.metric).margin_points
    return PLACES if margin >= 1 else min(MAX_PLACES, PLACES - math.floor(math.log10(margin)))


def unit_of(steps: Arithmetic) -> str:
    """Return the unit of the steps, with a space in front; empty if the metric has none."""
    if Scale(steps.metric).is_ratio:
        return f" {LOG_UNIT}"
    unit = "points" if steps.metric.unit == PERCENT else steps.metric.unit
    return f" {unit}" if unit else ""


def freedom_of(value: float) -> str:
    """Write degrees of freedom as words."""
    return "infinitely many degrees of freedom" if math.isinf(value) else f"{value:.1f} degrees of freedom"
