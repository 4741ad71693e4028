"""Works a verdict out again from the raw counts, step by step, for a reader with a pocket calculator. Pure.

`judge` uses the same functions for the whole campaign at once. So every number here is exactly the one that the verdict
rests on. `report.steps` puts the steps into words.
"""

from collections.abc import Mapping
from functools import reduce

import numpy as np
from msgspec import Struct, structs

from orchestrator.campaign.fields import BASELINE, Control
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import Bursts, Records
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta, t_quantile
from orchestrator.stats.pairing import PairedDifferences, pair_outcomes
from orchestrator.stats.variance import Spread, arm_spreads, fit_prior, seed_spread
from orchestrator.verdicts.comparisons import (
    adjust,
    comparison,
    configuration,
    distinct_p_values,
    outcomes_by_seed,
    pooled_spreads,
    replicate_scores,
    runs_by_seed,
    score_table,
    spread_between,
)
from orchestrator.verdicts.judgement import Judgement, Judgements, Verdict


class SeedStep(Struct, frozen=True, kw_only=True):
    """The counts of one seed, over the bursts that every run on both sides was scored on."""

    seed: int
    experiment_correct: int
    reference_correct: int
    experiment_alone: int
    """Number of bursts that only the experiment's run recognised."""
    reference_alone: int
    delta_points: float


class PoolStep(Struct, frozen=True, kw_only=True):
    """The spread over seeds that the campaign's configurations show together."""

    num_arms: int
    """Number of configurations with a spread of their own."""
    deviation_points: float
    """Common standard deviation of one seed's score."""
    degrees_of_freedom: float
    """Its weight beside an arm's own spread; infinite if the arms differ no more than by chance."""


class SpreadStep(Struct, frozen=True, kw_only=True):
    """The standard deviation of one seed's score of one arm, from its own runs and after pooling."""

    side: str
    """The experiment or its reference."""
    arm: str
    """The first arm of its configuration, whose runs it shares."""
    own_points: float
    own_degrees_of_freedom: float
    pooled_points: float
    pooled_degrees_of_freedom: float


class ReplicateStep(Struct, frozen=True, kw_only=True):
    """The spread of runs that differ only in their seed: those of the baseline and of all A/A arms."""

    score_of: dict[int, float]
    """Seed of the training -> accuracy."""
    deviation_points: float
    """Standard deviation of one run's score."""
    degrees_of_freedom: float


class DeviceStep(Struct, frozen=True, kw_only=True):
    """The bursts of one transmitter; each counts as its mean over seeds of experiment minus reference."""

    device: int
    num_items: int
    delta_points: float
    variance_points2: float
    """The transmitter's part of the sampling variance of the mean over all bursts."""


class ErrorStep(Struct, frozen=True, kw_only=True):
    """The parts of the error, the error and the interval."""

    spread_points: float
    """Standard deviation of the difference at one seed."""
    spread_degrees_of_freedom: float
    seed_error_points: float
    item_error_points: float
    rest_error_points: float
    error_points: float
    degrees_of_freedom: float
    quantile: float
    low_points: float
    high_points: float


class SignificanceStep(Struct, frozen=True, kw_only=True):
    """The tests against no difference and against the margin."""

    t: float
    """The difference over its standard error."""
    p_value: float
    correction: str
    family: str
    rank: int
    """Rank among the family's p-values; the smallest has 1."""
    num_compared: int
    adjusted_p_value: float
    margin_points: float
    equivalence_t: float
    """The distance from the difference to the nearer end of the margin, in standard errors."""
    equivalence_p_value: float


class LookStep(Struct, frozen=True, kw_only=True):
    """The numbers of one look of several. They are copied from the judgement, not worked out again."""

    num_seeds: int
    level: float
    """The part of the level that this look spends."""
    error_points: float
    degrees_of_freedom: float
    low_points: float
    high_points: float
    p_value: float
    adjusted_p_value: float
    """Adjusted for the share of the look and for the comparisons of the family."""
    equivalence_p_value: float


class Arithmetic(Struct, frozen=True, kw_only=True):
    """All steps of one verdict; a step without enough data is None or empty."""

    experiment: str
    reference: str | None
    capture: str
    level: float
    verdict: Verdict | None
    reason: str
    control: Control | None = None
    num_items: int
    dropped_seeds: tuple[int, ...]
    dropped_items: int
    seeds: tuple[SeedStep, ...] = ()
    delta_points: float | None = None
    own_spread_points: float | None = None
    """Standard deviation of the per-seed differences alone."""
    pool: PoolStep | None = None
    """None if too few configurations have two seeds, and for a control."""
    spreads: tuple[SpreadStep, ...] = ()
    """The spread of the experiment and of its reference."""
    replicates: ReplicateStep | None = None
    """Replaces `pool` and `spreads` for an A/A arm."""
    devices: tuple[DeviceStep, ...] = ()
    error: ErrorStep | None = None
    tests: SignificanceStep | None = None
    at_look: LookStep | None = None
    """Replaces all steps after `delta_points` in a campaign with looks."""
    left_out: tuple[str, ...] = ()
    """A sentence for each run whose folder cannot be read, or whose files contradict each other."""


def work_out(plan: Plan, records: Records, judgements: Judgements, experiment: str) -> Arithmetic:
    """Work one verdict out from the counts of its runs.

    Args:
        plan: the whole campaign, since spreads are pooled over it and tests are corrected for it.
        records: run id -> what the run left.
        judgements: one for each arm of the plan.
        experiment: an arm of the plan.
    """
    judgement, arm = judgements[experiment], plan.arms[experiment]
    is_staged = plan.campaign.staging is not None
    if is_staged:
        # A look judges only the runs that it asked for.
        plan = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=judgement.seeds))
    pairs, sides = _join(plan, records, experiment)
    steps = Arithmetic(
        experiment=experiment,
        reference=arm.reference,
        capture=plan.campaign.judged.name,
        level=plan.campaign.judging.level,
        verdict=judgement.verdict,
        reason=judgement.reason,
        control=arm.control,
        num_items=pairs.num_items,
        dropped_seeds=pairs.dropped_seeds,
        dropped_items=pairs.dropped_items,
        seeds=_count_seeds(pairs, sides),
        delta_points=float(pairs.delta_points_by_seed.mean()) if pairs.num_seeds else None,
        at_look=_look_step(judgement) if is_staged else None,
    )
    if is_staged:
        return structs.replace(steps, dropped_seeds=judgement.dropped_seeds)
    return _with_error(steps, plan, records, judgements, pairs) if pairs.num_seeds > 1 else steps


def _look_step(judgement: Judgement) -> LookStep | None:
    if judgement.error_points is None:
        return None
    values = {name: getattr(judgement, name) for name in LookStep.__struct_fields__ if name != "num_seeds"}
    return LookStep(num_seeds=judgement.look_seeds or len(judgement.seeds), **values)


def _outcomes(plan: Plan, records: Records, experiment: str) -> dict[int, Bursts]:
    return outcomes_by_seed(runs_by_seed(plan, records, experiment), plan.campaign.judged.name)


def _join(
    plan: Plan, records: Records, experiment: str
) -> tuple[PairedDifferences, tuple[dict[int, Bursts], dict[int, Bursts]]]:
    reference = plan.arms[experiment].reference
    if reference is None:
        return pair_outcomes({}, {}), ({}, {})
    sides = _outcomes(plan, records, experiment), _outcomes(plan, records, reference)
    return pair_outcomes(*sides), sides


def _count_seeds(pairs: PairedDifferences, sides: tuple[dict[int, Bursts], dict[int, Bursts]]) -> tuple[SeedStep, ...]:
    if not pairs.seeds:
        return ()
    # The counts are over the same bursts as the estimate, so that they give the same difference.
    common_B = reduce(np.intersect1d, [side[seed].keys for side in sides for seed in pairs.seeds])
    correct = [
        [int(side[seed].correct[np.isin(side[seed].keys, common_B)].sum()) for seed in pairs.seeds] for side in sides
    ]
    return tuple(
        SeedStep(
            seed=seed,
            experiment_correct=ours,
            reference_correct=theirs,
            experiment_alone=int((difference_B > 0).sum()),
            reference_alone=int((difference_B < 0).sum()),
            delta_points=100.0 * ((ours - theirs) / pairs.num_items),
        )
        for seed, ours, theirs, difference_B in zip(pairs.seeds, *correct, pairs.difference_SB, strict=True)
    )


def _with_error(
    steps: Arithmetic, plan: Plan, records: Records, judgements: Judgements, pairs: PairedDifferences
) -> Arithmetic:
    # Both are of the whole campaign: pooling uses every arm, also for one verdict.
    own, spreads = arm_spreads(*score_table(plan, records)), pooled_spreads(plan, records)
    sides = (steps.experiment, steps.reference or BASELINE)
    spread = spread_between(plan, spreads, *sides)
    is_pooled = spread is not None and steps.control is None
    estimate = estimate_delta(pairs, spread, steps.level)
    return structs.replace(
        steps,
        own_spread_points=float(pairs.delta_points_by_seed.std(ddof=1)),
        pool=_describe_pool(own) if is_pooled else None,
        spreads=tuple(_spread_step(plan, side, own, spreads) for side in sides) if is_pooled else (),
        replicates=_replicate_step(plan, records, spreads[steps.experiment]) if steps.control == "aa" else None,
        devices=_split_devices(pairs),
        error=_error_step(estimate, spread or seed_spread(pairs)),
        tests=_test_step(plan, judgements, estimate, steps.experiment),
    )


def _describe_pool(own: Mapping[str, Spread]) -> PoolStep | None:
    prior = fit_prior(list(own.values()))
    if prior is None:
        return None
    return PoolStep(
        num_arms=len(own),
        deviation_points=prior.variance_points2**0.5,
        degrees_of_freedom=prior.degrees_of_freedom,
    )


def _spread_step(plan: Plan, side: str, own: Mapping[str, Spread], pooled: Mapping[str, Spread]) -> SpreadStep:
    arm = configuration(plan, side)
    return SpreadStep(
        side=side,
        arm=arm,
        own_points=own[arm].variance_points2 ** 0.5,
        own_degrees_of_freedom=own[arm].degrees_of_freedom,
        pooled_points=pooled[arm].variance_points2 ** 0.5,
        pooled_degrees_of_freedom=pooled[arm].degrees_of_freedom,
    )


def _replicate_step(plan: Plan, records: Records, spread: Spread) -> ReplicateStep:
    return ReplicateStep(
        score_of=replicate_scores(plan, records),
        deviation_points=spread.variance_points2**0.5,
        degrees_of_freedom=spread.degrees_of_freedom,
    )


def _split_devices(pairs: PairedDifferences) -> tuple[DeviceStep, ...]:
    """Split the variance of the mean over bursts by device; empty if no device has two bursts."""
    points_B = pairs.scale * pairs.difference_SB.mean(axis=0, dtype=np.float64)
    strata = {int(device): points_B[pairs.stratum_B == device] for device in np.unique(pairs.stratum_B)}
    freedom = sum(len(stratum) - 1 for stratum in strata.values())
    if not freedom:
        return ()
    pooled = sum(float(stratum.var()) * len(stratum) for stratum in strata.values()) / freedom
    return tuple(
        DeviceStep(
            device=device,
            num_items=len(stratum),
            delta_points=float(stratum.mean()),
            # One burst shows no variance, so its device takes the pooled variance of the others.
            variance_points2=(float(stratum.var(ddof=1)) if len(stratum) > 1 else pooled)
            * len(stratum)
            / pairs.num_items**2,
        )
        for device, stratum in strata.items()
    )


def _error_step(estimate: Estimate, spread: Spread) -> ErrorStep:
    values = {name: getattr(estimate, name) for name in ErrorStep.__struct_fields__ if hasattr(estimate, name)}
    return ErrorStep(
        spread_points=spread.variance_points2**0.5,
        spread_degrees_of_freedom=spread.degrees_of_freedom,
        quantile=t_quantile(1 - estimate.level / 2, values["degrees_of_freedom"]),
        **values,
    )


def _test_step(plan: Plan, judgements: Judgements, estimate: Estimate, experiment: str) -> SignificanceStep:
    delta, error, p_value = estimate.delta_points, estimate.error_points, estimate.p_value
    equivalence_p = equivalence_p_value(estimate, plan.campaign.margin)
    assert delta is not None
    assert error is not None
    assert p_value is not None
    assert equivalence_p is not None
    # The rank is among the family's distinct comparisons, since mirror images count once.
    family = judgements[experiment].family
    of_family = {name: found.p_value for name, found in judgements.items() if found.family == family}
    p_of = {name: p_value for name, p_value in of_family.items() if p_value is not None}
    distinct, own = distinct_p_values(plan, p_of), comparison(plan, experiment)
    return SignificanceStep(
        t=delta / error,
        p_value=p_value,
        correction=plan.campaign.judging.correction,
        family=family or "",
        rank=1 + sum(other < distinct[own] for other in distinct.values()),
        num_compared=len(distinct),
        adjusted_p_value=adjust(plan, p_of)[own],
        margin_points=plan.campaign.margin,
        equivalence_t=(plan.campaign.margin - abs(delta)) / error,
        equivalence_p_value=equivalence_p,
    )
