"""A campaign judged look by look: what is decided, which runs are wanted next, and which of them helps most. Pure."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.campaign.arms import select_arms
from orchestrator.campaign.plan import Plan, narrow
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.record import Records
from orchestrator.runs.states import RunState
from orchestrator.stats.looks import Cell, Look, Progress, replay, share_out
from orchestrator.verdicts.judge import estimate_at, judge
from orchestrator.verdicts.judgement import AtLook, Judgement, Verdict

DEFINITE = (Verdict.IMPROVED, Verdict.REGRESSION, Verdict.NO_CHANGE)
ENDED = (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


class SeedDecisionState(StrEnum):
    """Whether more seeds are given to an experiment."""

    DECIDED = "decided"
    UNDECIDED = "undecided"
    EXHAUSTED = "exhausted"
    """It has had the greatest number of seeds and stays inconclusive."""


class SeedDecision(Struct, frozen=True, kw_only=True):
    """What the looks have come to for one experiment."""

    experiment: str
    state: SeedDecisionState
    verdict: Verdict | None
    look_seeds: int | None
    """The number of seeds at the look that its verdict is of; None before the first."""
    wants: tuple[int, ...]
    """Seeds at which its own run or its reference's has yet to end."""


class StagedVerdicts(Struct, frozen=True, kw_only=True):
    """How far a campaign has come."""

    plan: Plan
    """Of the runs that were asked for or are there."""
    judgements: dict[str, Judgement]
    decisions: dict[str, SeedDecision]
    wanted: tuple[Cell, ...]
    """The runs to train next, in their order."""
    asked: tuple[Cell, ...]
    """Those, and all that were asked for before."""


def plan_to_judge(whole: Plan, names: Collection[str], records: Records) -> Plan:
    """Return what some experiments are judged among: every experiment of the campaign that has come to an end anywhere.

    So a verdict does not depend on which experiments a command names, and nobody finds an effect by leaving others out.
    Where seeds are given out look by look it is those named alone, since a look waits for all that it is of.

    Args:
        whole: the campaign, with every experiment.
        names: experiments that are asked for; their references come with them.
        records: run id -> what the run left.
    """
    ended = {name for name, seed in whole.run_of if _has_ended(whole, records, (name, seed))}
    wanted = set(names) if whole.campaign.staging else ended | set(names)
    return narrow(whole, select_arms(whole.arms, sorted(wanted)))


def experiments_left_out(whole: Plan, judged: Plan, records: Records) -> list[str]:
    """Name the experiments with runs that verdicts were not reached among."""
    cells = ((name, seed) for name, seed in whole.run_of if name not in judged.arms)
    return list(dict.fromkeys(cell[0] for cell in cells if _has_ended(whole, records, cell)))


def judge_as_declared(plan: Plan, records: Records) -> tuple[Plan, dict[str, Judgement]]:
    """Judge a campaign the way its file says, at once or look by look; return the plan that the judgements are of."""
    if plan.campaign.staging is None:
        return plan, judge(plan, records)
    staged = judge_staged(plan, records, plan.campaign.staging)
    return staged.plan, staged.judgements


def judge_staged(plan: Plan, records: Records, staging: StagingSpec) -> StagedVerdicts:
    """Go through the looks as far as the records go.

    Args:
        plan: with all seeds that may be asked for (`StagingSpec.all_seeds`).
        records: run id -> what the run left.
        staging: how seeds are given out.
    """
    looks = share_out(staging.looks, plan.campaign.judging.level)
    progress = Progress({name: arm.reference for name, arm in plan.arms.items()})
    latest: dict[str, Judgement] = {}
    judged_on: dict[str, Records] = {}
    for look in replay(progress, looks, lambda cell: _has_ended(plan, records, cell)):
        at_look = _records_at(plan, records, progress)
        judged = _judge_at(plan, at_look, look, progress)
        # What an earlier look decided keeps its verdict and the runs it rests on.
        fresh = {name: judgement for name, judgement in judged.items() if name not in progress.decided_at}
        latest |= fresh
        judged_on |= dict.fromkeys(fresh, at_look)
        decided = [name for name in progress.undecided if _is_decided(plan, judged, name)]
        progress.close(look, {name: judged[name].p_value for name in decided})
    if not progress.completed:
        latest = _judge_before(plan, records, looks[0], progress)
    judgements = {name: _with_look(plan, latest[name], progress) for name in plan.arms}
    judgements |= {
        name: _confirm(plan, judged_on[name], records, staging, judgements[name])
        for name in _candidates(plan, judgements)
    }
    return _staged_verdicts(plan, records, staging, progress, judgements)


def _judge_before(plan: Plan, records: Records, first: Look, progress: Progress) -> dict[str, Judgement]:
    """Judge while the first look is under way, and hold back every verdict that the missing runs could change."""
    judged = _judge_at(plan, _records_at(plan, records, progress), first, progress)
    num_missing = _count_missing(plan, progress)
    return {name: _withhold(judgement, num_missing, first) for name, judgement in judged.items()}


def _records_at(plan: Plan, records: Records, progress: Progress) -> Records:
    """Keep the runs that the looks so far have asked for: what else was trained must not change a verdict."""
    asked = {plan.run_of[cell] for cell in _cells(progress)}
    return {run_id: record for run_id, record in records.items() if run_id in asked}


def _judge_at(plan: Plan, at_look: Records, look: Look, progress: Progress) -> dict[str, Judgement]:
    campaign = structs.replace(plan.campaign, seeds=tuple(range(look.num_seeds)))
    spends = AtLook(look.share, look.equivalence_share, progress.decided_p)
    return judge(structs.replace(plan, campaign=campaign), at_look, spends)


def _cells(progress: Progress) -> list[Cell]:
    return [(name, seed) for name, num_seeds in progress.given.items() for seed in range(num_seeds)]


def _count_missing(plan: Plan, progress: Progress) -> int:
    """Count the runs that the look under way waits for; experiments that are one configuration share theirs."""
    return len({plan.run_of[cell] for cell in progress.missing})


def _has_ended(plan: Plan, records: Records, cell: Cell) -> bool:
    record = records.get(plan.run_of[cell])
    return record is not None and record.result is not None and record.result.state in ENDED


def _is_decided(plan: Plan, judged: Mapping[str, Judgement], name: str) -> bool:
    """Whether more seeds have nothing to add: a verdict, a stop on either side, or a control that is not compared."""
    arm = plan.arms[name]
    reference = judged[arm.reference].verdict if arm.reference else None
    stopped = any(verdict is not None and verdict.is_stop for verdict in (judged[name].verdict, reference))
    return judged[name].verdict in DEFINITE or stopped or arm.control == "shuffled_labels"


def _withhold(judgement: Judgement, num_missing: int, look: Look) -> Judgement:
    """Give no verdict while some of the runs of the first look are out: it would depend on which came first."""
    if judgement.verdict not in DEFINITE:
        return judgement
    waits = wording.counted(num_missing, "run")
    reason = f"no verdict before the look at {look.num_seeds} seeds is complete: it waits for {waits}"
    return structs.replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _with_look(plan: Plan, judgement: Judgement, progress: Progress) -> Judgement:
    """Say at which look, and at which level."""
    if judgement.reference is None or judgement.verdict is None or not progress.completed:
        return judgement
    decided = progress.decided_at.get(judgement.experiment)
    look = decided or progress.completed[-1]
    share = look.equivalence_share if judgement.verdict is Verdict.NO_CHANGE else look.share
    level = f"{100 * share * plan.campaign.judging.level:.2g} %"
    stands = "decided" if judgement.verdict in DEFINITE else "as it is"
    missing = _count_missing(plan, progress)
    waits = f"; the next look waits for {wording.counted(missing, 'run')}" if missing else ""
    reason = f"{judgement.reason}; {stands} at the look at {look.num_seeds} seeds, at the level {level}"
    return structs.replace(judgement, look_seeds=look.num_seeds, reason=reason + ("" if decided else waits))


def _candidates(plan: Plan, judgements: Mapping[str, Judgement]) -> list[str]:
    """Name what improved by its declared change alone; a control that improves is a false verdict and no candidate."""
    return [
        name
        for name, judgement in judgements.items()
        if judgement.verdict is Verdict.IMPROVED and not judgement.confounds and plan.arms[name].control is None
    ]


def _confirm(plan: Plan, known: Records, records: Records, staging: StagingSpec, judgement: Judgement) -> Judgement:
    """Hold an improvement against seeds that had no part in finding it: one-sided, at all of the level.

    It has been found among many already, so this is one test of one experiment.

    Args:
        plan: with the fresh seeds.
        known: the runs that the improvement was found among; the spread over seeds is pooled over them and the fresh.
        records: all there are.
        staging: says which seeds are fresh.
        judgement: of the improvement.
    """
    sides = (judgement.experiment, judgement.reference or "")
    of_sides = {plan.run_of[side, seed] for side in sides for seed in staging.fresh_seeds}
    on_fresh = {run_id: record for run_id, record in records.items() if run_id in of_sides}
    # Twice the level: an interval that lies above zero is then what a one-sided test at the level says.
    level = 2 * plan.campaign.judging.level
    fresh = estimate_at(plan, {**known, **on_fresh}, judgement.experiment, staging.fresh_seeds, level)
    delta, p_value = fresh.delta_points, fresh.p_value
    is_confirmed = delta is not None and p_value is not None and delta > 0 and p_value < fresh.level
    seeds = wording.seeds(staging.fresh_seeds)
    if delta is None or p_value is None:
        said = f"a candidate until {seeds} confirm it"
    else:
        found = f"{wording.points(delta)} points there, {wording.points(judgement.delta_points)} where it was found"
        said = f"{'confirmed' if is_confirmed else 'not confirmed'} on {seeds} alone: {found}"
    return structs.replace(judgement, fresh=fresh, is_confirmed=is_confirmed, reason=f"{judgement.reason}; {said}")


def _staged_verdicts(
    plan: Plan, records: Records, staging: StagingSpec, progress: Progress, judgements: dict[str, Judgement]
) -> StagedVerdicts:
    of_candidates = [
        (side, seed)
        for seed in staging.fresh_seeds
        for name in _candidates(plan, judgements)
        for side in (plan.arms[name].reference or "", name)
    ]
    asked = list(dict.fromkeys([*_cells(progress), *of_candidates]))
    to_confirm = [cell for cell in of_candidates if not _has_ended(plan, records, cell)]
    # What is undecided comes first: a candidate has its verdict.
    wanted = _distinct(plan, [*progress.missing, *to_confirm])
    return StagedVerdicts(
        plan=_of_runs(plan, {plan.run_of[cell] for cell in asked} | records.keys()),
        judgements=judgements,
        decisions={name: _decision(plan, progress, judgements[name], to_confirm) for name in _compared(plan)},
        wanted=wanted,
        asked=tuple(asked),
    )


def _distinct(plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Keep one cell a run: experiments that are one configuration share theirs."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(plan.run_of[cell], cell)
    return tuple(first.values())


def _compared(plan: Plan) -> list[str]:
    """Name what is to be decided; labels without meaning are held against chance."""
    arms = plan.arms.items()
    return [name for name, arm in arms if arm.reference is not None and arm.control != "shuffled_labels"]


def _of_runs(plan: Plan, run_ids: set[str]) -> Plan:
    """Keep some runs of a plan, and the seeds that they are of."""
    used = {seed for (_, seed), run_id in plan.run_of.items() if run_id in run_ids}
    seeds = tuple(seed for seed in plan.campaign.seeds if seed in used)
    return structs.replace(
        plan,
        campaign=structs.replace(plan.campaign, seeds=seeds or plan.campaign.seeds[:1]),
        runs=tuple(run for run in plan.runs if run.id in run_ids),
    )


def _decision(plan: Plan, progress: Progress, judgement: Judgement, to_confirm: Sequence[Cell]) -> SeedDecision:
    name = judgement.experiment
    sides = (name, plan.arms[name].reference)
    asked = progress.missing if name in progress.undecided else to_confirm if judgement.fresh is not None else ()
    wants = {seed for side, seed in asked if side in sides}
    undecided = SeedDecisionState.UNDECIDED if progress.missing else SeedDecisionState.EXHAUSTED
    return SeedDecision(
        experiment=name,
        state=undecided if name in progress.undecided else SeedDecisionState.DECIDED,
        verdict=judgement.verdict,
        look_seeds=judgement.look_seeds,
        wants=tuple(sorted(wants)),
    )
