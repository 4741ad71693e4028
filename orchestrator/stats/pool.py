"""The spread over seeds of each arm of a campaign, estimated from all arms together. Pure.

Axes: A arms (configurations that were trained), C seeds of all of them.

Two or three seeds say very little about a variance. So the spread of each arm is estimated from the table arms x seeds,
and shrunk towards that of the campaign's other arms. The table has arms and not differences, because differences share
their reference: one unusual run of the baseline would make all of them look alike.

Example: an arm has a variance of 4.0 with 1 degree of freedom. The other arms show a variance of 1.0, which weighs as
much as 3 degrees of freedom. The arm then takes (1 x 4.0 + 3 x 1.0) / (1 + 3) = 1.75, with 4 degrees of freedom.

One unusual arm must not change the others, so three things are done:

- What all arms have in common at a seed is a weighted mean, with one over each arm's variance as the weight. An arm
  with a collapsed run has almost no weight. Without weights, it would move its seed's mean for every arm.
- An arm whose variance lies far above the others' is an outlier. It has no part in the prior, and keeps its own spread.
- A run that collapsed is set aside: it lies far below its arm's other runs, and these agree.

Items say more. A run that is scored on few items varies by their luck alone. This part of the variance is known
from thousands of outcomes. Only the rest can differ from arm to arm by an unknown factor, which bounds the difference.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import digamma, gammaincinv, polygamma
from scipy.stats import f as f_distribution

from orchestrator.stats.spread import Spread, rounding_variance
from orchestrator.stats.variance import Floats

Points = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> score in points; cells may be missing."""
MIN_POOLED = 4
"""Least number of arms for a prior: fewer (three comparisons) do not tell it from chance."""
MIN_FREEDOM = 0.5
"""Least degrees of freedom of an arm for a part in the prior: below it, the logarithm of its variance is noise."""
CAUTION = 0.25
"""How many standard errors the arms' variances are taken to lie further apart than they look."""
PLAUSIBLE_FREEDOM = 4.0
"""Weight of the prior of arms that are merely unequal: one arm in a hundred has 13 times its variance or more."""
OUTLIER_LEVEL = 0.01
"""Chance of an outlier in a campaign whose arms are merely unequal."""
UNEQUAL = 2.0
"""Largest ratio of standard deviation to mean, over arms, of the part of the variance that items do not explain."""
COLLAPSED = 10.0
"""A collapsed run lies this many common standard deviations below the mean of its arm's other runs."""
MAX_ROUNDS = 50
SETTLED = 1e-9
"""Largest relative change of a variance in a last round."""


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
    common_points2: float = 0.0
    """Variance of what a seed does to all arms alike."""
    collapsed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Arm -> seeds whose runs collapsed and are set aside."""


def pool_arms(table: ScoreTable) -> Pool:
    """Estimate every arm's spread; the runs that collapsed are found first, and set aside."""
    first = _pool(table)
    collapsed = find_collapsed(table, first.prior) if first.prior else {}
    if not collapsed:
        return first
    kept = {arm: _without(of, collapsed.get(arm, ())) for arm, of in table.points.items()}
    return replace(_pool(replace(table, points=kept)), collapsed=collapsed)


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
    prior = fit_prior(list(used.values()), [items[arm] for arm in used] if items.keys() >= used.keys() else ())
    if prior is None and table.borrows:
        prior = borrowed_prior(list(used.values()), [items[arm] for arm in used] if items.keys() >= used.keys() else ())
    if prior is None:
        return Pool(own=own, common_points2=common)
    borrowed = Spread(prior.variance_points2, min(prior.degrees_of_freedom, prior.pooled_degrees_of_freedom))
    spreads = {
        arm: own[arm] if arm in outliers else moderate(own[arm], prior) if arm in own else borrowed
        for arm, of in table.points.items()
        if of
    }
    return Pool(own=own, prior=prior, outliers=outliers, spreads=spreads, common_points2=common)


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
        limit_A = centre * f_distribution.isf(OUTLIER_LEVEL / len(used), freedom_A, min(weight, 1e6))
        before, kept_A = kept_A, variance_A <= limit_A
        if kept_A.sum() < MIN_POOLED or (kept_A == before).all():
            break
        prior = fit_prior([spread for spread, kept in zip(used.values(), kept_A, strict=True) if kept], caution=0.0)
        assert prior is not None
        centre, weight = prior.geometric_mean_points2, max(PLAUSIBLE_FREEDOM, prior.degrees_of_freedom)
    # Where most arms are outliers of the rest, nothing is ordinary.
    if kept_A.sum() < max(MIN_POOLED, len(used) / 2):
        return ()
    return tuple(arm for arm, kept in zip(used, kept_A, strict=True) if not kept)


def find_collapsed(table: ScoreTable, prior: VariancePrior) -> dict[str, tuple[int, ...]]:
    """Return the seeds of each arm whose runs collapsed: far worse than its other runs, which agree with each other.

    At most half of an arm's runs can be set aside, and two always stay. Of two runs that differ, nobody can say which
    one is the exception.
    """
    found = {arm: _collapsed_of(of, table.sign, prior.variance_points2) for arm, of in table.points.items()}
    return {arm: seeds for arm, seeds in found.items() if seeds}


def _collapsed_of(points: Mapping[int, float], sign: int, variance_points2: float) -> tuple[int, ...]:
    worst_first = sorted(points, key=lambda seed: sign * points[seed])
    # The last place where a long gap has enough agreeing runs above it.
    for number in range((len(points) - 1) // 2, 0, -1):
        aside, others = worst_first[:number], np.array([points[seed] for seed in worst_first[number:]])
        gap = sign * float(others.mean()) - max(sign * points[seed] for seed in aside)
        limit = f_distribution.isf(OUTLIER_LEVEL, len(others) - 1, PLAUSIBLE_FREEDOM)
        if gap > COLLAPSED * variance_points2**0.5 and others.var(ddof=1) <= limit * variance_points2:
            return tuple(sorted(aside))
    return ()


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
    weight = PLAUSIBLE_FREEDOM if math.isinf(farthest) else 2.0 * trigamma_inverse(max(SETTLED, farthest))
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


def moderate(spread: Spread, prior: VariancePrior) -> Spread:
    """Shrink a variance towards the prior's. Source: Smyth (2004), section 3; the cap on the freedom is limma's."""
    weight, freedom = prior.degrees_of_freedom, spread.degrees_of_freedom
    # Without the cap a very heavy prior would claim more data than the campaign has.
    known = min(weight + freedom, prior.pooled_degrees_of_freedom)
    if math.isinf(weight):
        return Spread(prior.variance_points2, known)
    return Spread((weight * prior.variance_points2 + freedom * spread.variance_points2) / (weight + freedom), known)
