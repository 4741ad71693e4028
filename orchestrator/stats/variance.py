"""Where the error of a difference comes from: seeds, items, and both together. Pure.

Axes: R runs, S seeds, B items of one split, D strata, A arms (configurations that were trained).

A difference at seed s and item b is modelled as delta + seed_s + item_b + rest_sb. All three are random; items are
drawn within each stratum. The mean over S seeds and B items then has the variance

    var(seed)/S + var(item)/B + var(rest)/(S B)

Each part is estimated by the moments of a two-way layout (Searle, Casella and McCulloch, Variance Components (1992),
chapter 4). The variance of the means at each seed includes var(seed) + var(rest)/B, and the variance over items
includes the rest as well. Adding both would count the rest twice.

Example: three seeds differ by 4, 6 and 5 points on 100 items. The variance of these is 1.0, so their mean has
1.0 / 3 = 0.33 squared points. Of that the rest is 0.21, which leaves 0.12 for the seeds. The items have 2.07. The sum
is 2.41, and its square root, 1.55 points, is the standard error.

The spread over seeds comes from all arms of a campaign (`pool`), since two or three seeds say little about it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.sparse import NORMAL_95, SPARSE, score_interval
from orchestrator.stats.spread import Spread, rounding_variance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorParts:
    """The squared standard error of a mean difference, in squared percentage points, part by part."""

    seed: float
    """Shrinks with more seeds."""
    item: float
    """Shrinks with more items."""
    rest: float
    """Belongs to a seed and an item together; shrinks with more of either."""
    degrees_of_freedom: float
    """Degrees of freedom of the sum, by Satterthwaite (1946); no fewer than those of its least known part."""

    @property
    def total(self) -> float:
        """The squared standard error."""
        return self.seed + self.item + self.rest


def seed_spread(pairs: PairedDifferences) -> Spread:
    """Return the sample variance of the per-seed differences, S - 1 degrees of freedom.

    It is never below the variance of rounding: two equal scores may hide a difference of less than one item.
    """
    variance = float(pairs.delta_points_by_seed.var(ddof=1))
    return Spread(max(variance, rounding_variance(pairs.smallest_step)), pairs.num_seeds - 1)


def stratified_variance(values_RB: Floats, stratum_B: NDArray[np.int64] | NDArray[np.str_]) -> Floats:
    """Return the sampling variance of the mean over items of each row [R]; with strata.

    Source: Cochran, Sampling Techniques (1977), eq. 5.7 without the finite-population term. A stratum with one item
    takes the pooled variance of the others. If every stratum has one item, the variance is that over all items.
    """
    _, stratum_of_B, count_D = np.unique(stratum_B, return_inverse=True, return_counts=True)
    # Strata of one item have no variance inside, so all items become one stratum.
    if (count_D == 1).all():
        stratum_of_B, count_D = np.zeros_like(stratum_of_B), np.array([len(stratum_B)])
    member_BD = (stratum_of_B[:, None] == np.arange(len(count_D))).astype(np.float64)
    centred_RB = values_RB - (values_RB @ member_BD / count_D)[:, stratum_of_B]
    squares_RD = centred_RB**2 @ member_BD
    pooled_R1 = squares_RD.sum(axis=1, keepdims=True) / max(1, (count_D - 1).sum())
    variance_RD = np.where(count_D > 1, squares_RD / np.maximum(1, count_D - 1), pooled_R1)
    result_R: Floats = variance_RD @ count_D / len(stratum_B) ** 2
    return result_R


def item_freedom(pairs: PairedDifferences) -> int:
    """Return the degrees of freedom of a variance over items within strata; zero for a single item."""
    within = pairs.num_items - len(np.unique(pairs.stratum_B))
    return within or pairs.num_items - 1


def split_error(pairs: PairedDifferences, spread: Spread) -> ErrorParts:
    """Split the squared standard error of the mean difference into its parts.

    A negative estimate becomes zero. The spread over seeds is at least what the rest alone would give.

    Args:
        pairs: at one seed or more; one seed needs `pairs.rest_points2`.
        spread: of the difference at one seed; moderated, or `seed_spread` of the pairs. Where runs have weights, it is
            the variance of the weighted mean times the number of common seeds.
    """
    if pairs.rests_on == "seeds":
        # Each seed draws its own test items, and they overlap. Nadeau and Bengio (2003) add the share that is tested.
        per_seed = spread.variance_points2
        return ErrorParts(per_seed / pairs.num_seeds, per_seed * pairs.test_ratio, 0.0, spread.degrees_of_freedom)
    freedom = item_freedom(pairs)
    if freedom == 0:
        # One item shows no variance. A score of one item is right or wrong, so its step is all that it can be off.
        return ErrorParts(
            spread.variance_points2 / pairs.num_seeds, pairs.smallest_step**2, 0.0, spread.degrees_of_freedom
        )
    between, rest, rest_freedom = _items_and_rest(pairs, freedom)
    across_seeds = max(spread.variance_points2 / pairs.num_seeds, rest)
    item = max(0.0, between - rest, sparse_variance(pairs))
    # A item part cut at zero is known no better than one just above zero, so its noise counts in full.
    noise = across_seeds**2 / spread.degrees_of_freedom
    noise += between**2 / freedom + rest**2 / rest_freedom
    # Satterthwaite's value may fall below every part's own; the sum is known at least as well as that part.
    known = max((across_seeds + item) ** 2 / noise, min(spread.degrees_of_freedom, freedom))
    return ErrorParts(across_seeds - rest, item, rest, known)


def _items_and_rest(pairs: PairedDifferences, freedom: int) -> tuple[float, float, float]:
    """Return the variance over items of the mean difference, the rest in it, and the rest's degrees of freedom."""
    points_SB = pairs.points
    mean_1B = points_SB.mean(axis=0, keepdims=True)
    # The first row is the mean over seeds; each other row is what one seed adds to each item.
    between, *each = stratified_variance(np.vstack([mean_1B, points_SB - mean_1B]), pairs.stratum_B).tolist()
    if pairs.num_seeds > 1:
        return between, sum(each) / (pairs.num_seeds - 1) / pairs.num_seeds, freedom * (pairs.num_seeds - 1)
    # A single seed cannot tell its rest from its items. The arms' other runs may; if not, it counts in both parts.
    return between, min(between, pairs.rest_points2 or 0.0), freedom


def sparse_variance(pairs: PairedDifferences, quantile: float = NORMAL_95) -> float:
    """Return the least variance of the item part, if few items differ between the sides; otherwise 0.

    Few differences are not normal. So the error is that of the score interval for paired shares (`sparse`).

    Args:
        pairs: experiment and reference.
        quantile: of the normal distribution, at which the interval is taken; the default gives 95 %.
    """
    if pairs.right_points is None:
        return 0.0
    mean_B = pairs.points.mean(axis=0) / pairs.right_points
    if np.count_nonzero(mean_B) >= SPARSE:
        return 0.0
    gained, lost = float(mean_B.clip(min=0).sum()), float(-mean_B.clip(max=0).sum())
    low, high = score_interval(gained, lost, pairs.num_items, quantile)
    middle = (gained - lost) / pairs.num_items
    return (pairs.right_points * max(high - middle, middle - low) / quantile) ** 2
