"""Works a verdict out again from the runs' scores, step by step, for a reader with a pocket calculator. Pure.

`judge` uses the same functions for the whole campaign at once. So every number here is exactly the one that the verdict
rests on. `report.steps` puts the steps into words.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from orchestrator.campaign.fields import BASELINE, Control
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.record import Records
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta, t_quantile
from orchestrator.stats.item_pairs import join_items
from orchestrator.stats.pairing import PairedDifferences, RestsOn
from orchestrator.stats.strata import StratumStep, split_strata
from orchestrator.stats.variance import Spread, arm_spreads, fit_prior, seed_spread
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import LabelsSpec
from orchestrator.verdicts.comparisons import (
    SHARE_STEP,
    Scores,
    adjust,
    comparison,
    configuration,
    distinct_p_values,
    items_of,
    judged_measure,
    pair_scores,
    pooled_spreads,
    replicate_scores,
    runs_by_seed,
    score_table,
    scores_of,
    spread_between,
)
from orchestrator.verdicts.judgement import Judgement, Judgements, MetricJudgement, Verdict
from orchestrator.verdicts.scale import LOG_SCALE, Scale

Floats = NDArray[np.float64]


class SeedStep(Struct, frozen=True, kw_only=True):
    """The scores of one seed, over the items that every run on both sides was scored on."""

    seed: int
    experiment_score: float
    """In the metric's unit."""
    reference_score: float
    delta_points: float
    counts: "CountStep | None" = None
    """None unless the metric is a share of items that are right or wrong."""


class CountStep(Struct, frozen=True, kw_only=True):
    """How many items are right at one seed."""

    experiment_right: int
    reference_right: int
    experiment_alone: int
    """Number of items that only the experiment's run has right."""
    reference_alone: int


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
    """Seed of the training -> score, on the scale of the metric."""
    deviation_points: float
    """Standard deviation of one run's score."""
    degrees_of_freedom: float


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


class OtherStep(Struct, frozen=True, kw_only=True):
    """What a metric beside the main one says."""

    metric: MetricSpec
    found: MetricJudgement


class Arithmetic(Struct, frozen=True, kw_only=True):
    """All steps of one verdict; a step without enough data is None or empty."""

    experiment: str
    reference: str | None
    metric: MetricSpec
    labels: LabelsSpec
    level: float
    verdict: Verdict | None
    reason: str
    control: Control | None = None
    num_items: int
    dropped_seeds: tuple[int, ...]
    dropped_items: int
    rests_on: RestsOn = "items"
    test_ratio: float = 0.0
    """Items tested on over items trained on, where each seed draws its own."""
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
    strata: tuple[StratumStep, ...] = ()
    error: ErrorStep | None = None
    tests: SignificanceStep | None = None
    at_look: LookStep | None = None
    """Replaces all steps after `delta_points` in a campaign with looks."""
    others: tuple[OtherStep, ...] = ()
    """The metrics beside the main one. They do not change its verdict."""
    left_out: tuple[str, ...] = ()
    """A sentence for each run whose folder cannot be read, or whose files contradict each other."""


def work_out(plan: Plan, records: Records, judgements: Judgements, experiment: str) -> Arithmetic:
    """Work one verdict out from the scores of its runs.

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
        metric=plan.campaign.judged,
        labels=plan.campaign.labels,
        level=plan.campaign.judging.level,
        verdict=judgement.verdict,
        reason=judgement.reason,
        control=arm.control,
        num_items=pairs.num_items,
        dropped_seeds=pairs.dropped_seeds,
        dropped_items=pairs.dropped_items,
        rests_on=pairs.rests_on,
        test_ratio=pairs.test_ratio,
        seeds=_seed_steps(plan.campaign, pairs, sides),
        delta_points=float(pairs.delta_points_by_seed.mean()) if pairs.num_seeds else None,
        at_look=_look_step(judgement) if is_staged else None,
        others=_other_steps(plan.campaign, judgement),
    )
    if is_staged:
        return structs.replace(steps, dropped_seeds=judgement.dropped_seeds)
    return _with_error(steps, plan, records, judgements, pairs) if pairs.num_seeds > 1 else steps


def _other_steps(campaign: Campaign, judgement: Judgement) -> tuple[OtherStep, ...]:
    return tuple(OtherStep(metric=campaign.metrics[found.metric], found=found) for found in judgement.others)


def _look_step(judgement: Judgement) -> LookStep | None:
    if judgement.error_points is None:
        return None
    values = {name: getattr(judgement, name) for name in LookStep.__struct_fields__ if name != "num_seeds"}
    return LookStep(num_seeds=judgement.look_seeds or len(judgement.seeds), **values)


def _join(plan: Plan, records: Records, experiment: str) -> tuple[PairedDifferences, tuple[Scores, Scores]]:
    reference, metric = plan.arms[experiment].reference, plan.campaign.judged
    names = () if reference is None else (experiment, reference)
    found = [scores_of(runs_by_seed(plan, records, name), metric.name) for name in names]
    ours, theirs = found or ({}, {})
    return pair_scores(plan.campaign, metric, ours, theirs), (ours, theirs)


def _seed_steps(campaign: Campaign, pairs: PairedDifferences, sides: tuple[Scores, Scores]) -> tuple[SeedStep, ...]:
    if not pairs.seeds:
        return ()
    value_2S = _side_values(campaign, pairs, sides)
    scale = Scale(campaign.judged)
    scores = value_2S if not scale.is_ratio else np.exp(value_2S / LOG_SCALE)
    is_share = pairs.rests_on == "items" and all(score.is_share for side in sides for score in side.values())
    return tuple(
        SeedStep(
            seed=seed,
            experiment_score=float(ours),
            reference_score=float(theirs),
            delta_points=float(delta),
            counts=_count(pairs, place, (ours, theirs)) if is_share and not scale.is_ratio else None,
        )
        for place, (seed, ours, theirs, delta) in enumerate(
            zip(pairs.seeds, *scores, pairs.delta_points_by_seed, strict=True)
        )
    )


def _side_values(campaign: Campaign, pairs: PairedDifferences, sides: tuple[Scores, Scores]) -> Floats:
    """Return the value of both sides at each seed [2, S], over the items of the pair, on the scale of the judgement."""
    metric, scale = campaign.judged, Scale(campaign.judged)
    if pairs.rests_on != "seeds":
        joined = join_items(items_of(sides[0]), items_of(sides[1]), judged_measure(metric))
        value_2S: Floats = pairs.scale * joined.value_2SU.mean(axis=2)
        return value_2S
    # Without common items the runs' own numbers are all there is.
    return np.array([[scale.value(side[seed].value) for seed in pairs.seeds] for side in sides])


def _count(pairs: PairedDifferences, place: int, scores: tuple[float, float]) -> CountStep:
    """Count the items of a seed; they are the items of the estimate, so that they give the same difference."""
    ours, theirs = (round(score * pairs.num_items / SHARE_STEP) for score in scores)
    difference_B = pairs.difference_SB[place]
    return CountStep(
        experiment_right=ours,
        reference_right=theirs,
        # The values are 0 or 100 but for the rounding of the arithmetic.
        experiment_alone=int((difference_B > SHARE_STEP / 2).sum()),
        reference_alone=int((difference_B < -SHARE_STEP / 2).sum()),
    )


def _with_error(
    steps: Arithmetic, plan: Plan, records: Records, judgements: Judgements, pairs: PairedDifferences
) -> Arithmetic:
    metric = plan.campaign.judged
    # Both are of the whole campaign: pooling uses every arm, also for one verdict.
    own, spreads = arm_spreads(*score_table(plan, records, metric)), pooled_spreads(plan, records, metric)
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
        strata=split_strata(pairs),
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
        score_of=replicate_scores(plan, records, plan.campaign.judged),
        deviation_points=spread.variance_points2**0.5,
        degrees_of_freedom=spread.degrees_of_freedom,
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
    metric, margin = plan.campaign.judged.name, Scale(plan.campaign.judged).margin_points
    equivalence_p = equivalence_p_value(estimate, margin)
    assert delta is not None
    assert error is not None
    assert p_value is not None
    assert equivalence_p is not None
    # The rank is among the family's distinct comparisons, since mirror images count once.
    family = judgements[experiment].family
    of_family = {name: found for name, found in judgements.items() if found.family == family}
    # Every judged metric of an experiment is a comparison of its family.
    tested = {(name, metric): found.p_value for name, found in of_family.items()} | {
        (name, other.metric): other.p_value
        for name, found in of_family.items()
        for other in found.others
        if other.role == "judged"
    }
    p_of = {test: p_value for test, p_value in tested.items() if p_value is not None}
    distinct, own = distinct_p_values(plan, p_of), (comparison(plan, experiment), metric)
    return SignificanceStep(
        t=delta / error,
        p_value=p_value,
        correction=plan.campaign.judging.correction,
        family=family or "",
        rank=1 + sum(other < distinct[own] for other in distinct.values()),
        num_compared=len(distinct),
        adjusted_p_value=adjust(plan, p_of)[own],
        margin_points=margin,
        equivalence_t=(margin - abs(delta)) / error,
        equivalence_p_value=equivalence_p,
    )
