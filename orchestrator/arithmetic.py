"""A verdict worked out again from the raw counts, step by step, for a reader with a pocket calculator. Pure.

`verdicts.judge` goes the same way for the whole campaign at once; every number here is, to the last digit, the one that
the verdict rests on. `arithmetic_words` says them.
"""

from collections.abc import Mapping
from functools import reduce

import numpy as np
from msgspec import Struct, structs
from scipy.special import stdtr

from orchestrator.evidence import Bursts, RunRecord
from orchestrator.interactions import FourArms, InteractionJudgement, judge_interactions
from orchestrator.judgement import Judgement, Verdict
from orchestrator.multiplicity import ADJUST
from orchestrator.pairing import PairedDifferences, pair_outcomes
from orchestrator.plan import Plan
from orchestrator.spec import BASELINE
from orchestrator.states import RunState
from orchestrator.stats import t_quantile
from orchestrator.variance import (
    ErrorParts,
    Spread,
    arm_spreads,
    difference_spread,
    fit_prior,
    moderate,
    seed_spread,
    split_error,
)

Records = Mapping[str, RunRecord]
Judgements = Mapping[str, Judgement]
FOUR = ("neither", "first", "second", "both")
"""The fields of `FourArms`, in the order of an interaction's cells."""


class SeedStep(Struct, frozen=True, kw_only=True):
    """The bursts of one seed that every run on either side was scored on."""

    seed: int
    experiment_correct: int
    reference_correct: int
    experiment_alone: int
    """Bursts that only the experiment's run recognised."""
    reference_alone: int
    delta_points: float


class PoolStep(Struct, frozen=True, kw_only=True):
    """What the campaign's configurations show together of the spread over seeds."""

    num_arms: int
    """Configurations with a spread of their own."""
    deviation_points: float
    """The common standard deviation of one seed's score."""
    degrees_of_freedom: float
    """How much it weighs beside an arm's own; infinite where the arms differ no more than chance would have it."""


class SpreadStep(Struct, frozen=True, kw_only=True):
    """The standard deviation of one seed's score of one arm: by its own runs, and after pooling."""

    arm: str
    own_points: float
    own_degrees_of_freedom: float
    pooled_points: float
    pooled_degrees_of_freedom: float


class DeviceStep(Struct, frozen=True, kw_only=True):
    """One transmitter's bursts, each the mean over seeds of experiment minus reference."""

    device: int
    num_bursts: int
    delta_points: float
    variance_points2: float
    """Its part of the sampling variance of the mean over all bursts."""


class ErrorStep(Struct, frozen=True, kw_only=True):
    """From the parts of the error to the interval."""

    spread_points: float
    """Standard deviation of the difference at one seed."""
    spread_degrees_of_freedom: float
    seed_error_points: float
    burst_error_points: float
    rest_error_points: float
    error_points: float
    degrees_of_freedom: float
    quantile: float
    low_points: float
    high_points: float


class SignificanceStep(Struct, frozen=True, kw_only=True):
    """The tests against no difference and against the margin."""

    t: float
    """Difference over standard error."""
    p_value: float
    correction: str
    family: str
    rank: int
    """Among the family's p-values, the smallest is 1."""
    num_compared: int
    adjusted_p_value: float
    margin_points: float
    equivalence_t: float
    """How many standard errors the nearer end of the margin lies beyond the difference."""
    equivalence_p_value: float


class LookStep(Struct, frozen=True, kw_only=True):
    """What was judged at one look of several, where seeds are given out look by look; taken over, not worked out."""

    num_seeds: int
    level: float
    """What this look may spend of the level."""
    error_points: float
    degrees_of_freedom: float
    low_points: float
    high_points: float
    p_value: float
    adjusted_p_value: float
    """Over the share of the level that the look may spend, and for the comparisons of the family."""
    equivalence_p_value: float


class Arithmetic(Struct, frozen=True, kw_only=True):
    """All steps of one verdict; a step that the evidence does not reach is None or empty."""

    experiment: str
    reference: str | None
    capture: str
    level: float
    verdict: Verdict | None
    reason: str
    num_bursts: int
    dropped_seeds: tuple[int, ...]
    dropped_bursts: int
    seeds: tuple[SeedStep, ...] = ()
    delta_points: float | None = None
    own_spread_points: float | None = None
    """Standard deviation of the per-seed differences by themselves."""
    pool: PoolStep | None = None
    """None where too few configurations have two seeds."""
    spreads: tuple[SpreadStep, ...] = ()
    """Of the experiment and its reference."""
    devices: tuple[DeviceStep, ...] = ()
    error: ErrorStep | None = None
    tests: SignificanceStep | None = None
    at_look: LookStep | None = None
    """In the place of all steps after `delta_points`, where seeds are given out look by look."""


def work_out(plan: Plan, records: Records, judgements: Judgements, experiment: str) -> Arithmetic:
    """Work one verdict out from the counts of its runs.

    Args:
        plan: the whole campaign, since spreads are pooled over it and tests are corrected for it.
        records: run id -> what the run left.
        judgements: what was concluded.
        experiment: an arm of the plan.
    """
    judgement, arm = judgements[experiment], plan.arms[experiment]
    is_staged = plan.campaign.staging is not None
    if is_staged:
        # A look judges the runs that it asked for and no others.
        plan = structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=judgement.seeds))
    pairs, sides = _join(plan, records, experiment)
    steps = Arithmetic(
        experiment=experiment,
        reference=arm.reference,
        capture=plan.campaign.data.report[0],
        level=plan.campaign.judging.level,
        verdict=judgement.verdict,
        reason=judgement.reason,
        num_bursts=pairs.num_bursts,
        dropped_seeds=pairs.dropped_seeds,
        dropped_bursts=pairs.dropped_bursts,
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


def _scored(plan: Plan, records: Records, experiment: str) -> dict[int, Bursts]:
    """Return seed -> outcomes on the judged capture."""
    capture = plan.campaign.data.report[0]
    runs = {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}
    return {
        seed: run.bursts[capture]
        for seed, run in runs.items()
        if run and run.result and run.result.state == RunState.DONE and capture in run.bursts
    }


def _join(
    plan: Plan, records: Records, experiment: str
) -> tuple[PairedDifferences, tuple[dict[int, Bursts], dict[int, Bursts]]]:
    reference = plan.arms[experiment].reference
    if reference is None:
        return pair_outcomes({}, {}), ({}, {})
    sides = _scored(plan, records, experiment), _scored(plan, records, reference)
    return pair_outcomes(*sides), sides


def _count_seeds(pairs: PairedDifferences, sides: tuple[dict[int, Bursts], dict[int, Bursts]]) -> tuple[SeedStep, ...]:
    if not pairs.seeds:
        return ()
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
            delta_points=100.0 * ((ours - theirs) / pairs.num_bursts),
        )
        for seed, ours, theirs, difference_B in zip(pairs.seeds, *correct, pairs.difference_SB, strict=True)
    )


def configuration(plan: Plan, experiment: str) -> str:
    """Name the first arm with the same configuration, whose runs an experiment shares."""
    return plan.arms[experiment].same_as or experiment


def own_spreads(plan: Plan, records: Records, judgements: Judgements) -> dict[str, Spread]:
    """Return each configuration's own variance over seeds, not yet pooled."""
    alike = [name for name, arm in plan.arms.items() if arm.control != "shuffled_labels"]
    scores = {configuration(plan, name): judgements[name].accuracy_percent_of for name in alike}
    num_bursts = [len(each.keys) for name in plan.arms for each in _scored(plan, records, name).values()]
    return arm_spreads(scores, max(num_bursts, default=1))


def pooled_spreads(own: Mapping[str, Spread]) -> dict[str, Spread]:
    """Return each configuration's variance shrunk towards the campaign's; none where there are too few."""
    prior = fit_prior(list(own.values()))
    return {name: moderate(spread, prior) for name, spread in own.items()} if prior else {}


def _with_error(
    steps: Arithmetic, plan: Plan, records: Records, judgements: Judgements, pairs: PairedDifferences
) -> Arithmetic:
    own = own_spreads(plan, records, judgements)
    pooled = pooled_spreads(own)
    arms = [configuration(plan, side) for side in (steps.experiment, steps.reference or BASELINE)]
    known = all(arm in pooled for arm in arms)
    spread = difference_spread(*(pooled[arm] for arm in arms)) if known else seed_spread(pairs)
    parts = split_error(pairs, spread)
    error = _error_step(pairs, spread, parts, steps.level)
    return structs.replace(
        steps,
        own_spread_points=float(pairs.delta_points_by_seed.std(ddof=1)),
        pool=_describe_pool(own) if known else None,
        spreads=tuple(_spread_step(arm, own[arm], pooled[arm]) for arm in arms) if known else (),
        devices=_split_devices(pairs),
        error=error,
        tests=_test_step(plan, judgements, error, steps),
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


def _spread_step(arm: str, own: Spread, pooled: Spread) -> SpreadStep:
    return SpreadStep(
        arm=arm,
        own_points=own.variance_points2**0.5,
        own_degrees_of_freedom=own.degrees_of_freedom,
        pooled_points=pooled.variance_points2**0.5,
        pooled_degrees_of_freedom=pooled.degrees_of_freedom,
    )


def _split_devices(pairs: PairedDifferences) -> tuple[DeviceStep, ...]:
    """Split the variance of the mean over bursts by device; empty where no device has two bursts."""
    points_B = 100.0 * pairs.difference_SB.mean(axis=0, dtype=np.float64)
    strata = {int(device): points_B[pairs.devices_B == device] for device in np.unique(pairs.devices_B)}
    freedom = sum(len(stratum) - 1 for stratum in strata.values())
    if not freedom:
        return ()
    pooled = sum(float(stratum.var()) * len(stratum) for stratum in strata.values()) / freedom
    return tuple(
        DeviceStep(
            device=device,
            num_bursts=len(stratum),
            delta_points=float(stratum.mean()),
            # A device with one burst takes the spread of the others.
            variance_points2=(float(stratum.var(ddof=1)) if len(stratum) > 1 else pooled)
            * len(stratum)
            / pairs.num_bursts**2,
        )
        for device, stratum in strata.items()
    )


def _error_step(pairs: PairedDifferences, spread: Spread, parts: ErrorParts, level: float) -> ErrorStep:
    delta_points = float(pairs.delta_points_by_seed.mean())
    error, quantile = parts.total**0.5, t_quantile(1 - level / 2, parts.degrees_of_freedom)
    return ErrorStep(
        spread_points=spread.variance_points2**0.5,
        spread_degrees_of_freedom=spread.degrees_of_freedom,
        seed_error_points=parts.seed**0.5,
        burst_error_points=parts.burst**0.5,
        rest_error_points=parts.rest**0.5,
        error_points=error,
        degrees_of_freedom=parts.degrees_of_freedom,
        quantile=quantile,
        low_points=delta_points - error * quantile,
        high_points=delta_points + error * quantile,
    )


def _test_step(plan: Plan, judgements: Judgements, error: ErrorStep, steps: Arithmetic) -> SignificanceStep:
    assert steps.delta_points is not None
    correction, family = plan.campaign.judging.correction, judgements[steps.experiment].family
    p_of = _p_values(plan, {name: found for name, found in judgements.items() if found.family == family})
    own = _comparison(plan, steps.experiment)
    adjusted = dict(zip(p_of, ADJUST[correction](list(p_of.values())), strict=True))
    margin = plan.campaign.margin
    t, nearest = steps.delta_points / error.error_points, (margin - abs(steps.delta_points)) / error.error_points
    return SignificanceStep(
        t=t,
        p_value=min(1.0, 2.0 * float(stdtr(error.degrees_of_freedom, -abs(steps.delta_points) / error.error_points))),
        correction=correction,
        family=family or "",
        rank=1 + sum(p_value < p_of[own] for p_value in p_of.values()),
        num_compared=len(p_of),
        adjusted_p_value=adjusted[own],
        margin_points=margin,
        equivalence_t=nearest,
        equivalence_p_value=float(stdtr(error.degrees_of_freedom, -nearest)),
    )


def _comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Name the two configurations compared, either way round."""
    return frozenset(configuration(plan, side) for side in (experiment, plan.arms[experiment].reference or BASELINE))


def _p_values(plan: Plan, judgements: Judgements) -> dict[frozenset[str], float]:
    """Return the p-value of each comparison; one and its mirror image count once."""
    return {_comparison(plan, name): found.p_value for name, found in judgements.items() if found.p_value is not None}


def interactions_of(plan: Plan, records: Records, judgements: Judgements) -> list[InteractionJudgement]:
    """Judge whether effects add up, for every pair whose four arms are in the plan."""
    pooled = pooled_spreads(own_spreads(plan, records, judgements)) if plan.interactions else {}
    arms_of = {
        pair: FourArms(**dict(zip(FOUR, (_scored(plan, records, cell) for cell in pair.cells), strict=True)))
        for pair in plan.interactions
    }
    cells = {cell for pair in plan.interactions for cell in pair.cells}
    spreads = {cell: pooled[configuration(plan, cell)] for cell in cells if configuration(plan, cell) in pooled}
    return judge_interactions(arms_of, spreads, plan.campaign.judging, plan.campaign.margin)
