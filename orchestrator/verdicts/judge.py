"""What the campaign concludes about each experiment. Pure: a plan and its records in, judgements out.

The first rule that fits gives the verdict. The level is `judging.level` (0.05).

1. A guard stopped runs as too slow, and no seed is done: `too_slow`, with the guard's reason. If a seed is done, it
   contradicts the guard, so the slow seed is left out and the reason says so. Every run failed: `failed`. No run has
   ended: `pending`.
2. Fewer than two seeds have a score on both sides: `needs_seeds`, however large the difference is.
3. Two one-sided tests at the level put the difference inside the margin: `no_change`. With 0.05, the 90 % interval lies
   inside the margin. This rule comes before the sign on purpose. With a margin of 1.0, an interval of +0.2 to +0.6 is a
   real difference that does not matter. The test is not corrected for many experiments. A change as large as the margin
   is called no_change at most 5 % of the time.
   A seed that failed by the experiment's own doing (diverged, not finite, out of memory) bars `no_change` and
   `improved`. The seeds that are left are the lucky ones. A regression may still be told. A failure on either side is
   marked fragile.
4. The difference is significant among all comparisons of its family (`judging.family`): `improved` or `regression`. The
   p-value is adjusted as `judging.correction` says, since one of twenty null comparisons is below 0.05 by chance.
5. Otherwise: `inconclusive`, with what a verdict would take.

Example: 44 comparisons, Holm's correction, a margin of 1.0 point.

- +3.0 points, p = 0.0005, the smallest of all: 44 x 0.0005 = 0.022 is below 0.05, so it is `improved`.
- +3.0 points, p = 0.004, the second smallest: 43 x 0.004 = 0.17 is not, so it is `inconclusive`.
- +0.3 points, 90 % interval -0.2 to +0.8: inside +-1.0, so it is `no_change`.

A metric whose lower values are better is judged by its gain, which is the difference with the sign turned. A campaign
may judge several metrics: each test of an experiment by a metric counts as one comparison of its family. A metric that
must be no worse is tested one-sided against its margin, at the level; an improvement that fails it is no keeper.

For every verdict, the runs that it rests on are compared with their reference's. What differs beyond the declared
change is a confound. It is marked beside the verdict and in its reason.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.campaign.fields import BASELINE, CONTROLS
from orchestrator.campaign.plan import Plan
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.correlation import Contrast
from orchestrator.stats.dependence import Dependence
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta, not_worse_p_value
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.verdicts.comparisons import (
    MIN_SEEDS,
    Evidence,
    Runs,
    Test,
    adjust,
    comparison,
    contrast_of,
    gather,
    holds_other_items,
    pair_arms,
    runs_by_seed,
    scores_by_seed,
    scores_of,
    spread_between,
)
from orchestrator.verdicts.conclude import Case, conclude, describe_fragile
from orchestrator.verdicts.confounds import find_confounds
from orchestrator.verdicts.effects import DEPENDENCE_LEVEL, MIN_CLUSTERS, item_dependence
from orchestrator.verdicts.judgement import ONLY_LOOK, AtLook, Judgement, MetricJudgement, Verdict
from orchestrator.verdicts.scale import Scale


class Tested(Struct, frozen=True):
    """One comparison by one metric: its estimate, and how it moves with others."""

    estimate: Estimate
    contrast: Contrast | None = None
    """None without an error."""


class _Judged(Struct, frozen=True):
    """The numbers that all verdicts of one moment are made from."""

    plan: Plan
    at: AtLook
    runs: dict[str, Runs]
    evidence: dict[str, Evidence]
    """Metric -> its scores, of each metric that is judged or shown."""
    tested: dict[Test, Tested]
    adjusted: dict[Test, float]
    compared: dict[str | None, int]
    """Family -> its number of comparisons."""
    dependence: Dependence | None
    """The campaign's one test of whether neighbouring items are alike."""


def judge(plan: Plan, records: Mapping[str, RunRecord], at: AtLook = ONLY_LOOK) -> dict[str, Judgement]:
    """Judge every experiment of a plan by the campaign's metrics; the first judged one is the main one.

    Args:
        plan: arms that are the same configuration share runs.
        records: run id -> what the run left; a run without a record has not started.
        at: the part of the level that this look spends. In a campaign with looks, all comparisons of a family count,
            also those without a p-value yet.
    """
    evidence = gather_all(plan, records, at)
    tested = compare_all(plan, evidence, at)
    runs = {name: at.given_runs(name, runs_by_seed(plan, records, name)) for name in plan.arms}
    known = _Judged(plan, at, runs, evidence, tested, *_adjust(plan, tested, at), item_dependence(plan, runs))
    return {name: _judge_arm(known, name) for name in plan.arms}


def estimate_at(
    plan: Plan, records: Mapping[str, RunRecord], experiment: str, seeds: Iterable[int], level: float
) -> Estimate:
    """Estimate the difference by the main metric at some seeds alone; the spread over seeds is pooled over all records.

    Args:
        plan: the arms; those without a pooled spread use their own seeds alone.
        records: run id -> what the run left.
        experiment: an arm with a reference.
        seeds: of the difference.
        level: one minus the coverage of the interval.
    """
    evidence, wanted = gather(plan, records, plan.campaign.judged), set(seeds)
    at_seeds = {
        name: {seed: score for seed, score in of.items() if seed in wanted} for name, of in evidence.scores.items()
    }
    evidence = dataclasses.replace(evidence, scores=at_seeds)
    reference = plan.arms[experiment].reference or BASELINE
    pairs = pair_arms(evidence, experiment, reference)
    spread = spread_between(evidence, experiment, reference, pairs) if pairs.num_seeds >= MIN_SEEDS else None
    return estimate_delta(pairs, spread, level)


def gather_all(plan: Plan, records: Mapping[str, RunRecord], at: AtLook = ONLY_LOOK) -> dict[str, Evidence]:
    """Gather the scores by each metric that is judged or shown."""
    # What a search may look at is no evidence.
    metrics = [metric for metric in plan.campaign.metrics.values() if metric.role != "choose"]
    return {metric.name: gather(plan, records, metric, at.min_seeds) for metric in metrics}


def compare_all(plan: Plan, evidence: Mapping[str, Evidence], at: AtLook) -> dict[Test, Tested]:
    """Estimate each experiment's difference to its reference by each metric."""
    return {
        (name, metric): _test(of_metric, name, arm.reference, at)
        for metric, of_metric in evidence.items()
        for name, arm in plan.arms.items()
        if arm.reference is not None
    }


def _test(evidence: Evidence, experiment: str, reference: str, at: AtLook) -> Tested:
    level = evidence.plan.campaign.judging.level * at.share
    pairs = pair_arms(evidence, experiment, reference)
    enough = pairs.num_seeds >= at.min_seeds
    spread = spread_between(evidence, experiment, reference, pairs) if enough else None
    estimate = estimate_delta(pairs, spread, level)
    if estimate.error_points is None:
        return Tested(estimate)
    return Tested(estimate, contrast_of(evidence, (experiment, evidence.metric.name), pairs, estimate))


def _family_of(plan: Plan, experiment: str) -> str | None:
    arm = plan.arms[experiment]
    if arm.reference is None:
        return None
    if arm.control:
        # Whatever `judging.family` is: a control must not make an idea harder to find.
        return CONTROLS
    return "campaign" if plan.campaign.judging.family == "campaign" else arm.group


def family_size(judgements: Mapping[str, Judgement]) -> int:
    """Return the number of comparisons in the campaign's family, also if a report shows only some of them."""
    return max((found.num_compared or 0 for found in judgements.values() if found.family == "campaign"), default=0)


def _adjust(
    plan: Plan, all_tested: Mapping[Test, Tested], at: AtLook
) -> tuple[dict[Test, float], dict[str | None, int]]:
    """Adjust the p-values within each family; also return how many comparisons each family has."""
    adjusted: dict[Test, float] = {}
    compared: dict[str | None, int] = {}
    # Shuffled labels are compared with chance, so they must not make the correction of other controls harsher.
    tested = {
        (name, metric): found
        for (name, metric), found in all_tested.items()
        if plan.arms[name].control != "shuffled_labels" and plan.campaign.metrics[metric].role == "judged"
    }
    for family in dict.fromkeys(_family_of(plan, name) for name, _ in tested):
        p_of = {
            test: p_value
            for test, found in tested.items()
            if _family_of(plan, test[0]) == family
            and (p_value := _spend(plan, at, test, found.estimate.p_value)) is not None
        }
        contrasts = {test: contrast for test in p_of if (contrast := tested[test].contrast) is not None}
        adjusted_of = adjust(plan, p_of, contrasts)
        adjusted |= {(name, metric): adjusted_of[comparison(plan, name), metric] for name, metric in p_of}
        compared[family] = len(adjusted_of)
    return adjusted, compared


def _spend(plan: Plan, at: AtLook, test: Test, p_value: float | None) -> float | None:
    """Return a p-value over the share of the look; looks decide by the main metric alone."""
    experiment, metric = test
    if metric == plan.campaign.judged.name or at.decided_p is None:
        return at.spend(experiment, p_value)
    return 1.0 if p_value is None else min(1.0, p_value / at.share)


def _case(known: _Judged, experiment: str, metric: MetricSpec) -> Case:
    plan, arm, at = known.plan, known.plan.arms[experiment], known.at
    runs, reference_runs = known.runs[experiment], known.runs[arm.reference] if arm.reference else {}
    found = known.tested.get((experiment, metric.name))
    estimate = found.estimate if found else Estimate()
    # The margin is two-sided, so no direction is needed here.
    equivalence = equivalence_p_value(estimate, Scale(metric).margin_points)
    sides = (scores_of(runs, metric.name), scores_of(reference_runs, metric.name))
    return Case(
        arm=arm,
        metric=metric,
        labels=plan.campaign.labels,
        runs=runs,
        reference_runs=reference_runs,
        estimate=estimate,
        adjusted_p_value=known.adjusted.get((experiment, metric.name)),
        equivalence_p_value=None if equivalence is None else min(1.0, equivalence / at.equivalence_share),
        family=_family_of(plan, experiment),
        num_compared=known.compared.get(_family_of(plan, experiment), 0),
        judging=plan.campaign.judging,
        equivalence_level=plan.campaign.judging.level * at.equivalence_share,
        min_seeds=at.min_seeds,
        holds_other_items=not estimate.seeds and holds_other_items(plan.campaign, metric, *sides),
    )


def _judge_arm(known: _Judged, experiment: str) -> Judgement:
    plan = known.plan
    case = _case(known, experiment, plan.campaign.judged)
    verdict, reason = conclude(case)
    confounds = _find_confounds(plan, case, verdict)
    score_of = scores_by_seed(case.runs, case.metric.name)
    collapsed = known.evidence[case.metric.name].collapsed(experiment)
    others = _judge_others(known, experiment)
    # The first failure names the class, since seeds of one change mostly fail alike.
    failures = [result.failure for run in case.runs.values() if (result := _result(run)) and result.failure]
    failed = [other.metric for other in others if other.passes is False] if verdict is Verdict.IMPROVED else []
    return Judgement(
        **structs.asdict(case.estimate),
        experiment=case.arm.id,
        reference=case.arm.reference,
        verdict=verdict,
        reason=f"{reason}{_describe_failed(failed)}{_describe_confounds(confounds)}",
        confounds=confounds,
        warnings=_warnings(case, known.dependence),
        fragile=describe_fragile(case),
        others=others,
        failure=failures[0] if failures and verdict is Verdict.FAILED else None,
        score=_mean(_without(score_of, collapsed)),
        score_of=score_of,
        collapsed_seeds=collapsed,
        baseline_delta_points=_baseline_delta(known, case),
        adjusted_p_value=case.adjusted_p_value,
        equivalence_p_value=case.equivalence_p_value,
        family=case.family,
        num_compared=case.num_compared if case.family else None,
    )


def _judge_others(known: _Judged, experiment: str) -> tuple[MetricJudgement, ...]:
    """Judge an experiment by the metrics beside the main one; none for the baseline."""
    main = known.plan.campaign.judged
    metrics = [metric for metric in known.plan.campaign.metrics.values() if metric.role != "choose" and metric != main]
    if known.plan.arms[experiment].reference is None:
        return ()
    return tuple(_judge_other(known, _case(known, experiment, metric)) for metric in metrics)


def _judge_other(known: _Judged, case: Case) -> MetricJudgement:
    metric, scale = case.metric, case.scale
    verdict, reason = conclude(case) if metric.role == "judged" else (None, "")
    # One-sided: being better by more than the margin is no fault.
    not_worse = None
    if metric.role == "no_worse":
        not_worse = not_worse_p_value(case.estimate, scale.sign, scale.margin_points)
    # A look spends its share, since an improvement may be found at any of them.
    level = case.judging.level * known.at.share
    return MetricJudgement(
        **structs.asdict(case.estimate),
        metric=metric.name,
        role=metric.role,
        score=_mean(scores_by_seed(case.runs, metric.name)),
        verdict=verdict,
        reason=reason,
        adjusted_p_value=case.adjusted_p_value,
        equivalence_p_value=case.equivalence_p_value if metric.role == "judged" else None,
        not_worse_p_value=not_worse,
        passes=(not_worse is not None and not_worse < level) if metric.role == "no_worse" else None,
    )


def _warnings(case: Case, dependence: Dependence | None) -> tuple[str, ...]:
    """Say what a reader must know of the evidence: few clusters, or items that are not independent."""
    estimate, labels = case.estimate, case.labels
    if estimate.rests_on == "clusters" and 0 < estimate.num_items < MIN_CLUSTERS:
        few = wording.counted(estimate.num_items, labels.cluster)
        return (f"it rests on {few}, and fewer than {MIN_CLUSTERS} show their own spread poorly",)
    is_seen = dependence is not None and dependence.p_value < DEPENDENCE_LEVEL
    if estimate.rests_on != "items" or not estimate.seeds or dependence is None or not is_seen:
        return ()
    return (
        f"neighbouring {labels.item}s are alike (correlation {dependence.correlation:.2f}, p = "
        f"{dependence.p_value:.3f}), so the interval may be too narrow and the verdict false; name the "
        f"{labels.cluster} of each {labels.item} (`cluster` of its table, `sessions` of its capture)",
    )


def _result(run: RunRecord | None) -> Result | None:
    return run.result if run else None


def _find_confounds(plan: Plan, case: Case, verdict: Verdict | None) -> tuple[str, ...]:
    """Compare the runs that the verdict rests on: all that ended after a stop, otherwise the scored pairs."""
    if case.arm.reference is None:
        return ()
    # A stop rests on runs without scores, so those are compared as well.
    seeds = case.runs if verdict is not None and verdict.is_stop else case.estimate.seeds
    sides = ((seed, case.runs[seed], case.reference_runs[seed]) for seed in seeds)
    pairs = {seed: (run, other) for seed, run, other in sides if run and run.result and other and other.result}
    return find_confounds(case.arm, plan.arms[case.arm.reference], pairs)


def _describe_confounds(confounds: Iterable[str]) -> str:
    # The reason names topics only; the sentences stand below the verdict.
    topics = dict.fromkeys(sentence.partition(":")[0] for sentence in confounds)
    return f"; confounded: more than the declared change differs ({wording.listed(topics)})" if topics else ""


def _describe_failed(metrics: Iterable[str]) -> str:
    names = [f"`{name}`" for name in metrics]
    return f"; no keeper: {wording.listed(names)} is not shown to be no worse than its margin" if names else ""


def _without(values: Mapping[int, float], seeds: Collection[int]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if seed not in seeds}


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _baseline_delta(known: _Judged, case: Case) -> float | None:
    if case.arm.reference is None:
        return None
    pairs = pair_arms(known.evidence[case.metric.name], case.arm.id, BASELINE)
    return estimate_delta(pairs, None).delta_points
