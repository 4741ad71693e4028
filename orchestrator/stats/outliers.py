"""Arms far wider than a campaign's others, and runs that collapsed. Pure.

Axes: A arms (configurations that were trained).
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import fdtrc, fdtri, gammaincinv, stdtrit
from scipy.stats import rankdata

from orchestrator.stats.prior import MIN_FREEDOM, MIN_POOLED, PLAUSIBLE_FREEDOM, VariancePrior, fit_prior
from orchestrator.stats.spread import ScoreTable, Spread
from orchestrator.stats.variance import Floats

OUTLIER_LEVEL = 0.01
"""Chance of an outlier, and of a collapsed run, in a campaign whose arms are merely unequal."""
MAX_ROUNDS = 50
HEAVIEST = 1e6
"""Degrees of freedom that stand for infinitely many."""


def find_outliers(spreads: Mapping[str, Spread]) -> tuple[str, ...]:
    """Return the arms whose variance is too large to be one of the others'.

    Each arm is held against the prior of the others by the F-test that limma's distribution gives. The start is the
    median of the variances, which outliers do not move.

    Source: Phipson et al., Robust hyperparameter estimation protects against hypervariable genes (2016), section 3.
    """
    used = {arm: spread for arm, spread in spreads.items() if spread.degrees_of_freedom >= MIN_FREEDOM}
    if len(used) < MIN_POOLED:
        return ()
    freedom_A = np.array([spread.degrees_of_freedom for spread in used.values()])
    variance_A = np.array([spread.variance_points2 for spread in used.values()])
    # The median of a chi-squared distribution over its degrees of freedom.
    centre = float(np.median(variance_A / (2.0 * gammaincinv(freedom_A / 2.0, 0.5) / freedom_A)))
    weight, kept_A = PLAUSIBLE_FREEDOM, np.zeros(len(used), dtype=bool)
    for _ in range(MAX_ROUNDS):
        limit_A = centre * fdtri(freedom_A, min(weight, HEAVIEST), 1 - OUTLIER_LEVEL / len(used))
        before, kept_A = kept_A, variance_A <= limit_A
        if kept_A.sum() < MIN_POOLED or (kept_A == before).all():
            # With fewer, there is no prior to hold the others against.
            break
        prior = fit_prior([spread for spread, kept in zip(used.values(), kept_A, strict=True) if kept], caution=0.0)
        assert prior is not None
        centre, weight = prior.geometric_mean_points2, max(PLAUSIBLE_FREEDOM, prior.degrees_of_freedom)
    # Where most arms are outliers of the rest, nothing is ordinary.
    if kept_A.sum() <= len(used) / 2:
        return ()
    return tuple(arm for arm, kept in zip(used, kept_A, strict=True) if not kept)


def prior_shares(spreads: Mapping[str, Spread], prior: VariancePrior) -> dict[str, float]:
    """Return the share of the prior's weight, from 0 to 1, that each arm takes.

    An arm that the prior makes unlikely may be an outlier that is not wide enough to be told. The share compares two
    chances of a variance as large as the arm's: by the prior, and by its rank among the arms. If the prior expects
    fewer such arms than there are, the arm takes less of it. A wider arm never takes a larger share.

    Source: Phipson et al., Robust hyperparameter estimation protects against hypervariable genes (2016), section 4.
    """
    if not spreads:
        return {}
    variance_A = np.array([spread.variance_points2 for spread in spreads.values()])
    freedom_A = np.array([spread.degrees_of_freedom for spread in spreads.values()])
    weight = min(prior.degrees_of_freedom, HEAVIEST)
    expected_A = fdtrc(freedom_A, weight, variance_A / prior.variance_points2)
    # From the most extreme arm on; half a rank keeps the first chance above zero.
    seen_A = (rankdata(expected_A) - 0.5) / len(expected_A)
    order_A = np.argsort(expected_A)
    share_A = np.empty(len(expected_A))
    share_A[order_A] = isotonic_regression(np.minimum(1.0, expected_A / seen_A)[order_A]).x
    return dict(zip(spreads, share_A.tolist(), strict=True))


def find_collapsed(table: ScoreTable, usual_points2: float) -> dict[str, tuple[int, ...]]:
    """Return the seeds of each arm whose runs collapsed: far worse than its other runs, which agree with each other.

    At most a third of an arm's runs can be set aside. Of two runs that differ, nobody can say which one is the
    exception. If many runs of an arm lie far below the others, then its spread is wide, and no run is an exception.

    Args:
        table: the scores of all arms.
        usual_points2: the variance of an ordinary arm.
    """
    level = OUTLIER_LEVEL / max(1, sum(map(len, table.points.values())))
    found = {arm: _collapsed_of(of, table.sign, usual_points2, level) for arm, of in table.points.items()}
    return {arm: seeds for arm, seeds in found.items() if seeds}


def _collapsed_of(points: Mapping[int, float], sign: int, usual_points2: float, level: float) -> tuple[int, ...]:
    worst_first = sorted(points, key=lambda seed: sign * points[seed])
    # The last place where a long gap has enough agreeing runs above it.
    for number in range(len(points) // 3, 0, -1):
        aside, others = worst_first[:number], np.array([points[seed] for seed in worst_first[number:]])
        gap = sign * float(others.mean()) - max(sign * points[seed] for seed in aside)
        if gap > longest_gap(others, usual_points2, level):
            return tuple(sorted(aside))
    return ()


def longest_gap(others: Floats, usual_points2: float, level: float) -> float:
    """Return how far below the mean of an arm's other runs a run of the same kind may lie, in points.

    The arm's variance is known by its other runs, and by the prior of arms that are merely unequal. So the distance of
    a further run from their mean has Student's t distribution.

    Args:
        others: scores of the other runs [n], two or more.
        usual_points2: the variance of an ordinary arm, the centre of the prior.
        level: the chance that a run of the same kind lies farther below.

    Source: Gelman et al., Bayesian Data Analysis (2013), section 3.3.
    """
    freedom = PLAUSIBLE_FREEDOM + len(others) - 1
    squares = PLAUSIBLE_FREEDOM * usual_points2 + float(((others - others.mean()) ** 2).sum())
    return float(-stdtrit(freedom, level) * (squares / freedom * (1 + 1 / len(others))) ** 0.5)
