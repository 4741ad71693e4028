"""A campaign judged look by look: what is decided, which runs are wanted next, and which of them helps most. Pure."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from math import ceil, inf, isinf

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.evidence import RunRecord
from orchestrator.judgement import AtLook, Judgement, Verdict
from orchestrator.plan import Plan
from orchestrator.spec import StagingSpec
from orchestrator.staging import Cell, Look, Progress, Weighed, replay, share_out
from orchestrator.states import RunState
from orchestrator.stats import seeds_to_resolve
from orchestrator.verdicts import estimate_at, judge

Records = Mapping[str, RunRecord]

DEFINITE = (Verdict.IMPROVED, Verdict.REGRESSION, Verdict.NO_CHANGE)
ENDED = (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


class DecisionState(StrEnum):
    """Whether more seeds are given to an experiment."""

    DECIDED = "decided"
    UNDECIDED = "undecided"
    EXHAUSTED = "exhausted"
    """It has had the greatest number of seeds and stays inconclusive."""


class Decision(Struct, frozen=True, kw_only=True):
    """What the looks have come to for one experiment."""

    experiment: str
    state: DecisionState
    verdict: Verdict | None
    look_seeds: int | None
    """The number of seeds at the look that its verdict is of; None before the first."""
    wants: tuple[int, ...]
    """Seeds at which its own run or its reference's has yet to end."""


class Standing(Struct, frozen=True, kw_only=True):
    """How far a campaign has come."""

    plan: Plan
    """Of the runs that were asked for or are there."""
    judgements: dict[str, Judgement]
    decisions: dict[str, Decision]
    wanted: tuple[Cell, ...]
    """The runs to train next, in their order."""
    asked: tuple[Cell, ...]
    """Those, and all that were asked for before."""


class NextRun(Struct, frozen=True, kw_only=True):
    """The run that would help most."""

    run: str
    experiment: str
    seed: int
    serves: tuple[str, ...]
    """The experiments that wait for it."""
    seconds: float | None
    """What it would take, going by runs that are done."""
    reason: str
    command: str


def judge_as_declared(plan: Plan, records: Records) -> tuple[Plan, dict[str, Judgement]]:
    """Judge a campaign the way its file says, at once or look by look; return the plan that the judgements are of."""
    if plan.campaign.staging is None:
        return plan, judge(plan, records)
    standing = stand(plan, records, plan.campaign.staging)
    return standing.plan, standing.judgements


def stand(plan: Plan, records: Records, staging: StagingSpec) -> Standing:
    """Go through the looks as far as the records go.

    Args:
        plan: with all seeds that may be asked for (`StagingSpec.all_seeds`).
        records: run id -> what the run left.
        staging: how seeds are given out.
    """
    at = share_out(staging, plan.campaign.judging.level)
    found: dict[str, Judgement] = {}

    def weigh(look: Look, progress: Progress) -> dict[str, Weighed]:
        judged = _judge_at(plan, records, look, progress)
        found.update({name: judgement for name, judgement in judged.items() if name not in progress.told_at})
        return {name: Weighed(_is_told(plan, judged, name), judged[name].p_value) for name in progress.undecided}

    references = {name: arm.reference for name, arm in plan.arms.items()}
    progress = replay(references, at, lambda cell: _has_ended(plan, records, cell), weigh)
    if not progress.completed:
        judged = _judge_at(plan, records, at[0], progress)
        found = {name: _withhold(judgement, progress, at[0]) for name, judgement in judged.items()}
    judgements = {name: _tell_look(found[name], progress) for name in plan.arms}
    judgements |= {name: _confirm(plan, records, staging, judgements[name]) for name in _candidates(plan, judgements)}
    return _standing(plan, records, staging, progress, judgements)


def _judge_at(plan: Plan, records: Records, look: Look, progress: Progress) -> dict[str, Judgement]:
    """Judge on the runs that the looks so far have asked for, and on no others."""
    asked = {plan.run_of[cell] for cell in _cells(progress)}
    campaign = structs.replace(plan.campaign, seeds=tuple(range(look.num_seeds)))
    at_look = {run_id: record for run_id, record in records.items() if run_id in asked}
    return judge(
        structs.replace(plan, campaign=campaign), at_look, AtLook(look.share, look.equivalence_share, progress.told_p)
    )


def _cells(progress: Progress) -> list[Cell]:
    return [(name, seed) for name, num_seeds in progress.given.items() for seed in range(num_seeds)]


def _has_ended(plan: Plan, records: Records, cell: Cell) -> bool:
    record = records.get(plan.run_of[cell])
    return record is not None and record.result is not None and record.result.state in ENDED


def _is_told(plan: Plan, judged: Mapping[str, Judgement], name: str) -> bool:
    """Whether more seeds have nothing to add: a verdict, a stop on either side, or a control that is not compared."""
    arm = plan.arms[name]
    reference = judged[arm.reference].verdict if arm.reference else None
    stopped = any(verdict is not None and verdict.is_stop for verdict in (judged[name].verdict, reference))
    return judged[name].verdict in DEFINITE or stopped or arm.control == "shuffled_labels"


def _withhold(judgement: Judgement, progress: Progress, look: Look) -> Judgement:
    """Give no verdict while some of the runs of the first look are out: it would depend on which came first."""
    if judgement.verdict not in DEFINITE:
        return judgement
    waits = wording.counted(len(progress.missing), "run")
    reason = f"no verdict before the look at {look.num_seeds} seeds is complete: it waits for {waits}"
    return structs.replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _tell_look(judgement: Judgement, progress: Progress) -> Judgement:
    """Say at which look, and at which level."""
    if judgement.reference is None or not progress.completed:
        return judgement
    told = progress.told_at.get(judgement.experiment)
    look = told or progress.completed[-1]
    level = f"{100 * judgement.level:.2g} %"
    stands = "decided" if judgement.verdict in DEFINITE else "as it is"
    waits = f"; the next look waits for {wording.counted(len(progress.missing), 'run')}" if progress.missing else ""
    reason = f"{judgement.reason}; {stands} at the look at {look.num_seeds} seeds, at the level {level}"
    return structs.replace(judgement, look_seeds=look.num_seeds, reason=reason + ("" if told else waits))


def _candidates(plan: Plan, judgements: Mapping[str, Judgement]) -> list[str]:
    """Name what improved by its declared change alone; a control that improves is a false verdict and no candidate."""
    return [
        name
        for name, judgement in judgements.items()
        if judgement.verdict is Verdict.IMPROVED and not judgement.confounds and plan.arms[name].control is None
    ]


def _confirm(plan: Plan, records: Records, staging: StagingSpec, judgement: Judgement) -> Judgement:
    """Hold an improvement against seeds that had no part in finding it: one-sided, at all of the level.

    It has been found among many already, so this is one test of one experiment.
    """
    fresh = estimate_at(plan, records, judgement.experiment, staging.fresh_seeds)
    delta, p_value = fresh.delta_points, fresh.p_value
    is_confirmed = delta is not None and p_value is not None and delta > 0 and p_value / 2 < fresh.level
    seeds = wording.seeds(staging.fresh_seeds)
    if delta is None or p_value is None:
        said = f"a candidate until {seeds} confirm it"
    else:
        found = f"{wording.points(delta)} points there, {wording.points(judgement.delta_points)} where it was found"
        said = f"{'confirmed' if is_confirmed else 'not confirmed'} on {seeds} alone: {found}"
    return structs.replace(judgement, fresh=fresh, is_confirmed=is_confirmed, reason=f"{judgement.reason}; {said}")


def _standing(
    plan: Plan, records: Records, staging: StagingSpec, progress: Progress, judgements: dict[str, Judgement]
) -> Standing:
    of_candidates = [
        (side, seed)
        for seed in staging.fresh_seeds
        for name in _candidates(plan, judgements)
        for side in (plan.arms[name].reference or "", name)
    ]
    asked = list(dict.fromkeys([*_cells(progress), *of_candidates]))
    to_confirm = [cell for cell in of_candidates if not _has_ended(plan, records, cell)]
    # What is undecided comes first: a candidate has its verdict.
    wanted = tuple(dict.fromkeys([*progress.missing, *to_confirm]))
    return Standing(
        plan=_of_runs(plan, {plan.run_of[cell] for cell in asked} | records.keys()),
        judgements=judgements,
        decisions={name: _decision(plan, progress, judgements[name], wanted) for name in _compared(plan)},
        wanted=wanted,
        asked=tuple(asked),
    )


def _compared(plan: Plan) -> list[str]:
    return [name for name, arm in plan.arms.items() if arm.reference is not None]


def _of_runs(plan: Plan, run_ids: set[str]) -> Plan:
    """Keep some runs of a plan, and the seeds that they are of."""
    used = {seed for (_, seed), run_id in plan.run_of.items() if run_id in run_ids}
    seeds = tuple(seed for seed in plan.campaign.seeds if seed in used)
    return structs.replace(
        plan,
        campaign=structs.replace(plan.campaign, seeds=seeds or plan.campaign.seeds[:1]),
        runs=tuple(run for run in plan.runs if run.id in run_ids),
    )


def _decision(plan: Plan, progress: Progress, judgement: Judgement, wanted: tuple[Cell, ...]) -> Decision:
    name = judgement.experiment
    is_candidate = judgement.fresh is not None
    sides = (name, plan.arms[name].reference)
    wants = {seed for side, seed in wanted if side in sides} if name in progress.undecided or is_candidate else set()
    undecided = DecisionState.UNDECIDED if progress.missing else DecisionState.EXHAUSTED
    return Decision(
        experiment=name,
        state=undecided if name in progress.undecided else DecisionState.DECIDED,
        verdict=judgement.verdict,
        look_seeds=judgement.look_seeds,
        wants=tuple(sorted(wants)),
    )


def next_run(standing: Standing, seconds_of: Callable[[str], float | None]) -> NextRun | None:
    """Choose the run that would help most: by how soon those that wait for it would be told, for each second it takes.

    So a reference's run that several wait for comes before a run of one of them. None where no run is wanted.

    Args:
        standing: how far the campaign has come.
        seconds_of: what a run of an experiment takes; None where nobody knows.
    """
    plan = standing.plan
    serves = {cell: _serves(standing, cell) for cell in standing.wanted}
    if not serves:
        return None

    def gain_per_second(cell: Cell) -> float:
        gain = sum(1.0 / seeds_to_tell(standing.judgements[name], plan.campaign.margin) for name in serves[cell])
        return gain / (seconds_of(cell[0]) or 1.0)

    best = max(serves, key=gain_per_second)
    name, seed = best
    return NextRun(
        run=plan.run_of[best],
        experiment=name,
        seed=seed,
        serves=serves[best],
        seconds=seconds_of(name),
        reason=_reason(standing, serves[best]),
        command=f"knockout run {name} --seeds {seed}-{seed} --profile {plan.campaign.profile}",
    )


def _serves(standing: Standing, cell: Cell) -> tuple[str, ...]:
    name, seed = cell
    return tuple(
        decision.experiment
        for decision in standing.decisions.values()
        if name in (decision.experiment, standing.plan.arms[decision.experiment].reference) and seed in decision.wants
    )


def seeds_to_tell(judgement: Judgement, margin_points: float) -> float:
    """Say roughly how many more seeds would give a verdict; one where nothing is known yet, infinite for no number."""
    if judgement.error_points is None or judgement.delta_points is None or judgement.fresh is not None:
        return 1.0
    size, level = abs(judgement.delta_points), judgement.level
    off_zero = seeds_to_resolve(judgement, size, level / max(1, judgement.num_compared or 1))
    least = min(off_zero, seeds_to_resolve(judgement, margin_points - size, 2 * level))
    return least if isinf(least) else max(1.0, ceil(least) - len(judgement.seeds))


def _reason(standing: Standing, serves: tuple[str, ...]) -> str:
    margin = standing.plan.campaign.margin
    more = {name: seeds_to_tell(standing.judgements[name], margin) for name in serves}
    soonest = min(more, key=lambda name: more[name], default="")
    waits = f"{wording.listed(serves)} {'waits' if len(serves) == 1 else 'wait'} for it"
    judgement = standing.judgements[soonest]
    if judgement.fresh is not None:
        return f"{waits}; {soonest} improved and is to be confirmed on fresh seeds"
    if judgement.error_points is None:
        return f"{waits}; two seeds are needed to say anything of {soonest}"
    if more[soonest] == inf:
        return f"{waits}; no number of seeds alone is likely to tell of {soonest}"
    return f"{waits}; {soonest} would be told soonest, by roughly {wording.counted(int(more[soonest]), 'more seed')}"
