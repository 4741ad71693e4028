"""How many seeds, or items, a verdict would take. Pure.

An estimate says how large its error is, and which parts of the error more seeds or more items would take away. If the
difference stays, that gives a number of seeds in all. The difference is not known, so its interval gives a range.

Example: a standard error of 1.0 points from 2 seeds, all of it from seeds. A difference of 1.0 points leaves zero once
1.96 errors are below it, so once the squared error is 0.26. That takes 2 / 0.26 = 7.7, so 8 seeds in all.
"""

import math
from collections.abc import Callable

from msgspec.structs import replace

from orchestrator.stats.estimate import Estimate, t_quantile


def seeds_to_resolve(estimate: Estimate, half_width_points: float, level: float) -> float:
    """Return roughly how many seeds would narrow the interval to a half width; infinite if no number would.

    More seeds bring no more items, so no number is enough if the item part alone is too wide. The normal quantile is
    used, as if the errors were known.
    """
    seed, item, rest = _squared_parts(estimate)
    return _times_to_resolve(seed + rest, item, half_width_points, level) * len(estimate.seeds)


def items_to_resolve(estimate: Estimate, half_width_points: float, level: float) -> float:
    """Return roughly how many items, of the same strata and at the same seeds, would do the same."""
    seed, item, rest = _squared_parts(estimate)
    return _times_to_resolve(item + rest, seed, half_width_points, level) * estimate.num_items


Resolve = Callable[[Estimate, float, float], float]
"""`seeds_to_resolve` or `items_to_resolve`."""


def fewest_to_decide(
    estimate: Estimate, margin_points: float, num_compared: int, equivalence_level: float, to_resolve: Resolve
) -> float:
    """Return roughly how many seeds, or items, would give a verdict if the difference stays; infinite if none would.

    There is a verdict once the interval leaves zero or lies inside the margin. The smaller number counts.

    Args:
        estimate: with a difference and an error.
        margin_points: a difference below this makes no difference.
        num_compared: the interval must leave zero at the level over this number, as Bonferroni has it.
        equivalence_level: of each of the two one-sided tests against the margin.
        to_resolve: counts seeds or items.
    """
    size = abs(estimate.delta_points or 0.0)
    off_zero = to_resolve(estimate, size, estimate.level / max(1, num_compared))
    inside = to_resolve(estimate, margin_points - size, 2 * equivalence_level)
    fewest = min(off_zero, inside)
    return fewest if math.isinf(fewest) else math.ceil(fewest)


def range_to_decide(
    estimate: Estimate, margin_points: float, num_compared: int, equivalence_level: float, to_resolve: Resolve
) -> tuple[float, float]:
    """Return the fewest and the most that `fewest_to_decide` gives over the differences of the estimate's interval.

    Leaving zero is easier for a larger difference, lying inside the margin for a smaller one. So the fewest stands at
    an end. The most stands where both take the same number, or at the end that is nearest.

    Args:
        estimate: with an interval; the others as in `fewest_to_decide`.
        margin_points: a difference below this makes no difference.
        num_compared: of the family.
        equivalence_level: of each of the two one-sided tests.
        to_resolve: counts seeds or items.
    """
    low, high = estimate.interval_points or (0.0, 0.0)
    least, most = (0.0 if low <= 0.0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    # Both verdicts take the same error at this size: size / z of the one equals (margin - size) / z of the other.
    off_zero, inside = (
        t_quantile(1 - level / 2, math.inf) for level in (estimate.level / max(1, num_compared), 2 * equivalence_level)
    )
    hardest = min(most, max(least, margin_points * off_zero / (off_zero + inside)))

    def fewest(size: float) -> float:
        at_size = replace(estimate, delta_points=size)
        return fewest_to_decide(at_size, margin_points, num_compared, equivalence_level, to_resolve)

    return min(fewest(least), fewest(most)), fewest(hardest)


def _squared_parts(estimate: Estimate) -> tuple[float, float, float]:
    parts = (estimate.seed_error_points, estimate.item_error_points, estimate.rest_error_points)
    seed, item, rest = (part**2 for part in parts if part is not None)
    return seed, item, rest


def _times_to_resolve(shrinking: float, lasting: float, half_width_points: float, level: float) -> float:
    """Return the factor that narrows the interval enough, if one part of the squared error shrinks in proportion."""
    error_wanted = half_width_points / t_quantile(1 - level / 2, math.inf)
    # The lasting part alone is wider than the target, so no amount of the other data is enough.
    if half_width_points <= 0 or error_wanted**2 <= lasting:
        return math.inf
    return shrinking / (error_wanted**2 - lasting)
