"""The spread over seeds of each arm of a campaign, estimated from all arms together. Pure.

Axes: A arms (configurations that were trained), C seeds of all of them.

Two or three seeds say very little about a variance. So the spread of each arm is estimated from the table arms x seeds,
and shrunk towards that of the campaign's other arms. The table has arms and not differences, because differences share
their reference: one unusual run of the baseline would make all of them look alike.

Example: an arm has a variance of 4.0 with 1 degree of freedom. The other arms show a variance of 1.0, which weighs as
much as 3 degrees of freedom. The arm then takes (1 x 4.0 + 3 x 1.0) / (1 + 3) = 1.75, with 4 degrees of freedom.

One unusual arm must not change the others, so this is done:

- What all arms have in common at a seed is a weighted mean, with one over each arm's variance as the weight. An arm
  with a collapsed run has almost no weight. Without weights, it would move its seed's mean for every arm.
- An arm whose variance lies far above the others' is an outlier. It has no part in the prior, and keeps its own spread.
  An arm that is nearly one takes less of the prior than the others do.
- A run that collapsed is set aside: it lies far below its arm's other runs, and these agree.

Items say more. A run that is scored on few items varies by their luck alone. This part of the variance is known from
thousands of outcomes. Only the rest can differ from arm to arm by an unknown factor, which bounds the difference.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.stats.outliers import find_collapsed, find_outliers, prior_shares
from orchestrator.stats.prior import MIN_POOLED, VariancePrior, borrowed_prior, fit_prior, moderate
from orchestrator.stats.spread import Points, ScoreTable, Spread, rounding_variance
from orchestrator.stats.variance import Floats

MAX_ROUNDS = 50
SETTLED = 1e-9
"""Largest relative change of a variance in a last round."""


@dataclass(frozen=True)
class Pool:
    """The spreads of a campaign's arms, before and after they are shrunk towards each other."""

    own: Mapping[str, Spread] = field(default_factory=dict)
    """Of each arm with two runs or more, from its own runs."""
    prior: VariancePrior | None = None
    """None if there are too few arms to pool."""
    outliers: tuple[str, ...] = ()
    """Arms far wider than the others; they keep their own spread."""
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    """Of each arm, after the prior. Empty without one."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the prior's weight that an arm takes, from 0 to 1; an arm that is not named takes all of it."""
    common_points2: float = 0.0
    """Variance of what a seed does to all arms alike."""
    collapsed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Arm -> seeds whose runs collapsed and are set aside."""


def pool_arms(table: ScoreTable) -> Pool:
    """Estimate every arm's spread; the runs that collapsed are found first, and set aside."""
    first = _pool(table)
    usual = usual_variance(first)
    collapsed = {} if usual is None else find_collapsed(table, usual)
    if not collapsed:
        return first
    kept = {arm: _without(of, collapsed.get(arm, ())) for arm, of in table.points.items()}
    return replace(_pool(replace(table, points=kept)), collapsed=collapsed)


def usual_variance(pool: Pool) -> float | None:
    """Return the variance of an ordinary arm; None where fewer than two arms show one."""
    if pool.prior:
        return pool.prior.variance_points2
    # Too few for a prior, such as three arms beside one with a collapsed run, still show what is ordinary.
    usual = [spread for arm, spread in pool.own.items() if arm not in pool.outliers]
    if len(pool.own) < MIN_POOLED or len(usual) < 2:
        return None
    freedom = sum(spread.degrees_of_freedom for spread in usual)
    return sum(spread.variance_points2 * spread.degrees_of_freedom for spread in usual) / freedom


def _without(points: Mapping[int, float], seeds: Collection[int]) -> dict[int, float]:
    return {seed: value for seed, value in points.items() if seed not in seeds}


def _pool(table: ScoreTable) -> Pool:
    variances: dict[str, float] = {}
    own, common = seed_table(table, variances)
    for _ in range(MAX_ROUNDS):
        found = _shrink(table, own, common)
        after = {arm: spread.variance_points2 for arm, spread in found.spreads.items()}
        if not found.spreads or _is_settled(variances, after):
            return found
        variances = after
        own, common = seed_table(table, variances)
    return found


def _is_settled(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    return before.keys() == after.keys() and all(abs(after[arm] - before[arm]) <= SETTLED * after[arm] for arm in after)


def _shrink(table: ScoreTable, own: Mapping[str, Spread], common: float) -> Pool:
    witnesses = {arm: spread for arm, spread in own.items() if arm not in table.at_chance}
    items = {arm: table.item_points2[arm] for arm in witnesses if arm in table.item_points2}
    outliers = find_outliers(witnesses)
    used = {arm: spread for arm, spread in witnesses.items() if arm not in outliers}
    explained = [items[arm] for arm in used] if items.keys() >= used.keys() else []
    prior = fit_prior(list(used.values()), explained)
    shares = prior_shares(witnesses, prior) if prior else {}
    if prior is None and table.borrows:
        prior = borrowed_prior(list(used.values()), explained)
    if prior is None:
        return Pool(own=own, outliers=outliers, common_points2=common)
    borrowed = Spread(prior.variance_points2, min(prior.degrees_of_freedom, prior.pooled_degrees_of_freedom))
    spreads = {arm: borrowed for arm, of in table.points.items() if of}
    spreads |= {arm: moderate(spread, prior, shares.get(arm, 1.0)) for arm, spread in own.items()}
    spreads |= {arm: own[arm] for arm in outliers}
    return Pool(own=own, prior=prior, outliers=outliers, spreads=spreads, shares=shares, common_points2=common)


def seed_table(table: ScoreTable, variances: Mapping[str, float]) -> tuple[dict[str, Spread], float]:
    """Estimate each arm's variance over seeds, and that of what all arms have in common at a seed.

    Weighted least squares take out what all arms have in common at a seed, since it cancels in every difference. With
    two arms and equal weights, the result is the variance of their paired differences, half for each arm. Runs at seeds
    that no other arm has show the variance too; what such a seed does to all arms is then part of it.

    Args:
        table: the scores; arms with one seed have no part.
        variances: arm -> its variance, for the weights. Empty at the start: medians stand in for the means then.

    Returns:
        The arms whose runs leave a degree of freedom, not yet moderated; and the common variance, never negative.
    """
    points = {arm: of for arm, of in table.points.items() if len(of) > 1}
    if not points:
        return {}, 0.0
    variances = variances or first_variances(points, rounding_variance(table.step_points))
    seeds = sorted({seed for of in points.values() for seed in of})
    has_AC = np.array([[seed in of for seed in seeds] for of in points.values()], dtype=np.float64)
    points_AC = np.array([[of.get(seed, 0.0) for seed in seeds] for of in points.values()])
    count_A, weight_A = has_AC.sum(axis=1), 1.0 / np.array([variances[arm] for arm in points])
    centred_AC = has_AC * (points_AC - (points_AC.sum(axis=1) / count_A)[:, None])
    # The normal equations of the seeds, after those of the arms are solved.
    weight_C = weight_A @ has_AC
    normal_CC = np.diag(weight_C) - (has_AC.T * (weight_A / count_A)) @ has_AC
    # Nobody can tell what a seed does to all arms where one arm has it. There it counts as the arm's own spread.
    shared = np.flatnonzero(has_AC.sum(axis=0) > 1)
    inverse_CC = np.zeros_like(normal_CC)
    # Only differences of seeds are known, so the pseudo-inverse replaces the inverse.
    inverse_CC[np.ix_(shared, shared)] = np.linalg.pinv(normal_CC[np.ix_(shared, shared)], hermitian=True)
    effect_C = inverse_CC @ (weight_A @ centred_AC)
    residual_AC = has_AC * (centred_AC - effect_C + (has_AC @ effect_C / count_A)[:, None])
    spent_A = has_AC @ inverse_CC.diagonal() - ((has_AC @ inverse_CC) * has_AC).sum(axis=1) / count_A
    freedom_A = count_A - 1.0 - weight_A * spent_A
    least = rounding_variance(table.step_points)
    own = {
        arm: Spread(max(least, squares / freedom), freedom)
        for arm, squares, freedom in zip(points, (residual_AC**2).sum(axis=1).tolist(), freedom_A.tolist(), strict=True)
        # An arm whose every seed is needed for the seed effects keeps only rounding noise.
        if freedom > 1e-6
    }
    return own, common_variance(effect_C[shared], weight_C[shared])


def first_variances(points: Points, least_points2: float) -> dict[str, float]:
    """Return a first variance of each arm, in which one collapsed run changes no other arm's.

    What all arms have in common at a seed is the median over arms here. No variance is below the median of all, since
    an arm that looks steady by chance must not outweigh the others.
    """
    if len(points) < MIN_POOLED:
        return dict.fromkeys(points, 1.0)
    mean_of = {arm: sum(of.values()) / len(of) for arm, of in points.items()}
    seeds = {seed for of in points.values() for seed in of}
    common = {
        seed: float(np.median([of[seed] - mean_of[arm] for arm, of in points.items() if seed in of])) for seed in seeds
    }
    own = {
        arm: sum((value - mean_of[arm] - common[seed]) ** 2 for seed, value in of.items()) / (len(of) - 1)
        for arm, of in points.items()
    }
    least = max(least_points2, float(np.median(list(own.values()))))
    return {arm: max(least, variance) for arm, variance in own.items()}


def common_variance(effect_C: Floats, weight_C: Floats) -> float:
    """Return the variance of what a seed does to all arms alike, one standard error above its estimate.

    Args:
        effect_C: what each seed does; C seeds that two arms or more have.
        weight_C: one over the variance of each effect.
    """
    if len(effect_C) < 2:
        return 0.0
    noise, freedom = float((1.0 / weight_C).mean()), len(effect_C) - 1
    estimate = max(0.0, float(effect_C.var(ddof=1)) - noise)
    # Two seeds show a common effect poorly. Too small a value would make verdicts too sure, too large costs little.
    return estimate + math.sqrt(2.0 / freedom) * (estimate + noise)
