"""What a campaign sees, before it is trained: the smallest difference that it finds, and the chance of no_change. Pure.

Axes: K comparisons of drawn campaigns, A arms (configurations that are trained), S seeds.

A comparison is judged by t = difference / estimated error. Its power is an integral over two things that are
independent of each other for normal scores. One is the difference, which is normal around the true one with the true
error. The other is the estimated error with its degrees of freedom. It comes from few seeds and from all arms together,
and has no simple distribution. So it is drawn: tables of normal scores go through the function that pools the spreads
of a real campaign. Given the drawn errors, the chance is exact, and it is averaged over them.

With two seeds this matters most: an error that is taken as known promises too much power.

    squared error = v (1/S + 1/R) + item / M,   v = seed + rest / M

v is the variance of one run's score, R the seeds of the reference, and M how many times the items of now are scored.

The level of a difference is divided by the number of comparisons (Bonferroni). This is what Holm's procedure asks of a
single true difference among many. Dunnett's knows that comparisons share a reference, and finds a little more.

Sources: Phillips, Power of the two one-sided tests procedure in bioequivalence (1990), for the chance of no_change.
Searle, Casella and McCulloch, Variance Components (1992), chapter 7, for further seeds of a reference.
"""

from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtrit

from orchestrator.design.designs import Design
from orchestrator.stats.pool import pool_arms
from orchestrator.stats.prior import MIN_POOLED
from orchestrator.stats.spread import ScoreTable

Floats = NDArray[np.float64]

POWER = 0.80
"""Chance with which the smallest difference is found."""
NUM_DRAWN = 600
"""Comparisons that are drawn at two seeds. The chances are then known to 2 % or better."""
MIN_CAMPAIGNS = 20
MAX_ARMS = 50
"""Most arms of a drawn campaign. More arms hardly make the spread better known."""
SEED = 20_240_607
"""Of the random numbers: the same question always has the same answer."""
TINY = 1e-9
"""The rounding of drawn scores, which have none."""


class ErrorModel(Struct, frozen=True, kw_only=True):
    """What is known of the error of a difference, in squared points on the scale of the judgement."""

    run_points2: float
    """Variance of one run's score over seeds, without what a seed does to all arms alike."""
    rest_points2: float = 0.0
    """The part of it that belongs to a run and an item together; fades with items."""
    item_points2: float = 0.0
    """Squared error of a difference that does not fade with seeds; fades with items."""
    num_items: int = 0
    """Items or clusters of now; 0 where there are none."""
    num_strata: int = 1
    common_share: float = 0.0
    """Variance of what a seed does to all arms alike, over `run_points2`."""
    test_ratio: float = 0.0
    """Items tested on over items trained on, where each seed draws its own; 0 where all seeds share the items."""

    def item_freedom(self, items: int) -> float:
        """Return the degrees of freedom of a variance over so many times the items; infinite without items."""
        return max(1, self.num_items * items - self.num_strata) if self.num_items else np.inf


class Rules(Struct, frozen=True, kw_only=True):
    """How a comparison is judged."""

    margin_points: float
    level: float
    """Two-sided, of a difference; divided by `num_compared`."""
    equivalence_level: float
    """Of each of the two one-sided tests."""
    num_compared: int
    """Comparisons of the family."""


class _Drawn(Struct, frozen=True):
    """Spreads as campaigns would estimate them, over the true variance: of an arm and of its reference."""

    arm_K: Floats
    reference_K: Floats
    arm_freedom_K: Floats
    reference_freedom_K: Floats


class _Errors(Struct, frozen=True):
    """The error of a difference: the true one, and estimates of it."""

    true: float
    error_K: Floats
    freedom_K: Floats


def see(model: ErrorModel, rules: Rules, num_arms: int, design: Design) -> tuple[float, float]:
    """Return the smallest true difference that is found with 80 % power, in points, and the chance of no_change.

    Args:
        model: what is known of the error.
        rules: how a comparison is judged.
        num_arms: configurations whose spreads are pooled, with the reference.
        design: two seeds or more.
    """
    errors = _draw_errors(model, num_arms, design)
    return _smallest_found(rules, errors), _no_change_chance(rules, 0.0, errors)


def power(model: ErrorModel, rules: Rules, num_arms: int, design: Design, true_points: float) -> tuple[float, float]:
    """Return the chances that a true difference is found, with its sign, and that it is told no_change.

    Args:
        model: what is known of the error.
        rules: how a comparison is judged.
        num_arms: configurations whose spreads are pooled, with the reference.
        design: two seeds or more.
        true_points: the true difference, zero or above.
    """
    errors = _draw_errors(model, num_arms, design)
    return _found_chance(_limits(rules, errors), true_points, errors), _no_change_chance(rules, true_points, errors)


def _limits(rules: Rules, errors: _Errors) -> Floats:
    """Return the smallest observed difference that is told to be one."""
    limit_K = errors.error_K * stdtrit(errors.freedom_K, 1.0 - rules.level / rules.num_compared / 2.0)
    # A difference inside the margin is told no_change, also where it is significant.
    wide_K: Floats = np.maximum(limit_K, rules.margin_points - _reaches(rules, errors))
    return wide_K


def _found_chance(limit_K: Floats, true_points: float, errors: _Errors) -> float:
    return float(ndtr((true_points - limit_K) / errors.true).mean())


def _no_change_chance(rules: Rules, true_points: float, errors: _Errors) -> float:
    room_K = np.maximum(0.0, rules.margin_points - _reaches(rules, errors))
    above_K, below_K = ((sign * room_K - true_points) / errors.true for sign in (1.0, -1.0))
    return float((ndtr(above_K) - ndtr(below_K)).mean())


def _reaches(rules: Rules, errors: _Errors) -> Floats:
    """Return the half width of the interval that must lie inside the margin."""
    reach_K: Floats = errors.error_K * stdtrit(errors.freedom_K, 1.0 - rules.equivalence_level)
    return reach_K


def _smallest_found(rules: Rules, errors: _Errors) -> float:
    limit_K = _limits(rules, errors)
    high = errors.true
    while _found_chance(limit_K, high, errors) < POWER:
        high *= 2.0
    return float(brentq(lambda points: _found_chance(limit_K, points, errors) - POWER, 0.0, high, rtol=1e-6))


def _draw_errors(model: ErrorModel, num_arms: int, design: Design) -> _Errors:
    """Draw estimates of the error as `stats.variance.split_error` makes them, and work out the true error."""
    seeds, items = design.seeds, design.items
    rest = model.rest_points2 / items
    run = model.run_points2 - model.rest_points2 + rest
    # Rounded, so that questions that hardly differ share their draws.
    drawn = _draw_spreads(min(num_arms, MAX_ARMS), seeds, round(rest / run, 1))
    # The arm's seeds count as they are; the reference has what is left of the best estimate's variance.
    reference = reference_factor(seeds, design.reference_seeds, model.common_share)
    arm_K = run * drawn.arm_K * (1.0 / seeds + model.test_ratio)
    reference_K = run * drawn.reference_K * (reference + model.test_ratio)
    across_K = arm_K + reference_K
    freedom_K = across_K**2 / (arm_K**2 / drawn.arm_freedom_K + reference_K**2 / drawn.reference_freedom_K)
    true = run * (1.0 / seeds + reference + 2.0 * model.test_ratio) + model.item_points2 / items
    if not model.num_items:
        return _Errors(true**0.5, across_K**0.5, freedom_K)
    rest_part, item_freedom = rest * (1.0 / seeds + 1.0 / design.reference_seeds), model.item_freedom(items)
    generator = np.random.default_rng(SEED)
    between_K = (model.item_points2 / items + rest_part) * generator.chisquare(item_freedom, len(across_K))
    between_K /= item_freedom
    across_K, item_K = np.maximum(across_K, rest_part), np.maximum(0.0, between_K - rest_part)
    noise_K = across_K**2 / freedom_K + between_K**2 / item_freedom
    noise_K += rest_part**2 / (item_freedom * (seeds - 1))
    total_K = across_K + item_K
    # The sum is known at least as well as its least known part.
    known_K = np.maximum(total_K**2 / noise_K, np.minimum(freedom_K, item_freedom))
    return _Errors(true**0.5, total_K**0.5, known_K)


def reference_factor(seeds: int, reference_seeds: int, common_share: float) -> float:
    """Return what a reference adds to the variance of a difference, over the variance of one run.

    The first S of its R seeds are also the arm's. The estimate weighs them and the others so that the variance is
    least. Without a common effect the factor is 1/R.

    Args:
        seeds: S, of the arm.
        reference_seeds: R, no fewer.
        common_share: variance of what a seed does to all arms alike, over that of one run without it.
    """
    others = reference_seeds - seeds
    if others <= 0:
        return 1.0 / seeds
    run = 1.0 + common_share
    paired = (run / others + common_share / seeds) / (run / seeds + run / others)
    return (
        common_share / seeds
        + paired**2 * run / seeds
        + (1.0 - paired) ** 2 * run / others
        - 2.0 * paired * common_share / seeds
    )


@lru_cache(maxsize=256)
def _draw_spreads(num_arms: int, num_seeds: int, item_share: float) -> _Drawn:
    """Draw campaigns of equal arms whose runs have a variance of one, and pool their spreads.

    Args:
        num_arms: A.
        num_seeds: S.
        item_share: the part of the variance that items explain, which bounds how unequal arms can be.
    """
    if num_arms < MIN_POOLED:
        # Each comparison is then a paired t-test, whose spread is that of the differences. Both sides have half of it.
        freedom = num_seeds - 1
        # Evenly spaced quantiles in place of random numbers: this distribution is known.
        ratio_K = chdtri(freedom, (np.arange(NUM_DRAWN) + 0.5) / NUM_DRAWN) / freedom
        halves_K = np.full(NUM_DRAWN, freedom / 2.0)
        return _Drawn(ratio_K, ratio_K, halves_K, halves_K)
    generator = np.random.default_rng(SEED)
    # More seeds know their spread better, so fewer draws show how it is known.
    num_campaigns = max(MIN_CAMPAIGNS, round(2 * NUM_DRAWN / (num_seeds * (num_arms - 1))))
    sides = [_pool_drawn(generator.standard_normal((num_arms, num_seeds)), item_share) for _ in range(num_campaigns)]
    reference, *arms = np.array(sides).transpose(1, 0, 2)
    arms_2K = np.concatenate(arms).T
    reference_2K = np.tile(reference, (num_arms - 1, 1)).T
    return _Drawn(arms_2K[0], reference_2K[0], arms_2K[1], reference_2K[1])


def _pool_drawn(points_AS: Floats, item_share: float) -> list[tuple[float, float]]:
    """Return each arm's variance and its degrees of freedom, as a campaign with these scores pools them."""
    table = {str(arm): dict(enumerate(points_S)) for arm, points_S in enumerate(points_AS.tolist())}
    items = dict.fromkeys(table, item_share) if item_share else {}
    pool = pool_arms(ScoreTable(table, TINY, item_points2=items))
    # Of four arms one may look like an outlier by chance. The others are then too few to pool, and have their own.
    spreads = [pool.spreads.get(arm) or pool.own[arm] for arm in table]
    return [(spread.variance_points2, spread.degrees_of_freedom) for spread in spreads]
