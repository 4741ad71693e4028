"""What one comparison says, and how sure it lets us be. Pure.

The estimate is the mean over seeds of the mean over bursts of `experiment correct - reference correct`. How its error
is made of seeds and bursts is told in `variance`.
"""

import math

from msgspec import Struct
from msgspec.structs import replace
from scipy.special import stdtr, stdtrit

from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.variance import Spread, seed_spread, split_error, stratified_variance

LEVEL = 0.05
"""One minus the coverage of an interval, where a campaign does not say."""


class Estimate(Struct, frozen=True, kw_only=True):
    """The difference between an experiment and its reference; None is "cannot be computed", never zero.

    Differences and standard errors are in percentage points of accuracy. The squares of the three parts of the error
    add up to the square of the whole.
    """

    seeds: tuple[int, ...] = ()
    """Seeds at which both sides were scored."""
    dropped_seeds: tuple[int, ...] = ()
    """Seeds at which only one side was scored."""
    num_bursts: int = 0
    dropped_bursts: int = 0
    """Bursts that not all of the runs were scored on."""
    delta_points: float | None = None
    delta_points_of: dict[int, float] = {}
    """Seed -> difference at that seed."""
    level: float = 0.05
    """One minus the coverage of the interval."""
    low_points: float | None = None
    high_points: float | None = None
    p_value: float | None = None
    """Two-sided, against no difference."""
    error_points: float | None = None
    """The standard error of the difference."""
    seed_error_points: float | None = None
    """Its part that more seeds would take away."""
    burst_error_points: float | None = None
    """Its part that more bursts would take away; at a single seed all that can be seen of the error."""
    rest_error_points: float | None = None
    """Its part that belongs to a seed and a burst together: either would take it away."""
    degrees_of_freedom: float | None = None
    moderated: bool = False
    """Whether the spread over seeds borrows strength from the campaign's other arms; else it is the plain paired t."""

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """Both ends of the interval, or None where there is none."""
        if self.low_points is None or self.high_points is None:
            return None
        return self.low_points, self.high_points


def estimate_delta(pairs: PairedDifferences, spread: Spread | None, level: float = LEVEL) -> Estimate:
    """Estimate the difference with its interval; below two seeds there is no interval, whatever the difference.

    Args:
        pairs: experiment and reference.
        spread: of the difference at one seed, as the campaign's arms have it; None takes these pairs alone, which with
            no error of bursts is the paired t-test.
        level: one minus the coverage of the interval.
    """
    estimate = Estimate(
        seeds=pairs.seeds,
        dropped_seeds=pairs.dropped_seeds,
        num_bursts=pairs.num_bursts,
        dropped_bursts=pairs.dropped_bursts,
        level=level,
    )
    if pairs.num_seeds == 0:
        return estimate
    delta_points_S = pairs.delta_points_by_seed
    estimate = replace(
        estimate,
        delta_points=float(delta_points_S.mean()),
        delta_points_of=dict(zip(pairs.seeds, delta_points_S.tolist(), strict=True)),
    )
    if pairs.num_seeds == 1:
        points_SB = 100.0 * pairs.difference_SB.astype(float)
        return replace(estimate, burst_error_points=float(stratified_variance(points_SB, pairs.devices_B)[0]) ** 0.5)
    return _with_interval(estimate, pairs, spread)


def _with_interval(estimate: Estimate, pairs: PairedDifferences, spread: Spread | None) -> Estimate:
    parts = split_error(pairs, spread or seed_spread(pairs))
    delta_points, error = float(pairs.delta_points_by_seed.mean()), parts.total**0.5
    half_width = error * t_quantile(1 - estimate.level / 2, parts.degrees_of_freedom)
    return replace(
        estimate,
        low_points=delta_points - half_width,
        high_points=delta_points + half_width,
        p_value=min(1.0, 2.0 * float(stdtr(parts.degrees_of_freedom, -abs(delta_points) / error))),
        error_points=error,
        seed_error_points=parts.seed**0.5,
        burst_error_points=parts.burst**0.5,
        rest_error_points=parts.rest**0.5,
        degrees_of_freedom=parts.degrees_of_freedom,
        moderated=spread is not None,
    )


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t; of the normal distribution where the degrees of freedom are infinite."""
    return float(stdtrit(degrees_of_freedom, probability))


def equivalence_p_value(estimate: Estimate, margin_points: float) -> float | None:
    """Test that the difference lies inside the margin, by two one-sided t-tests; None where there is no interval.

    It is below a level exactly where the interval of coverage 1 - 2 levels lies inside the margin.

    Source: Schuirmann, A comparison of the two one-sided tests procedure and the power approach (1987).
    """
    if estimate.delta_points is None or estimate.error_points is None or estimate.degrees_of_freedom is None:
        return None
    nearest = (margin_points - abs(estimate.delta_points)) / estimate.error_points
    return float(stdtr(estimate.degrees_of_freedom, -nearest))


def seeds_to_resolve(estimate: Estimate, half_width_points: float, level: float) -> float:
    """Say roughly how many seeds would bring the interval's half width down to a target; infinite for no number.

    More seeds bring no more bursts: where the burst part of the error is too wide alone, no number will do. The
    normal quantile is used, as if the errors were known.
    """
    seed, burst, rest = _squared_parts(estimate)
    return _times_to_resolve(seed + rest, burst, half_width_points, level) * len(estimate.seeds)


def bursts_to_resolve(estimate: Estimate, half_width_points: float, level: float) -> float:
    """Say roughly how many bursts, of the same devices and at the same seeds, would do the same."""
    seed, burst, rest = _squared_parts(estimate)
    return _times_to_resolve(burst + rest, seed, half_width_points, level) * estimate.num_bursts


def _squared_parts(estimate: Estimate) -> tuple[float, float, float]:
    parts = (estimate.seed_error_points, estimate.burst_error_points, estimate.rest_error_points)
    seed, burst, rest = (part**2 for part in parts if part is not None)
    return seed, burst, rest


def _times_to_resolve(fading: float, lasting: float, half_width_points: float, level: float) -> float:
    """Say how many times as much would bring the half width down, when one part of the squared error fades with it."""
    error_wanted = half_width_points / t_quantile(1 - level / 2, math.inf)
    if half_width_points <= 0 or error_wanted**2 <= lasting:
        return math.inf
    return fading / (error_wanted**2 - lasting)
