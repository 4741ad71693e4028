"""Whether the effects of two experiments add up: the statistics of a 2 x 2. Pure.

Axes: S seeds at which all four arms were scored, B bursts of one capture that all of their runs were scored on.

The four arms have one base: neither change, the first, the second, both. Additivity is judged by the contrast

    both - first - second + neither

of recognised (1) or not (0) at each seed and burst. So everything that a seed or a burst does to all four arms cancels.
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
from orchestrator.campaign.spec import JudgingSpec, StagingSpec
from orchestrator.runs.record import Bursts, Records
from orchestrator.stats.estimate import Estimate, equivalence_p_value, estimate_delta
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import BurstOutcomes, PairedDifferences, pair_outcomes
from orchestrator.stats.variance import Spread, difference_spread
from orchestrator.verdicts.comparisons import configuration, outcomes_by_seed, pooled_spreads, runs_by_seed
from orchestrator.verdicts.judgement import Judgement, Verdict


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
    """A pair's effects, on the seeds and bursts that the four arms have in common; None means "cannot be computed"."""

    interaction: Interaction
    first_points: float | None
    """The effect of the first on the base, in percentage points."""
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
    verdict rests on the runs asked for up to the last look that one of them had. So no later run takes it back.

    Args:
        plan: the plan of the judgements.
        records: run id -> what the run left.
        judgements: of the arms.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    staging = plan.campaign.staging
    # Spreads are pooled over the whole campaign: once for each set of runs, and not once for each pair.
    last_look = {pair: _last_look(judgements, pair) if staging else None for pair in plan.interactions}
    runs_at = {last: _asked_runs(plan, records, judgements, last) for last in dict.fromkeys(last_look.values())}
    spreads_at = {last: pooled_spreads(plan, runs) for last, runs in runs_at.items()}
    arms_of = {pair: _four_arms(plan, runs_at[last], pair, spreads_at[last]) for pair, last in last_look.items()}
    waiting = [
        pair for pair in arms_of if staging and not all(_is_finished(judgements, cell, staging) for cell in pair.cells)
    ]
    return judge_pairs(arms_of, plan.campaign.judging, plan.campaign.margin, waiting)


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


Scored = Mapping[int, BurstOutcomes]
"""Seed -> the outcomes of the run."""


class FourArms(Struct, frozen=True, kw_only=True):
    """The runs of a 2 x 2 on one capture."""

    neither: Scored
    first: Scored
    second: Scored
    both: Scored
    spreads: tuple[Spread, ...] = ()
    """The pooled spread of each arm, in this order; empty if one has none, and the contrast uses its own seeds then."""

    @property
    def sides(self) -> tuple[Scored, Scored, Scored, Scored]:
        """All four."""
        return self.neither, self.first, self.second, self.both


def _four_arms(plan: Plan, records: Records, pair: Interaction, pooled: Mapping[str, Spread]) -> FourArms:
    capture = plan.campaign.judged.name
    neither, first, second, both = (outcomes_by_seed(runs_by_seed(plan, records, cell), capture) for cell in pair.cells)
    # Four spreads or none: with one missing, the contrast uses its own seeds.
    known = [pooled[name] for cell in pair.cells if (name := configuration(plan, cell)) in pooled]
    spreads = tuple(known) if len(known) == len(pair.cells) else ()
    return FourArms(neither=neither, first=first, second=second, both=both, spreads=spreads)


class Effects(Struct, frozen=True, kw_only=True):
    """The differences to the base, and the contrast between both together and the sum of each."""

    first: PairedDifferences
    second: PairedDifferences
    both: PairedDifferences
    contrast: PairedDifferences
    """Its values are -2 to 2."""


def pair_cells(arms: FourArms) -> Effects:
    """Join four arms on seed and burst. What one arm lacks is dropped and counted, never filled in.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    # A seed without one of the four arms has no contrast.
    seeds = set.intersection(*(set(side) for side in arms.sides))
    dropped_seeds = set.union(*(set(side) for side in arms.sides)) - seeds
    keys_RB = [side[seed].keys for side in arms.sides for seed in seeds]
    common_B = reduce(np.intersect1d, keys_RB) if keys_RB else np.array([], dtype=np.str_)
    num_seen = len(reduce(np.union1d, keys_RB)) if keys_RB else 0
    # All four arms on the same bursts: only then does the contrast equal both - first - second + neither.
    neither, *others = [{seed: _restrict(side[seed], common_B) for seed in seeds} for side in arms.sides]
    first, second, both = [pair_outcomes(side, neither) for side in others]
    contrast = dataclasses.replace(
        both,
        difference_SB=both.difference_SB - first.difference_SB - second.difference_SB,
        dropped_seeds=tuple(sorted(dropped_seeds | (seeds - set(both.seeds)))),
        dropped_items=num_seen - len(common_B),
    )
    return Effects(first=first, second=second, both=both, contrast=contrast)


def _restrict(run: BurstOutcomes, keys_B: NDArray[np.str_]) -> Bursts:
    kept = np.isin(run.keys, keys_B)
    return Bursts(keys=run.keys[kept], devices=run.devices[kept], correct=run.correct[kept])


def contrast_spread(spreads: Sequence[Spread]) -> Spread:
    """Return the spread of the contrast at one seed from those of the four arms, in the order of `FourArms`."""
    neither, first, second, both = spreads
    return difference_spread(difference_spread(both, first), difference_spread(second, neither))


def judge_pairs(
    arms_of: Mapping[Interaction, FourArms],
    judging: JudgingSpec,
    margin_points: float,
    waiting: Collection[Interaction] = (),
) -> list[InteractionJudgement]:
    """Judge every pair of a campaign.

    The first rule that fits gives the verdict:

    1. An arm is undecided: `waits`.
    2. Fewer than two seeds have all four arms scored: `needs_seeds`.
    3. Two one-sided tests put the contrast inside the margin: `additive`.
    4. The contrast is significant among all interactions: `synergy` or `antagonism`.
    5. Otherwise: `inconclusive`.

    Args:
        arms_of: each pair with its runs.
        judging: level and correction.
        margin_points: a contrast below this makes no difference.
        waiting: pairs with an undecided arm. They count as comparisons with p = 1 already, so that their later result
            changes no verdict on another pair.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    judged = [_estimate(pair, arms, judging.level, margin_points) for pair, arms in arms_of.items()]
    # A waiting pair counts with p = 1 from the start, so its later p-value cannot change another verdict.
    tested = {
        index: 1.0 if found.interaction in waiting else found.contrast.p_value for index, found in enumerate(judged)
    }
    p_of = {index: p_value for index, p_value in tested.items() if p_value is not None}
    adjusted = dict(zip(p_of, ADJUST[judging.correction](list(p_of.values())), strict=True))
    with_p = [structs.replace(found, adjusted_p_value=adjusted.get(index)) for index, found in enumerate(judged)]
    return [
        structs.replace(found, adjusted_p_value=None, verdict=Additivity.WAITS)
        if found.interaction in waiting
        else structs.replace(found, verdict=_choose_verdict(found, judging.level))
        for found in with_p
    ]


def _estimate(pair: Interaction, arms: FourArms, level: float, margin_points: float) -> InteractionJudgement:
    effects = pair_cells(arms)
    contrast = estimate_delta(effects.contrast, contrast_spread(arms.spreads) if arms.spreads else None, level)
    return InteractionJudgement(
        interaction=pair,
        first_points=_mean_points(effects.first),
        second_points=_mean_points(effects.second),
        both_points=_mean_points(effects.both),
        contrast=contrast,
        adjusted_p_value=None,
        equivalence_p_value=equivalence_p_value(contrast, margin_points),
        verdict=Additivity.NEEDS_SEEDS,
    )


def _mean_points(pairs: PairedDifferences) -> float | None:
    return float(pairs.delta_points_by_seed.mean()) if pairs.num_seeds else None


def _choose_verdict(found: InteractionJudgement, level: float) -> Additivity:
    delta = found.contrast.delta_points
    if delta is None or found.adjusted_p_value is None or found.equivalence_p_value is None:
        return Additivity.NEEDS_SEEDS
    # As for experiments, the margin comes before the sign: a tiny contrast that is significant does not matter.
    if found.equivalence_p_value < level:
        return Additivity.ADDITIVE
    if found.adjusted_p_value >= level:
        return Additivity.INCONCLUSIVE
    return Additivity.SYNERGY if delta > 0 else Additivity.ANTAGONISM
