"""Paired evidence for one comparison, and how sure it lets us be. Pure.

Axes: S seeds at which both sides were scored, B bursts of one capture, C comparisons of a campaign.

The estimate is the mean over seeds of the mean over bursts of `experiment correct - reference correct`. Two sources of
error are kept apart and added:

- across seeds: another seed would train another network. With two seeds a plain variance has one degree of freedom and
  says next to nothing, so it is moderated: shrunk towards what the campaign's other comparisons show.
- across bursts: another hour of recording would hold other bursts of the same transmitters. The devices are the
  population, bursts are random within each of them.

Adding the two is conservative, since the noise that belongs to a seed and a burst together sits in both of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtr, stdtrit

from orchestrator.errors import RunError
from orchestrator.judgement import Estimate

Floats = NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

ALPHA = 0.05
"""One minus the coverage of every interval."""
MIN_POOLED = 3
"""Fewer variances than this do not tell a prior from chance."""


class BurstOutcomes(Protocol):
    """How one run did on each burst; the arrays go together."""

    @property
    def keys(self) -> NDArray[np.str_]:
        """What names each burst [B]."""

    @property
    def devices(self) -> NDArray[np.int64]:
        """Which transmitter sent it [B]."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether it was recognised [B]."""


@dataclass(frozen=True)
class PairedDifferences:
    """One comparison, joined on seed and burst; a pair with a side missing is dropped and counted."""

    difference_SB: NDArray[np.int8]
    """Experiment minus reference: -1, 0 or 1."""
    seeds: tuple[int, ...]
    devices_B: NDArray[np.int64]
    dropped_seeds: tuple[int, ...] = ()
    dropped_bursts: int = 0

    def __post_init__(self) -> None:
        wanted = (len(self.seeds), len(self.devices_B))
        if self.difference_SB.shape != wanted:
            raise ValueError(f"differences are {self.difference_SB.shape}, seeds x bursts are {wanted}")

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.seeds)

    @property
    def num_bursts(self) -> int:
        """B."""
        return len(self.devices_B)

    @property
    def delta_points_by_seed(self) -> Floats:
        """Difference in accuracy at each seed [S], percentage points."""
        per_seed_S: Floats = 100.0 * self.difference_SB.mean(axis=1, dtype=np.float64)
        return per_seed_S


@dataclass(frozen=True)
class VariancePrior:
    """What a campaign's comparisons say about the spread over seeds: a scaled inverse chi-squared distribution."""

    degrees_of_freedom: float
    """How much it weighs; infinite when the comparisons differ no more than chance would have it."""
    variance_points2: float
    pooled_degrees_of_freedom: int
    """Of all comparisons together: no moderated variance can be known better than that."""


def pair_outcomes(experiment: Mapping[int, BurstOutcomes], reference: Mapping[int, BurstOutcomes]) -> PairedDifferences:
    """Join two sides, seed -> outcomes, on seed and burst key.

    A burst counts when every run on either side was scored on it. Nothing is filled in for what is missing.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    seeds = tuple(sorted(experiment.keys() & reference.keys()))
    sides = [side[seed] for side in (experiment, reference) for seed in seeds]
    keys_B, dropped_bursts = _common_bursts(sides)
    if len(keys_B) == 0:
        seeds, sides = (), []
    correct = np.array([_in_order(side, side.correct, keys_B) for side in sides], dtype=np.int8)
    correct_2SB = correct.reshape(2, len(seeds), len(keys_B))
    return PairedDifferences(
        difference_SB=correct_2SB[0] - correct_2SB[1],
        seeds=seeds,
        devices_B=_agreed_devices(sides, keys_B),
        dropped_seeds=tuple(sorted((experiment.keys() | reference.keys()) - set(seeds))),
        dropped_bursts=dropped_bursts,
    )


def _common_bursts(sides: Sequence[BurstOutcomes]) -> tuple[NDArray[np.str_], int]:
    if not sides:
        return np.array([], dtype=np.str_), 0
    for side in sides:
        keys, counts = np.unique(side.keys, return_counts=True)
        if (counts > 1).any():
            raise RunError(f"the predictions hold burst `{keys[counts > 1][0]}` more than once; train the run again")
    all_keys = [side.keys for side in sides]
    common_B = reduce(np.intersect1d, all_keys)
    return common_B, len(reduce(np.union1d, all_keys)) - len(common_B)


def _in_order(side: BurstOutcomes, values: NDArray[Scalar], keys_B: NDArray[np.str_]) -> NDArray[Scalar]:
    order = np.argsort(side.keys, kind="stable")
    return values[order[np.searchsorted(side.keys, keys_B, sorter=order)]]


def _agreed_devices(sides: Sequence[BurstOutcomes], keys_B: NDArray[np.str_]) -> NDArray[np.int64]:
    if not sides:
        return np.array([], dtype=np.int64)
    devices_B, *others = [_in_order(side, side.devices, keys_B) for side in sides]
    for other_B in others:
        if (differs_B := other_B != devices_B).any():
            raise RunError(
                f"runs disagree on the device of burst `{keys_B[differs_B][0]}`; they saw different captures"
            )
    return devices_B


def seed_variance(pairs: PairedDifferences) -> float:
    """Sample variance of the per-seed differences, squared percentage points, S - 1 degrees of freedom.

    An accuracy over B bursts moves in steps of 100/B points. Two seeds that agree tell no more than that they agree
    within a step, so the variance is never taken below that of rounding to a step, its square over 12.
    """
    step_points = 100.0 / pairs.num_bursts
    return max(float(pairs.delta_points_by_seed.var(ddof=1)), step_points**2 / 12)


def burst_variance(pairs: PairedDifferences) -> float:
    """Sampling variance of the mean over bursts, squared percentage points: a stratified sample, one stratum a device.

    Source: Cochran, Sampling Techniques (1977), eq. 5.7 without the finite-population term. A device with one burst
    takes the pooled variance of the others; where every device has one, the variance is that over all bursts.
    """
    points_B = 100.0 * pairs.difference_SB.mean(axis=0, dtype=np.float64)
    strata = [points_B[pairs.devices_B == device] for device in np.unique(pairs.devices_B)]
    repeated = [stratum for stratum in strata if len(stratum) > 1] or [points_B]
    freedom = sum(len(stratum) - 1 for stratum in repeated)
    if freedom == 0:
        # One burst in all: the largest variance that a number in [-1, 1] can have.
        return 100.0**2
    pooled = sum(float(stratum.var(ddof=1)) * (len(stratum) - 1) for stratum in repeated) / freedom
    within = [float(stratum.var(ddof=1)) if len(stratum) > 1 else pooled for stratum in strata]
    return sum(len(s) * variance for s, variance in zip(strata, within, strict=True)) / len(points_B) ** 2


def lasting_burst_variance(pairs: PairedDifferences) -> float:
    """Return the part of `burst_variance` that more seeds would not take away, squared percentage points.

    A mean over S seeds still carries 1/S of the noise that belongs to a seed and a burst together. That noise is what a
    two-way layout, seeds by bursts, leaves as its residual; it is taken off, down to zero.
    """
    points_SB = 100.0 * pairs.difference_SB.astype(np.float64)
    by_seed_S1 = points_SB.mean(axis=1, keepdims=True)
    by_burst_1B = points_SB.mean(axis=0, keepdims=True)
    residual_SB = points_SB - by_seed_S1 - by_burst_1B + points_SB.mean()
    freedom = (pairs.num_seeds - 1) * (pairs.num_bursts - 1)
    together = float((residual_SB**2).sum()) / freedom if freedom else 0.0
    return max(0.0, burst_variance(pairs) - together / points_SB.size)


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


def fit_prior(variances: Sequence[tuple[float, int]]) -> VariancePrior | None:
    """Fit the prior to a campaign's variances by the moments of their logarithms; None for fewer than three of them.

    The comparisons are taken as independent. They are not quite, since several share a reference, which makes the prior
    a little too sure of itself; capping the degrees of freedom in `estimate_delta` holds against that.

    Args:
        variances: a comparison's variance of per-seed differences, squared points, above zero, and its degrees of
            freedom.

    Source: Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments (2004), section 6.2.
    """
    if len(variances) < MIN_POOLED:
        return None
    variance_C, freedom_C = np.array(variances, dtype=np.float64).T
    half_C = freedom_C / 2.0
    log_C = np.log(variance_C) - digamma(half_C) + np.log(half_C)
    excess = float(log_C.var(ddof=1) - polygamma(1, half_C).mean())
    pooled_freedom = round(freedom_C.sum())
    if excess <= 0:
        return VariancePrior(math.inf, math.exp(log_C.mean()), pooled_freedom)
    half = trigamma_inverse(excess)
    log_variance = float(log_C.mean() + digamma(half) - math.log(half))
    return VariancePrior(2.0 * half, math.exp(log_variance), pooled_freedom)


def moderate(variance: float, freedom: int, prior: VariancePrior) -> float:
    """Shrink a variance towards the prior's. Source: Smyth (2004), section 3."""
    if math.isinf(prior.degrees_of_freedom):
        return prior.variance_points2
    weight = prior.degrees_of_freedom
    return (weight * prior.variance_points2 + freedom * variance) / (weight + freedom)


def estimate_delta(pairs: PairedDifferences, prior: VariancePrior | None) -> Estimate:
    """Estimate the difference with its interval; below two seeds there is no interval, whatever the difference.

    The interval is Student's t with d0 + S - 1 degrees of freedom, but no more than all comparisons have together (as
    limma's eBayes has it), and plainly S - 1 without a prior. The burst part is known far better than the seed part, so
    that using the seed part's degrees of freedom for their sum is conservative.
    """
    estimate = Estimate(
        seeds=pairs.seeds,
        dropped_seeds=pairs.dropped_seeds,
        num_bursts=pairs.num_bursts,
        dropped_bursts=pairs.dropped_bursts,
    )
    if pairs.num_seeds == 0:
        return estimate
    delta_points_S = pairs.delta_points_by_seed
    estimate = replace(
        estimate,
        delta_points=float(delta_points_S.mean()),
        delta_points_of=dict(zip(pairs.seeds, delta_points_S.tolist(), strict=True)),
        burst_error_points=burst_variance(pairs) ** 0.5,
        lasting_burst_error_points=lasting_burst_variance(pairs) ** 0.5,
    )
    return estimate if pairs.num_seeds == 1 else _with_interval(estimate, seed_variance(pairs), prior)


def _with_interval(estimate: Estimate, variance: float, prior: VariancePrior | None) -> Estimate:
    assert estimate.delta_points is not None
    assert estimate.burst_error_points is not None
    num_seeds = len(estimate.seeds)
    freedom: float = num_seeds - 1
    if prior is not None:
        variance = moderate(variance, num_seeds - 1, prior)
        freedom = min(freedom + prior.degrees_of_freedom, prior.pooled_degrees_of_freedom)
    seed_error = (variance / num_seeds) ** 0.5
    error = math.hypot(seed_error, estimate.burst_error_points)
    half_width = error * t_quantile(1 - ALPHA / 2, freedom)
    return replace(
        estimate,
        low_points=estimate.delta_points - half_width,
        high_points=estimate.delta_points + half_width,
        p_value=min(1.0, 2.0 * float(stdtr(freedom, -abs(estimate.delta_points) / error))),
        seed_error_points=seed_error,
        degrees_of_freedom=freedom,
        moderated=prior is not None,
    )


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t; of the normal distribution where the degrees of freedom are infinite."""
    return float(stdtrit(degrees_of_freedom, probability))


def seeds_to_resolve(estimate: Estimate, half_width_points: float, alpha: float) -> float:
    """Say roughly how many seeds would bring the interval's half width down to a target; infinite for no number.

    More seeds bring no more bursts: where the lasting part of the burst error is too wide alone, no number will do. The
    normal quantile is used, as if the errors were known.
    """
    assert estimate.seed_error_points is not None
    assert estimate.burst_error_points is not None
    assert estimate.lasting_burst_error_points is not None
    if half_width_points <= 0:
        return math.inf
    error_wanted = half_width_points / t_quantile(1 - alpha / 2, math.inf)
    lasting = estimate.lasting_burst_error_points**2
    if error_wanted**2 <= lasting:
        return math.inf
    fading = estimate.seed_error_points**2 + estimate.burst_error_points**2 - lasting
    return math.ceil(len(estimate.seeds) * fading / (error_wanted**2 - lasting))


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for testing all of them, valid under any dependence.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
