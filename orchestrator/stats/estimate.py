"""The estimate of one comparison: a difference with its interval and its p-values. Pure.

The estimate is the mean over seeds of `experiment score - reference score`. Each score is the mean of one number an
item. `variance` says how seeds and items make up its error. Seeds that only one side has count too (`weights`).

Example: 500 items at two seeds. The experiment has 430 and 436 right, the reference 420 and 424. The differences are
+2.0 and +2.4 points, so the estimate is +2.2 points.
"""

from msgspec import Struct
from msgspec.structs import replace
from scipy.special import stdtr, stdtrit

from orchestrator.stats.pairing import PairedDifferences, RestsOn
from orchestrator.stats.spread import Spread
from orchestrator.stats.variance import seed_spread, split_error, stratified_variance

LEVEL = 0.05
"""One minus the coverage of an interval: 0.05 stands for 95 %. A campaign may set another."""


class Estimate(Struct, frozen=True, kw_only=True):
    """The difference between an experiment and its reference; None means "cannot be computed", never zero.

    Differences and standard errors are in points: the metric's own unit, such as percentage points. The squares of the
    three parts of the error add up to the square of the whole.
    """

    seeds: tuple[int, ...] = ()
    """Seeds at which both sides were scored."""
    extra_seeds: tuple[int, ...] = ()
    """Seeds at which only one side was scored, and which count in its mean."""
    dropped_seeds: tuple[int, ...] = ()
    """Seeds at which only one side was scored, and which do not count."""
    num_items: int = 0
    dropped_items: int = 0
    """Items that not all of the runs were scored on."""
    delta_points: float | None = None
    delta_points_of: dict[int, float] = {}
    """Seed -> difference at that seed."""
    level: float = LEVEL
    """One minus the coverage of the interval."""
    low_points: float | None = None
    high_points: float | None = None
    p_value: float | None = None
    """Two-sided, against no difference."""
    error_points: float | None = None
    """The standard error of the difference."""
    seed_error_points: float | None = None
    """The part that more seeds would take away."""
    item_error_points: float | None = None
    """The part that more items would take away. With one seed it is the only part that can be estimated."""
    rest_error_points: float | None = None
    """The part that belongs to a seed and an item together: more of either would take it away."""
    degrees_of_freedom: float | None = None
    moderated: bool = False
    """Whether the spread over seeds also uses the campaign's other arms; otherwise it is the plain paired t-test."""
    rests_on: RestsOn = "items"
    """What it is made of beside its seeds. Then `num_items` counts items or clusters; it is 0 for seeds alone."""

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """Both ends of the interval, or None where there is none."""
        if self.low_points is None or self.high_points is None:
            return None
        return self.low_points, self.high_points


def estimate_delta(pairs: PairedDifferences, spread: Spread | None, level: float = LEVEL) -> Estimate:
    """Estimate the difference with its interval; one seed needs a spread from other arms for an interval.

    Args:
        pairs: experiment and reference.
        spread: of the difference at one seed, from the campaign's arms. None uses these pairs alone, which gives the
            paired t-test if the items have no error. Where runs have weights, see `split_error`.
        level: one minus the coverage of the interval.
    """
    estimate = Estimate(
        seeds=pairs.seeds,
        extra_seeds=pairs.weights.extra if pairs.weights else (),
        dropped_seeds=pairs.dropped_seeds,
        num_items=pairs.num_items,
        dropped_items=pairs.dropped_items,
        level=level,
        rests_on=pairs.rests_on,
    )
    if pairs.num_seeds == 0:
        return estimate
    delta_points_S = pairs.delta_points_by_seed
    estimate = replace(
        estimate,
        delta_points=float(delta_points_S.mean()),
        delta_points_of=dict(zip(pairs.seeds, pairs.at_seed_points or delta_points_S.tolist(), strict=True)),
    )
    # Without a spread from other arms, one seed shows sampling error only. An interval would ignore seed noise.
    if pairs.num_seeds == 1 and spread is None and pairs.rests_on == "seeds":
        return estimate
    if pairs.num_seeds == 1 and spread is None:
        variance = float(stratified_variance(pairs.points, pairs.stratum_B)[0])
        return replace(estimate, item_error_points=variance**0.5)
    return _with_interval(estimate, pairs, spread)


def _with_interval(estimate: Estimate, pairs: PairedDifferences, spread: Spread | None) -> Estimate:
    parts = split_error(pairs, spread or seed_spread(pairs))
    delta_points, error = float(pairs.delta_points_by_seed.mean()), parts.total**0.5
    half_width = error * t_quantile(1 - estimate.level / 2, parts.degrees_of_freedom)
    return replace(
        estimate,
        low_points=delta_points - half_width,
        high_points=delta_points + half_width,
        # Twice the lower tail, because `stdtr` keeps its precision for small values there.
        p_value=min(1.0, 2.0 * float(stdtr(parts.degrees_of_freedom, -abs(delta_points) / error))),
        error_points=error,
        seed_error_points=parts.seed**0.5,
        item_error_points=parts.item**0.5,
        rest_error_points=parts.rest**0.5,
        degrees_of_freedom=parts.degrees_of_freedom,
        moderated=spread is not None,
    )


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return a quantile of Student's t; infinite degrees of freedom give the normal distribution."""
    return float(stdtrit(degrees_of_freedom, probability))


def simultaneous_interval(estimate: Estimate, num_compared: int) -> tuple[float, float] | None:
    """Return both ends of the interval at the level over a number of comparisons; None where there is no interval.

    All intervals of a family made so hold their differences at once, with one minus the level, under any dependence. A
    difference whose interval leaves zero is significant after Holm's correction too; a few others may be.

    Source: Dunn, Multiple comparisons among means (1961), by Bonferroni's inequality.
    """
    if estimate.delta_points is None or estimate.error_points is None or estimate.degrees_of_freedom is None:
        return None
    share = estimate.level / max(1, num_compared)
    half_width = estimate.error_points * t_quantile(1 - share / 2, estimate.degrees_of_freedom)
    return estimate.delta_points - half_width, estimate.delta_points + half_width


def equivalence_p_value(estimate: Estimate, margin_points: float) -> float | None:
    """Return the p-value of two one-sided t-tests that the difference lies inside the margin; None without an interval.

    It is below a level exactly if the interval of coverage 1 - 2 levels lies inside the margin. With a level of 0.05
    that is the 90 % interval.

    Source: Schuirmann, A comparison of the two one-sided tests procedure and the power approach (1987).
    """
    if estimate.delta_points is None or estimate.error_points is None or estimate.degrees_of_freedom is None:
        return None
    nearest = (margin_points - abs(estimate.delta_points)) / estimate.error_points
    return float(stdtr(estimate.degrees_of_freedom, -nearest))


def not_worse_p_value(estimate: Estimate, sign: int, margin_points: float) -> float | None:
    """Return the one-sided p-value that the experiment is worse than its reference by less than the margin.

    Args:
        estimate: the difference.
        sign: 1 where a higher value is better, -1 where a lower one is.
        margin_points: the largest loss that does not matter.
    """
    if estimate.delta_points is None or estimate.error_points is None or estimate.degrees_of_freedom is None:
        return None
    above = (sign * estimate.delta_points + margin_points) / estimate.error_points
    return float(stdtr(estimate.degrees_of_freedom, -above))
