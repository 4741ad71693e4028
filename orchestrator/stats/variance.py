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

Two or three seeds say very little about a variance. So the spread of each arm over seeds is estimated from the table
arms x seeds, and shrunk towards that of the campaign's other arms. The table has arms and not differences, because
differences share their reference: one unusual run of the baseline would make all of them look alike.

Example: an arm has a variance of 4.0 with 1 degree of freedom. The other arms show a variance of 1.0, which weighs as
much as 3 degrees of freedom. The arm then takes (1 x 4.0 + 3 x 1.0) / (1 + 3) = 1.75, with 4 degrees of freedom.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

from orchestrator.stats.pairing import PairedDifferences

Floats = NDArray[np.float64]

MIN_POOLED = 4
"""Least number of arms for a prior: fewer (three comparisons) do not tell it from chance."""
MIN_FREEDOM = 0.5
"""Least degrees of freedom of an arm for a part in the prior: below it, the logarithm of its variance is noise."""


@dataclass(frozen=True)
class Spread:
    """The variance of one seed's score, or of one seed's difference, and how well it is known."""

    variance_points2: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class VariancePrior:
    """What a campaign's arms say about the spread over seeds: a scaled inverse chi-squared distribution."""

    degrees_of_freedom: float
    """The weight of the prior; infinite if the arms differ no more than by chance."""
    variance_points2: float
    pooled_degrees_of_freedom: float
    """Degrees of freedom of all arms together: no moderated variance can have more."""
    geometric_mean_points2: float = math.nan
    """Geometric mean of the arms' variances without the bias of the logarithm; limma centres the prior on it."""


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


def rounding_variance(step_points: float) -> float:
    """Return the variance of rounding to steps of this size, squared points: a step squared over 12.

    Of B items that are right or wrong, the step is 100/B points.
    """
    return step_points**2 / 12


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
        pairs: at two seeds or more.
        spread: of the difference at one seed; moderated, or `seed_spread` of the pairs.
    """
    if pairs.rests_on == "seeds":
        # Each seed draws its own test items, and they overlap. Nadeau and Bengio (2003) add the share that is tested.
        per_seed = spread.variance_points2
        return ErrorParts(per_seed / pairs.num_seeds, per_seed * pairs.test_ratio, 0.0, spread.degrees_of_freedom)
    points_SB = pairs.points
    freedom = item_freedom(pairs)
    if freedom == 0:
        # One item shows no variance. A score of one item is right or wrong, so its step is all that it can be off.
        return ErrorParts(
            spread.variance_points2 / pairs.num_seeds, pairs.smallest_step**2, 0.0, spread.degrees_of_freedom
        )
    mean_1B = points_SB.mean(axis=0, keepdims=True)
    # The first row is the mean over seeds; each other row is what one seed adds to each item.
    between, *each = stratified_variance(np.vstack([mean_1B, points_SB - mean_1B]), pairs.stratum_B).tolist()
    rest = sum(each) / (pairs.num_seeds - 1) / pairs.num_seeds
    across_seeds = max(spread.variance_points2 / pairs.num_seeds, rest)
    item = max(0.0, between - rest)
    # A item part cut at zero is known no better than one just above zero, so its noise counts in full.
    noise = across_seeds**2 / spread.degrees_of_freedom
    noise += between**2 / freedom + rest**2 / (freedom * (pairs.num_seeds - 1))
    # Satterthwaite's value may fall below every part's own; the sum is known at least as well as that part.
    known = max((across_seeds + item) ** 2 / noise, min(spread.degrees_of_freedom, freedom))
    return ErrorParts(across_seeds - rest, item, rest, known)


def arm_spreads(score_points: Mapping[str, Mapping[int, float]], step_points: float) -> dict[str, Spread]:
    """Estimate each arm's variance over seeds from the table arms x seeds, whose cells may be missing.

    What all arms have in common at a seed cancels in every difference, so least squares take it out first. With two
    arms the result is the variance of their paired differences, half for each arm.

    Args:
        score_points: arm -> seed -> score in points.
        step_points: the smallest step of a score, for the rounding.

    Returns:
        The arms whose runs leave a degree of freedom, not yet moderated.
    """
    cells = [(arm, seed, points) for arm, of in score_points.items() if len(of) > 1 for seed, points in of.items()]
    if not cells:
        return {}
    names, seeds, points_R = zip(*cells, strict=True)
    arms, arm_R = np.unique(names, return_inverse=True)
    _, seed_R = np.unique(seeds, return_inverse=True)
    design = np.hstack([np.eye(arm_R.max() + 1)[arm_R], np.eye(seed_R.max() + 1)[seed_R]])
    # Arms and seeds together are one column too many, so the pseudo-inverse replaces the inverse.
    solve = design @ np.linalg.pinv(design.T @ design, hermitian=True)
    residual_R = np.array(points_R) - solve @ (design.T @ np.array(points_R))
    freedom_A = np.bincount(arm_R, 1.0 - (solve * design).sum(axis=1))
    squares_A = np.bincount(arm_R, residual_R**2)
    # An arm whose every seed is needed for the seed effects keeps only rounding noise.
    known = freedom_A > 1e-6
    variance_A = np.maximum(squares_A[known] / freedom_A[known], rounding_variance(step_points))
    values = zip(arms[known].tolist(), variance_A.tolist(), freedom_A[known].tolist(), strict=True)
    return {arm: Spread(variance, freedom) for arm, variance, freedom in values}


def trigamma_inverse(value: float) -> float:
    """Solve trigamma(y) = value for y > 0. Source: Smyth (2004), appendix: Newton on 1/trigamma, a convex function."""
    if value > 1e7:
        return float(value**-0.5)
    if value < 1e-6:
        return 1.0 / value
    y = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1.0 - trigamma / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-10 * y:
            break
    return y


def fit_prior(spreads: Sequence[Spread], caution: float = 0.5) -> VariancePrior | None:
    """Fit the prior to a campaign's variances by the moments of their logarithms; None for fewer than four of them.

    limma's fit, with two changes that simulations of campaigns asked for (docs/calibration.md):

    - Two seeds hardly show how far the true variances lie apart, and taking unequal variances as equal gives false
      verdicts. So the distance is taken `caution` standard errors above its estimate.
    - The prior's variance estimates the arms' mean variance. limma's is the geometric mean times a factor below one.
      The factor is right for limma's own distribution and too small for others, so wide arms look narrow. Here the
      smaller of two estimates counts, and never less than the geometric mean. One is the pooled variance, which a few
      extreme arms spoil. The other is the mean of a log-normal distribution, which few seeds spoil.

    With `caution` zero the degrees of freedom are limma's.

    Args:
        spreads: each arm's own, squared points, above zero.
        caution: in standard errors.

    Source: Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments (2004), section 6.2.
    """
    used = [spread for spread in spreads if spread.degrees_of_freedom >= MIN_FREEDOM]
    if len(used) < MIN_POOLED:
        return None
    half_A = np.array([spread.degrees_of_freedom for spread in used]) / 2.0
    log_A = np.log([spread.variance_points2 for spread in used]) - digamma(half_A) + np.log(half_A)
    noise = float(polygamma(1, half_A).mean())
    excess = float(log_A.var(ddof=1)) - noise
    # The variance of a sample variance is (fourth cumulant + 2 x squared variance) / number of values.
    total = noise + max(0.0, excess)
    excess_error = math.sqrt((float(polygamma(3, half_A).mean()) + 2.0 * total**2) / len(used))
    apart = max(0.0, excess) + caution * excess_error if caution else excess
    geometric = math.exp(log_A.mean())
    pooled = sum(spread.variance_points2 * spread.degrees_of_freedom for spread in used) / (2.0 * float(half_A.sum()))
    return VariancePrior(
        degrees_of_freedom=2.0 * trigamma_inverse(apart) if apart > 0 else math.inf,
        variance_points2=min(max(geometric, pooled), geometric * math.exp(max(0.0, excess) / 2)),
        geometric_mean_points2=geometric,
        pooled_degrees_of_freedom=sum(spread.degrees_of_freedom for spread in spreads),
    )


def moderate(spread: Spread, prior: VariancePrior) -> Spread:
    """Shrink a variance towards the prior's. Source: Smyth (2004), section 3; the cap on the freedom is limma's."""
    weight, freedom = prior.degrees_of_freedom, spread.degrees_of_freedom
    # Without the cap a very heavy prior would claim more data than the campaign has.
    known = min(weight + freedom, prior.pooled_degrees_of_freedom)
    if math.isinf(weight):
        return Spread(prior.variance_points2, known)
    return Spread((weight * prior.variance_points2 + freedom * spread.variance_points2) / (weight + freedom), known)


def difference_spread(experiment: Spread, reference: Spread) -> Spread:
    """Return the variance of the difference of two arms at one seed; freedom by Satterthwaite (1946)."""
    parts = (experiment, reference)
    variance = sum(part.variance_points2 for part in parts)
    noise = sum(part.variance_points2**2 / part.degrees_of_freedom for part in parts)
    return Spread(variance, variance**2 / noise)


def pool_spreads(score_points: Mapping[str, Mapping[int, float]], step_points: float) -> dict[str, Spread]:
    """Return each arm's moderated spread over seeds; empty if there are too few arms to pool."""
    spreads = arm_spreads(score_points, step_points)
    prior = fit_prior(list(spreads.values()))
    return {arm: moderate(spread, prior) for arm, spread in spreads.items()} if prior else {}
