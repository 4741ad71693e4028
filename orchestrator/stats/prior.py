"""What a campaign's arms together say of the spread over seeds: a prior, and how an arm is shrunk towards it. Pure.

Axes: A arms (configurations that were trained).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from orchestrator.stats.spread import Spread
from orchestrator.stats.variance import Floats

MIN_POOLED = 4
"""Least number of arms for a prior: fewer (three comparisons) do not tell it from chance."""
MIN_FREEDOM = 0.5
"""Least degrees of freedom of an arm for a part in the prior: below it, the logarithm of its variance is noise."""
CAUTION = 0.25
"""How many standard errors the arms' variances are taken to lie further apart than they look."""
PLAUSIBLE_FREEDOM = 4.0
"""Weight of the prior of arms that are merely unequal: one arm in a hundred has 13 times its variance or more."""
UNEQUAL = 2.0
"""Largest ratio of standard deviation to mean, over arms, of the part of the variance that items do not explain."""
LEAST_APART = 1e-9
"""Least variance of a logarithm: below it, arms are equal."""


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


def fit_prior(
    spreads: Sequence[Spread], item_points2: Sequence[float] = (), caution: float = CAUTION
) -> VariancePrior | None:
    """Fit the prior to a campaign's variances by the moments of their logarithms; None for fewer than four of them.

    limma's fit, with three changes that simulations of campaigns asked for (docs/calibration.md):

    - Two seeds hardly show how far the true variances lie apart, and taking unequal variances as equal gives false
      verdicts. So the distance is taken `caution` standard errors above its estimate.
    - The prior's variance estimates the arms' mean variance. limma's is the geometric mean times a factor below one.
      The factor is right for limma's own distribution and too small for others, so wide arms look narrow. Here the
      smaller of two estimates counts, and never less than the geometric mean. One is the pooled variance, which a few
      extreme arms spoil. The other is the mean of a log-normal distribution, which few seeds spoil.
    - What items explain of a run's variance is known. Only the rest can differ by unknown factors (`UNEQUAL`), so the
      distance is at most what that rest allows.

    With `caution` zero and without items, the degrees of freedom are limma's.

    Args:
        spreads: each arm's own, squared points, above zero.
        item_points2: the part of each one's variance that items explain, in the same order; empty if nobody knows it.
        caution: in standard errors.

    Source: Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments (2004), section 6.2.
    """
    places = [place for place, spread in enumerate(spreads) if spread.degrees_of_freedom >= MIN_FREEDOM]
    used = [spreads[place] for place in places]
    if len(used) < MIN_POOLED:
        return None
    freedom_A = np.array([spread.degrees_of_freedom for spread in used])
    variance_A = np.array([spread.variance_points2 for spread in used])
    half_A = freedom_A / 2.0
    log_A = np.log(variance_A) - digamma(half_A) + np.log(half_A)
    noise = float(polygamma(1, half_A).mean())
    excess = float(log_A.var(ddof=1)) - noise
    # The variance of a sample variance is (fourth cumulant + 2 x squared variance) / number of values.
    total = noise + max(0.0, excess)
    excess_error = math.sqrt((float(polygamma(3, half_A).mean()) + 2.0 * total**2) / len(used))
    apart = max(0.0, excess) + caution * excess_error if caution else excess
    geometric = math.exp(log_A.mean())
    pooled = float((variance_A * freedom_A).sum() / freedom_A.sum())
    if item_points2:
        apart = min(apart, _farthest_apart(variance_A, freedom_A, np.array([item_points2[place] for place in places])))
    return VariancePrior(
        degrees_of_freedom=2.0 * trigamma_inverse(apart) if apart > 0 else math.inf,
        variance_points2=min(max(geometric, pooled), geometric * math.exp(max(0.0, excess) / 2)),
        geometric_mean_points2=geometric,
        pooled_degrees_of_freedom=sum(spread.degrees_of_freedom for spread in spreads),
    )


def borrowed_prior(spreads: Sequence[Spread], item_points2: Sequence[float] = ()) -> VariancePrior | None:
    """Return a prior from few arms that are well known, such as a reference with ten runs; None if none is.

    It is as wide as the spreads of merely unequal arms (`PLAUSIBLE_FREEDOM`), or as narrow as items tell. Its variance
    is never below what items explain.

    Args:
        spreads: of the arms that have more than one run.
        item_points2: as for `fit_prior`.
    """
    freedom = sum(spread.degrees_of_freedom for spread in spreads)
    if freedom < MIN_POOLED:
        return None
    freedom_A = np.array([spread.degrees_of_freedom for spread in spreads])
    variance_A = np.array([spread.variance_points2 for spread in spreads])
    item_A = np.array(item_points2 or [0.0] * len(spreads))
    farthest = _farthest_apart(variance_A, freedom_A, item_A)
    weight = PLAUSIBLE_FREEDOM if math.isinf(farthest) else 2.0 * trigamma_inverse(max(LEAST_APART, farthest))
    variance = max(float((variance_A * freedom_A).sum()), float((item_A * freedom_A).sum())) / freedom
    return VariancePrior(max(PLAUSIBLE_FREEDOM, weight), variance, freedom)


def _farthest_apart(variance_A: Floats, freedom_A: Floats, item_A: Floats) -> float:
    """Return the largest variance of the logarithm of an arm's variance, as far as items know the rest."""
    explained = float((item_A * freedom_A).sum())
    if explained <= 0:
        return math.inf
    ratio = float((variance_A * freedom_A).sum()) / explained
    # One standard error above its estimate, since a campaign of few seeds may look steadier than it is.
    ratio = max(1.0, ratio) * (1.0 + math.sqrt(2.0 / float(freedom_A.sum())))
    return math.log1p((UNEQUAL * (ratio - 1.0) / ratio) ** 2)


def moderate(spread: Spread, prior: VariancePrior, share: float = 1.0) -> Spread:
    """Shrink a variance towards the prior's; the cap on the freedom is limma's.

    Args:
        spread: the arm's own.
        prior: of all arms.
        share: of the prior's weight that this arm takes, from 0 to 1.

    Source: Smyth (2004), section 3.
    """
    weight, freedom = prior.degrees_of_freedom, spread.degrees_of_freedom
    if share < 1.0:
        # A prior of infinite weight has no part that is smaller; the data of all arms are the most that it rests on.
        weight = share * min(weight, prior.pooled_degrees_of_freedom)
    # Without the cap a very heavy prior would claim more data than the campaign has.
    known = min(weight + freedom, prior.pooled_degrees_of_freedom)
    if math.isinf(weight):
        return Spread(prior.variance_points2, known)
    return Spread((weight * prior.variance_points2 + freedom * spread.variance_points2) / (weight + freedom), known)
