"""Works a verdict out again from the runs' scores, step by step, for a reader with a pocket calculator. Pure.

`judge` uses the same functions for the whole campaign at once. So every number here is exactly the one that the verdict
rests on. `report.steps` puts the steps into words.
"""

import math
from collections.abc import Mapping

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.record import Records
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta, t_quantile
from orchestrator.stats.item_pairs import join_items
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.pool import Pool
from orchestrator.stats.spread import Spread
from orchestrator.stats.strata import split_strata
from orchestrator.stats.variance import seed_spread, sparse_variance
from orchestrator.verdicts.arithmetic import (
    Arithmetic,
    CountStep,
    ErrorStep,
    LookStep,
    OtherStep,
    PoolStep,
    ReplicateStep,
    SeedStep,
    SignificanceStep,
    SpreadStep,
    WeightStep,
)
from orchestrator.verdicts.comparisons import (
    MIN_SEEDS,
    SHARE_STEP,
    Evidence,
    Scores,
    comparison,
    configuration,
    items_of,
    judged_measure,
    pair_arms,
    pair_scores,
    replicate_scores,
    side_variances,
    spread_between,
)
from orchestrator.verdicts.family import adjust, distinct_p_values
from orchestrator.verdicts.judge import compare_all, gather_all
from orchestrator.verdicts.judgement import ONLY_LOOK, Judgement, Judgements
from orchestrator.verdicts.scale import LOG_SCALE, Scale

Floats = NDArray[np.float64]


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
        plan = _at_look(plan, judgement)
    # Every step is of the whole campaign: pooling and correction use every arm, also for one verdict.
    all_evidence = gather_all(plan, records)
    evidence = all_evidence[plan.campaign.judged.name]
    pairs, sides = _join(evidence, experiment)
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
        seeds=_seed_steps(evidence, pairs, sides),
        # The weights of seeds that one side lacks are those of the look, from all its runs.
        delta_points=judgement.delta_points if is_staged else _mean_points(pairs),
        extra_seeds=judgement.extra_seeds,
        collapsed={name: seeds for name in (experiment, arm.reference) if name and (seeds := evidence.collapsed(name))},
        at_look=_look_step(judgement) if is_staged else None,
        others=_other_steps(plan.campaign, judgement),
    )
    if is_staged:
        return structs.replace(steps, dropped_seeds=judgement.dropped_seeds)
    if pairs.num_seeds < MIN_SEEDS:
        return steps
    steps = _with_error(steps, evidence, pairs, records)
    # Shuffled labels are held against chance, so they are in no family.
    if arm.control == "shuffled_labels":
        return steps
    return structs.replace(steps, tests=_test_step(all_evidence, judgements, experiment))


def _at_look(plan: Plan, judgement: Judgement) -> Plan:
    """Return the plan with the seeds of a verdict: a look judges only the runs that it asked for."""
    seeds = judgement.seeds + judgement.extra_seeds
    return structs.replace(plan, campaign=structs.replace(plan.campaign, seeds=seeds))


def _mean_points(pairs: PairedDifferences) -> float | None:
    return float(pairs.delta_points_by_seed.mean()) if pairs.num_seeds else None


def _other_steps(campaign: Campaign, judgement: Judgement) -> tuple[OtherStep, ...]:
    return tuple(OtherStep(metric=campaign.metrics[found.metric], found=found) for found in judgement.others)


def _look_step(judgement: Judgement) -> LookStep | None:
    if judgement.error_points is None:
        return None
    values = {name: getattr(judgement, name) for name in LookStep.__struct_fields__ if name != "num_seeds"}
    return LookStep(num_seeds=judgement.look_seeds or len(judgement.seeds), **values)


def _join(evidence: Evidence, experiment: str) -> tuple[PairedDifferences, tuple[Scores, Scores]]:
    reference = evidence.plan.arms[experiment].reference
    if reference is None:
        return pair_scores(evidence.plan.campaign, evidence.metric, {}, {}), ({}, {})
    sides = (evidence.scores[experiment], evidence.scores[reference])
    return pair_arms(evidence, experiment, reference), sides


def _seed_steps(evidence: Evidence, pairs: PairedDifferences, sides: tuple[Scores, Scores]) -> tuple[SeedStep, ...]:
    if not pairs.seeds:
        return ()
    ours, theirs = _side_values(evidence, pairs, sides)
    scale = Scale(evidence.metric)
    is_share = pairs.rests_on == "items" and all(score.is_share for side in sides for score in side.values())
    delta_of = zip(pairs.seeds, pairs.at_seed_points or pairs.delta_points_by_seed.tolist(), strict=True)
    return tuple(
        SeedStep(
            seed=seed,
            experiment_score=_in_unit(scale, ours[seed]),
            reference_score=_in_unit(scale, theirs[seed]),
            delta_points=float(delta),
            counts=_count(ours[seed], theirs[seed]) if is_share and not scale.is_ratio else None,
        )
        for seed, delta in delta_of
    )


def _in_unit(scale: Scale, values_U: Floats) -> float:
    """Return the mean of one number a unit in the metric's unit."""
    mean = float(values_U.mean())
    return math.exp(mean / LOG_SCALE) if scale.is_ratio else mean


def _side_values(
    evidence: Evidence, pairs: PairedDifferences, sides: tuple[Scores, Scores]
) -> tuple[Mapping[int, Floats], Mapping[int, Floats]]:
    """Return seed -> one number a unit of both sides, over the items of the pair, on the scale of the judgement."""
    scale = Scale(evidence.metric)
    if pairs.rests_on == "seeds":
        # Without common items the runs' own numbers are all there is.
        first, second = ({seed: np.array([scale.value(score.value)]) for seed, score in side.items()} for side in sides)
        return first, second
    seeds = {*pairs.seeds, *(pairs.weights.extra if pairs.weights else ())}
    ours, theirs = ({seed: score for seed, score in side.items() if seed in seeds} for side in sides)
    joined = join_items(items_of(ours), items_of(theirs), judged_measure(evidence.metric))
    factor = pairs.scale
    return (
        {seed: factor * values_U for seed, values_U in joined.experiment.items()},
        {seed: factor * values_U for seed, values_U in joined.reference.items()},
    )


def _count(ours_B: Floats, theirs_B: Floats) -> CountStep:
    """Count the items of a seed; they are the items of the estimate, so that they give the same difference."""
    # The values are 0 or 100 but for the rounding of the arithmetic.
    ours, theirs = ours_B > SHARE_STEP / 2, theirs_B > SHARE_STEP / 2
    return CountStep(
        experiment_right=int(ours.sum()),
        reference_right=int(theirs.sum()),
        experiment_alone=int((ours & ~theirs).sum()),
        reference_alone=int((theirs & ~ours).sum()),
    )


def _with_error(steps: Arithmetic, evidence: Evidence, pairs: PairedDifferences, records: Records) -> Arithmetic:
    names = (steps.experiment, steps.reference or BASELINE)
    spread = spread_between(evidence, *names, pairs)
    is_pooled = spread is not None and steps.control is None
    estimate = estimate_delta(pairs, spread, steps.level)
    return structs.replace(
        steps,
        own_spread_points=float(np.std(list(estimate.delta_points_of.values()), ddof=1)),
        pool=_describe_pool(evidence.pool) if is_pooled else None,
        spreads=tuple(_spread_step(evidence, side) for side in names) if is_pooled else (),
        replicates=_replicate_step(evidence, records) if steps.control == "aa" else None,
        weights=_weight_step(evidence, names, pairs),
        strata=split_strata(pairs),
        is_sparse=sparse_variance(pairs) > 0,
        error=_error_step(estimate, spread or seed_spread(pairs)),
    )


def _weight_step(evidence: Evidence, names: tuple[str, str], pairs: PairedDifferences) -> WeightStep | None:
    weights, variances = pairs.weights, side_variances(evidence, *names)
    if weights is None or variances is None:
        return None
    sides = dict(zip(names, (weights.experiment, weights.reference), strict=True))
    seeds = weights.experiment.keys() | weights.reference.keys()
    scores = (evidence.scores[names[0]], evidence.scores[names[1]])
    values = dict(zip(names, _side_values(evidence, pairs, scores), strict=True))
    scale = Scale(evidence.metric)
    return WeightStep(
        extra={
            name: {seed: _in_unit(scale, values[name][seed]) for seed in side if seed not in pairs.seeds}
            for name, side in sides.items()
        },
        common_share={name: sum(side[seed] for seed in pairs.seeds) for name, side in sides.items()},
        squares={name: sum(weight**2 for weight in side.values()) for name, side in sides.items()},
        apart=sum((weights.experiment.get(seed, 0.0) - weights.reference.get(seed, 0.0)) ** 2 for seed in seeds),
        common_points=variances.common_points2**0.5,
    )


def _describe_pool(pool: Pool) -> PoolStep | None:
    if pool.prior is None:
        return None
    return PoolStep(
        num_arms=len(pool.own) - len(pool.outliers),
        deviation_points=pool.prior.variance_points2**0.5,
        degrees_of_freedom=pool.prior.degrees_of_freedom,
        outliers=pool.outliers,
    )


def _spread_step(evidence: Evidence, side: str) -> SpreadStep:
    arm, pool = configuration(evidence.plan, side), evidence.pool
    # An arm with one run has no spread of its own.
    own = pool.own.get(arm, Spread(0.0, 0.0))
    return SpreadStep(
        side=side,
        arm=arm,
        own_points=own.variance_points2**0.5,
        own_degrees_of_freedom=own.degrees_of_freedom,
        pooled_points=pool.spreads[arm].variance_points2 ** 0.5,
        pooled_degrees_of_freedom=pool.spreads[arm].degrees_of_freedom,
        # An outlier keeps its own spread, which has a sentence already.
        prior_share=1.0 if arm in pool.outliers else pool.shares.get(arm, 1.0),
    )


def _replicate_step(evidence: Evidence, records: Records) -> ReplicateStep | None:
    spread = evidence.replicates
    if spread is None:
        return None
    return ReplicateStep(
        score_of=replicate_scores(evidence.plan, records, evidence.metric),
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


def _test_step(evidence: Mapping[str, Evidence], judgements: Judgements, experiment: str) -> SignificanceStep:
    plan = next(iter(evidence.values())).plan
    metric, margin = plan.campaign.judged.name, Scale(plan.campaign.judged).margin_points
    tested = compare_all(plan, evidence, ONLY_LOOK)
    estimate = tested[experiment, metric].estimate
    delta, error, p_value = estimate.delta_points, estimate.error_points, estimate.p_value
    equivalence_p = equivalence_p_value(estimate, margin)
    assert delta is not None
    assert error is not None
    assert p_value is not None
    assert equivalence_p is not None
    # Every judged metric of an experiment is a comparison of its family.
    family = judgements[experiment].family
    judged = {name for name, spec in plan.campaign.metrics.items() if spec.role == "judged"}
    p_of = {
        test: found.estimate.p_value
        for test, found in tested.items()
        if judgements[test[0]].family == family and test[1] in judged and found.estimate.p_value is not None
        if plan.arms[test[0]].control != "shuffled_labels"
    }
    contrasts = {test: contrast for test in p_of if (contrast := tested[test].contrast) is not None}
    # The rank is among the family's distinct comparisons, since mirror images count once.
    distinct, own = distinct_p_values(plan, p_of), (comparison(plan, experiment), metric)
    return SignificanceStep(
        t=delta / error,
        p_value=p_value,
        correction=plan.campaign.judging.correction,
        family=family or "",
        rank=1 + sum(other < distinct[own] for other in distinct.values()),
        num_compared=len(distinct),
        adjusted_p_value=adjust(plan, p_of, contrasts)[own],
        margin_points=margin,
        equivalence_t=(margin - abs(delta)) / error,
        equivalence_p_value=equivalence_p,
    )
