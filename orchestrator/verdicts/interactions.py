"""Whether the effects of two experiments add up: the statistics of a 2 x 2. Pure.

Axes: S seeds at which all four arms were scored, B items of one split that all of their runs were scored on.

The four arms have one base: neither change, the first, the second, both. Additivity is judged by the contrast

    both - first - second + neither

of the metric at each seed and item. So everything that a seed or an item does to all four arms cancels.
The mean of the contrast is delta(both) - delta(first) - delta(second), each delta against the base. Its error is
estimated as for any difference.

Example: the base has 80 %, the first change 83 %, the second 82 %, both 84 %. The effects are +3, +2 and +4 points. The
contrast is 4 - 3 - 2 = -1: both together do less than their sum.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from functools import reduce

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign, StagingSpec
from orchestrator.runs.record import Records
from orchestrator.runs.scores import Score
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.spread import Spread, difference_spread
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.verdicts.comparisons import (
    MIN_SEEDS,
    Evidence,
    Scores,
    configuration,
    gather,
    pair_scores,
    resampled_of,
    runs_by_seed,
)
from orchestrator.verdicts.conclude import failed_seeds
from orchestrator.verdicts.judgement import Judgement, Verdict
from orchestrator.verdicts.scale import Scale


class Additivity(StrEnum):
    """What is concluded about two effects."""

    ADDITIVE = "additive"
    """Both together equal the sum of each, within the margin."""
    SYNERGY = "synergy"
    """Both together do more than the sum of each."""
    ANTAGONISM = "antagonism"
    """Both together do less than the sum of each."""
    INCONCLUSIVE = "inconclusive"
    NEEDS_SEEDS = "needs_seeds"
    WAITS = "waits"
    """The campaign has looks, and one of the four arms is undecided; the numbers are from the last look."""


class InteractionJudgement(Struct, frozen=True, kw_only=True):
    """A pair's effects, on the seeds and items that the four arms have in common; None means "cannot be computed"."""

    interaction: Interaction
    first_points: float | None
    """The effect of the first on the base, on the scale of the main metric."""
    second_points: float | None
    both_points: float | None
    contrast: Estimate
    """`delta_points` is `both_points` less the other two."""
    adjusted_p_value: float | None
    """Among the campaign's interactions, as `judging.correction` says."""
    equivalence_p_value: float | None
    """P-value of the two one-sided tests against a contrast as large as the margin; not adjusted."""
    verdict: Additivity


def judge_interactions(plan: Plan, records: Records, judgements: Mapping[str, Judgement]) -> list[InteractionJudgement]:
    """Judge whether effects add up, for every pair whose four arms are in the plan.

    In a campaign with looks, a pair has a verdict once all four arms are decided or have had all their seeds. The
    verdict rests on the runs asked for up to the last look that one of them had. So no later run takes it back. Its
    p-values are multiplied by the number of looks, because the verdicts on the arms choose the look.

    Args:
        plan: the plan of the judgements.
        records: run id -> what the run left.
        judgements: of the arms.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    staging = plan.campaign.staging
    # Spreads are pooled over the whole campaign: once for each set of runs, and not once for each pair.
    last_look = {pair: _last_look(judgements, pair) if staging else None for pair in plan.interactions}
    runs_at = {last: _asked_runs(plan, records, judgements, last) for last in dict.fromkeys(last_look.values())}
    evidence_at = {last: gather(plan, runs, plan.campaign.judged) for last, runs in runs_at.items()}
    arms_of = {pair: _four_arms(evidence_at[last], pair) for pair, last in last_look.items()}
    waiting = [
        pair for pair in arms_of if staging and not all(_is_finished(judgements, cell, staging) for cell in pair.cells)
    ]
    failing = [pair for pair in arms_of if any(_has_failed(plan, records, cell) for cell in pair.cells)]
    return judge_pairs(plan.campaign, arms_of, waiting, failing)


def _has_failed(plan: Plan, records: Records, name: str) -> bool:
    return bool(failed_seeds(runs_by_seed(plan, records, name)))


def _last_look(judgements: Mapping[str, Judgement], pair: Interaction) -> int:
    """Return the number of seeds at the last look that one of a pair's arms had."""
    return max(judgements[cell].look_seeds or 0 for cell in pair.cells)


def _is_finished(judgements: Mapping[str, Judgement], name: str, staging: StagingSpec) -> bool:
    """Whether this arm gets no more seeds. The baseline has none of its own: it runs only as a reference."""
    found = judgements[name]
    if found.reference is None or found.look_seeds == staging.max_seeds:
        return True
    if found.look_seeds is None:
        return False
    verdicts = (found.verdict, judgements[found.reference].verdict)
    stopped = any(verdict is not None and verdict.is_stop for verdict in verdicts)
    return stopped or found.verdict in (Verdict.IMPROVED, Verdict.REGRESSION, Verdict.NO_CHANGE)


def _asked_runs(plan: Plan, records: Records, judgements: Mapping[str, Judgement], last_look: int | None) -> Records:
    """Return the runs that the looks asked for, up to a look at so many seeds; all runs if there are no looks."""
    if last_look is None:
        return records
    given: dict[str, int] = {}
    for name, found in judgements.items():
        for side in (name, found.reference or name):
            given[side] = max(given.get(side, 0), found.look_seeds or 0)
    kept = {run for (name, seed), run in plan.run_of.items() if seed < min(given.get(name, 0), last_look)}
    return {run: record for run, record in records.items() if run in kept}


class FourArms(Struct, frozen=True, kw_only=True):
    """The scores of a 2 x 2 by one metric."""

    neither: Scores
    first: Scores
    second: Scores
    both: Scores
    spreads: tuple[Spread, ...] = ()
    """The pooled spread of each arm, in this order; empty if one has none, and the contrast uses its own seeds then."""

    @property
    def sides(self) -> tuple[Scores, Scores, Scores, Scores]:
        """All four."""
        return self.neither, self.first, self.second, self.both


def _four_arms(evidence: Evidence, pair: Interaction) -> FourArms:
    neither, first, second, both = (evidence.scores[cell] for cell in pair.cells)
    pooled = evidence.pool.spreads
    # Four spreads or none: with one missing, the contrast uses its own seeds.
    known = [pooled[name] for cell in pair.cells if (name := configuration(evidence.plan, cell)) in pooled]
    spreads = tuple(known) if len(known) == len(pair.cells) else ()
    return FourArms(neither=neither, first=first, second=second, both=both, spreads=spreads)


class Effects(Struct, frozen=True, kw_only=True):
    """The differences to the base, and the contrast between both together and the sum of each."""

    first: PairedDifferences
    second: PairedDifferences
    both: PairedDifferences
    contrast: PairedDifferences


def pair_cells(campaign: Campaign, metric: MetricSpec, arms: FourArms) -> Effects:
    """Join four arms on seed and item. What one arm lacks is dropped and counted, never filled in.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    # A seed without one of the four arms has no contrast.
    seeds = set.intersection(*(set(side) for side in arms.sides))
    dropped_seeds = set.union(*(set(side) for side in arms.sides)) - seeds
    # Each seed that draws its own items is a pool by itself; otherwise all seeds share their items.
    pools = [{seed} for seed in seeds] if resampled_of(campaign, metric) else [seeds]
    common = {seed: keys_B for pool in pools for seed, keys_B in _common_keys(arms, pool).items()}
    seen = {
        key for side in arms.sides for seed in seeds if (items := side[seed].items) for key in items.keys_B.tolist()
    }
    # Counted once, however many runs hold the item.
    kept = {key for keys_B in common.values() for key in keys_B.tolist()}
    # All four arms on the same items: only then does the contrast equal both - first - second + neither.
    neither, *others = [{seed: _restrict(side[seed], common[seed]) for seed in seeds} for side in arms.sides]
    first, second, both = [pair_scores(campaign, metric, side, neither) for side in others]
    contrast = dataclasses.replace(
        both,
        difference_SB=both.difference_SB - first.difference_SB - second.difference_SB,
        dropped_seeds=tuple(sorted(dropped_seeds | (seeds - set(both.seeds)))),
        dropped_items=len(seen - kept),
    )
    return Effects(first=first, second=second, both=both, contrast=contrast)


def _common_keys(arms: FourArms, seeds: Collection[int]) -> dict[int, NDArray[np.str_]]:
    """Return the keys that all four arms have at all of some seeds; the same for each of them."""
    keys_RB = [items.keys_B for side in arms.sides for seed in seeds if (items := side[seed].items)]
    common_B = reduce(np.intersect1d, keys_RB) if keys_RB else np.array([], dtype=np.str_)
    return dict.fromkeys(seeds, common_B)


def _restrict(score: Score, keys_B: NDArray[np.str_]) -> Score:
    items = score.items
    if items is None:
        return score
    kept = np.isin(items.keys_B, keys_B)
    clusters = None if items.cluster_B is None else items.cluster_B[kept]
    columns = {name: values_B[kept] for name, values_B in items.columns.items()}
    return dataclasses.replace(score, items=RunItems(items.keys_B[kept], items.stratum_B[kept], clusters, columns))


def contrast_spread(spreads: Sequence[Spread]) -> Spread:
    """Return the spread of the contrast at one seed from those of the four arms, in the order of `FourArms`."""
    neither, first, second, both = spreads
    return difference_spread(difference_spread(both, first), difference_spread(second, neither))


def judge_pairs(
    campaign: Campaign,
    arms_of: Mapping[Interaction, FourArms],
    waiting: Collection[Interaction] = (),
    failing: Collection[Interaction] = (),
) -> list[InteractionJudgement]:
    """Judge every pair of a campaign.

    The first rule that fits gives the verdict:

    1. An arm is undecided: `waits`.
    2. Fewer than two seeds have all four arms scored: `needs_seeds`.
    3. Two one-sided tests put the contrast inside the margin: `additive`, or `inconclusive` where an arm has failed.
    4. The contrast is significant among all interactions: `synergy` or `antagonism`.
    5. Otherwise: `inconclusive`.

    Args:
        campaign: its main metric, level and correction.
        arms_of: each pair with its scores.
        waiting: pairs with an undecided arm. They count as comparisons with p = 1 already, so that their later result
            changes no verdict on another pair.
        failing: pairs with a seed that failed by an arm's own doing. The seeds that are left are the lucky ones.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    judging, scale = campaign.judging, Scale(campaign.judged)
    judged = [_spend(campaign, _estimate(campaign, pair, arms)) for pair, arms in arms_of.items()]
    # A waiting pair counts with p = 1 from the start, so its later p-value cannot change another verdict.
    tested = {
        index: 1.0 if found.interaction in waiting else _over_looks(campaign, found.contrast.p_value)
        for index, found in enumerate(judged)
    }
    p_of = {index: p_value for index, p_value in tested.items() if p_value is not None}
    # Pairs share arms in many ways. Counted as independent, they are on the safe side.
    independent = np.eye(len(p_of))
    adjusted = dict(zip(p_of, ADJUST[judging.correction](list(p_of.values()), independent), strict=True))
    with_p = [structs.replace(found, adjusted_p_value=adjusted.get(index)) for index, found in enumerate(judged)]
    return [
        structs.replace(found, adjusted_p_value=None, verdict=Additivity.WAITS)
        if found.interaction in waiting
        else structs.replace(found, verdict=_bar(_choose_verdict(found, judging.level, scale.sign), found, failing))
        for found in with_p
    ]


def _bar(verdict: Additivity, found: InteractionJudgement, failing: Collection[Interaction]) -> Additivity:
    is_barred = verdict is Additivity.ADDITIVE and found.interaction in failing
    return Additivity.INCONCLUSIVE if is_barred else verdict


def _estimate(campaign: Campaign, pair: Interaction, arms: FourArms) -> InteractionJudgement:
    effects, scale = pair_cells(campaign, campaign.judged, arms), Scale(campaign.judged)
    spread = contrast_spread(arms.spreads) if arms.spreads else None
    contrast = estimate_delta(effects.contrast, spread, campaign.judging.level)
    return InteractionJudgement(
        interaction=pair,
        first_points=_mean_points(effects.first),
        second_points=_mean_points(effects.second),
        both_points=_mean_points(effects.both),
        contrast=contrast,
        adjusted_p_value=None,
        equivalence_p_value=equivalence_p_value(contrast, scale.margin_points),
        verdict=Additivity.NEEDS_SEEDS,
    )


def _spend(campaign: Campaign, found: InteractionJudgement) -> InteractionJudgement:
    return structs.replace(found, equivalence_p_value=_over_looks(campaign, found.equivalence_p_value))


def _over_looks(campaign: Campaign, p_value: float | None) -> float | None:
    """Return a p-value times the number of looks that a contrast may be tested at; it is tested at one of them.

    The verdicts on its four arms choose the look, and they depend on the same runs. Bonferroni keeps the level whatever
    chooses the look.
    """
    looks = campaign.staging.looks if campaign.staging else ()
    num_looks = max(1, sum(number >= MIN_SEEDS for number in looks))
    return None if p_value is None else min(1.0, num_looks * p_value)


def _mean_points(pairs: PairedDifferences) -> float | None:
    return float(pairs.delta_points_by_seed.mean()) if pairs.num_seeds else None


def _choose_verdict(found: InteractionJudgement, level: float, sign: int) -> Additivity:
    delta = found.contrast.delta_points
    if delta is None or found.adjusted_p_value is None or found.equivalence_p_value is None:
        return Additivity.NEEDS_SEEDS
    # As for experiments, the margin comes before the sign: a tiny contrast that is significant does not matter.
    if found.equivalence_p_value < level:
        return Additivity.ADDITIVE
    if found.adjusted_p_value >= level:
        return Additivity.INCONCLUSIVE
    return Additivity.SYNERGY if sign * delta > 0 else Additivity.ANTAGONISM
