"""Judges a campaign look by look: what is decided, and which runs are wanted next. Pure.

`design.looks` plans the looks. This module judges the runs of each look, and confirms what improved on fresh seeds.

Example, with looks at 2 and 3 seeds and 2 fresh seeds (3 and 4):

- Nothing has run: seeds 0 and 1 of every arm are wanted. There is no verdict before all of them have ended.
- The look at 2 seeds decides E5 (no_change) and K1 (improved), but not H2 on E5: seed 2 of H2 and E5 is wanted next.
  E5's verdict does not change with its third seed.
- K1 is a candidate, so seeds 3 and 4 of K1 and of its reference are wanted. A one-sided test on these seeds alone
  confirms it, or does not.
- H2 is still undecided after the look at 3 seeds, which is the last: it is exhausted and stays inconclusive.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.campaign.arms import select_arms
from orchestrator.campaign.plan import Plan, narrow
from orchestrator.campaign.spec import StagingSpec
from orchestrator.design.looks import Cell, Look, Progress, replay, share_out
from orchestrator.runs.record import Records
from orchestrator.runs.states import RunState
from orchestrator.verdicts.comparisons import MIN_SEEDS
from orchestrator.verdicts.conclude import failed_seeds
from orchestrator.verdicts.judge import estimate_at, judge
from orchestrator.verdicts.judgement import AtLook, Judgement, Verdict
from orchestrator.verdicts.scale import Scale

DEFINITE = (Verdict.IMPROVED, Verdict.REGRESSION, Verdict.NO_CHANGE)
ENDED = (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


class SeedDecisionState(StrEnum):
    """Whether an experiment gets more seeds."""

    DECIDED = "decided"
    UNDECIDED = "undecided"
    EXHAUSTED = "exhausted"
    """The experiment has had the greatest number of seeds and stays inconclusive."""


class SeedDecision(Struct, frozen=True, kw_only=True):
    """What the looks decided about the seeds of one experiment."""

    experiment: str
    state: SeedDecisionState
    verdict: Verdict | None
    look_seeds: int | None
    """The number of seeds at the look that gave its verdict; None before the first look."""
    wants: tuple[int, ...]
    """Seeds at which its own run or its reference's has not ended yet."""


class StagedVerdicts(Struct, frozen=True, kw_only=True):
    """The verdicts of the looks so far, and the runs that come next."""

    plan: Plan
    """The plan of the runs that were asked for or exist."""
    judgements: dict[str, Judgement]
    decisions: dict[str, SeedDecision]
    wanted: tuple[Cell, ...]
    """The runs to train next, in order."""
    asked: tuple[Cell, ...]
    """All runs asked for so far: those to train next, and those before."""


def plan_to_judge(whole: Plan, names: Collection[str], records: Records) -> Plan:
    """Return the plan to judge some experiments in: with every experiment that has a run that ended.

    Verdicts are corrected over all these experiments, not only those that a command names. So nobody can create an
    effect by leaving experiments out. In a campaign with looks only the named experiments count, since a look waits for
    every run of its experiments.

    Args:
        whole: the campaign, with every experiment.
        names: the experiments that a command names; their references come with them.
        records: run id -> what the run left.
    """
    ended = {name for name, seed in whole.run_of if _has_ended(whole, records, (name, seed))}
    # A look over unnamed experiments would wait for runs that nobody asked for.
    wanted = set(names) if whole.campaign.staging else ended | set(names)
    return narrow(whole, select_arms(whole.arms, sorted(wanted)))


def experiments_left_out(whole: Plan, judged: Plan, records: Records) -> list[str]:
    """Return the experiments that have runs and are not in the judged plan."""
    cells = ((name, seed) for name, seed in whole.run_of if name not in judged.arms)
    return list(dict.fromkeys(cell[0] for cell in cells if _has_ended(whole, records, cell)))


def judge_as_declared(plan: Plan, records: Records) -> tuple[Plan, dict[str, Judgement]]:
    """Judge a campaign as its file says, at once or look by look; return the judged plan with its judgements."""
    if plan.campaign.staging is None:
        return plan, judge(plan, records)
    staged = judge_staged(plan, records, plan.campaign.staging)
    return staged.plan, staged.judgements


def judge_staged(plan: Plan, records: Records, staging: StagingSpec) -> StagedVerdicts:
    """Judge each look whose runs have all ended.

    Args:
        plan: with all seeds that may be asked for (`StagingSpec.all_seeds`).
        records: run id -> what the run left.
        staging: the looks and the fresh seeds.
    """
    looks = share_out(staging.looks, plan.campaign.judging.level)
    references = {name: arm.reference for name, arm in plan.arms.items()}
    progress = Progress(references, staging.reference_seeds)
    latest: dict[str, Judgement] = {}
    judged_on: dict[str, Records] = {}
    for look in replay(progress, looks, lambda cell: _has_ended(plan, records, cell)):
        # Only the runs of the looks so far are judged, so an extra run cannot change a verdict.
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
    """Judge while the first look is under way, and withhold every verdict that the missing runs could change."""
    judged = _judge_at(plan, _records_at(plan, records, progress), first, progress)
    num_missing = _count_missing(plan, progress)
    return {name: _withhold(judgement, num_missing, first) for name, judgement in judged.items()}


def _records_at(plan: Plan, records: Records, progress: Progress) -> Records:
    """Return the runs that the looks so far asked for. Other runs must not change a verdict."""
    asked = {plan.run_of[cell] for cell in _asked_cells(progress)}
    return {run_id: record for run_id, record in records.items() if run_id in asked}


def _judge_at(plan: Plan, at_look: Records, look: Look, progress: Progress) -> dict[str, Judgement]:
    # A reference may have more seeds than the look has.
    most = max(progress.given.values(), default=look.num_seeds)
    campaign = structs.replace(plan.campaign, seeds=tuple(range(most)))
    least = min(look.num_seeds, MIN_SEEDS)
    spends = AtLook(look.share, look.equivalence_share, progress.decided_p, least, dict(progress.given))
    return judge(structs.replace(plan, campaign=campaign), at_look, spends)


def _asked_cells(progress: Progress) -> list[Cell]:
    return [(name, seed) for name, num_seeds in progress.given.items() for seed in range(num_seeds)]


def _count_missing(plan: Plan, progress: Progress) -> int:
    """Return the number of runs that the look under way waits for; experiments with one configuration share runs."""
    return len({plan.run_of[cell] for cell in progress.missing})


def _has_ended(plan: Plan, records: Records, cell: Cell) -> bool:
    record = records.get(plan.run_of[cell])
    return record is not None and record.result is not None and record.result.state in ENDED


def _is_decided(plan: Plan, judged: Mapping[str, Judgement], name: str) -> bool:
    """Whether more seeds would add nothing: a verdict, a stop on one side, or a control that is not compared."""
    arm = plan.arms[name]
    reference = judged[arm.reference].verdict if arm.reference else None
    stopped = any(verdict is not None and verdict.is_stop for verdict in (judged[name].verdict, reference))
    return judged[name].verdict in DEFINITE or stopped or arm.control == "shuffled_labels"


def _withhold(judgement: Judgement, num_missing: int, look: Look) -> Judgement:
    """Withhold a verdict while runs of the first look are missing: it would depend on which runs ended first."""
    if judgement.verdict not in DEFINITE:
        return judgement
    waits = wording.counted(num_missing, "run")
    reason = f"no verdict before the look at {look.num_seeds} seeds is complete: it waits for {waits}"
    return structs.replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _with_look(plan: Plan, judgement: Judgement, progress: Progress) -> Judgement:
    """Add the look and its level to the reason of a judgement."""
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
    """Return what improved by its declared change alone. An improved control is a false verdict, no candidate."""
    return [
        name
        for name, judgement in judgements.items()
        if judgement.verdict is Verdict.IMPROVED and not judgement.confounds and plan.arms[name].control is None
    ]


def _confirm(plan: Plan, known: Records, records: Records, staging: StagingSpec, judgement: Judgement) -> Judgement:
    """Test an improvement on seeds that had no part in finding it: one-sided, at the full level.

    The improvement was already significant among many, so this single test needs no correction.

    Args:
        plan: with the fresh seeds.
        known: the runs of the look that found it; the spread over seeds is pooled over them and the fresh runs.
        records: all runs.
        staging: gives the fresh seeds.
        judgement: the improvement.
    """
    sides = (judgement.experiment, judgement.reference or "")
    # Only these two arms' fresh runs: other candidates must not change this one's spread.
    of_sides = {plan.run_of[side, seed] for side in sides for seed in staging.fresh_seeds}
    on_fresh = {run_id: record for run_id, record in records.items() if run_id in of_sides}
    # A two-sided interval at twice the level lies above zero exactly if the one-sided test at the level rejects.
    level = 2 * plan.campaign.judging.level
    fresh = estimate_at(plan, {**known, **on_fresh}, judgement.experiment, staging.fresh_seeds, level)
    delta, p_value = fresh.delta_points, fresh.p_value
    # The p-value is two-sided, so it is compared with twice the level (`fresh.level`).
    scale = Scale(plan.campaign.judged)
    # Fresh seeds that failed by the arm's own doing bar the confirmation, as they bar a verdict.
    failed = failed_seeds({seed: on_fresh.get(plan.run_of[sides[0], seed]) for seed in staging.fresh_seeds})
    is_confirmed = (
        not failed and delta is not None and p_value is not None and scale.sign * delta > 0 and p_value < fresh.level
    )
    seeds = wording.seeds(staging.fresh_seeds)
    if delta is None or p_value is None:
        said = f"a candidate until {seeds} confirm it"
    else:
        found = f"{scale.with_unit(delta)} there, {scale.delta(judgement.delta_points)} where it was found"
        metric = plan.campaign.confirming
        on = f" and {metric.name}" if metric != plan.campaign.judged else ""
        said = f"{'confirmed' if is_confirmed else 'not confirmed'} on {seeds}{on} alone: {found}"
        said += f"; {wording.seeds(tuple(failed))} failed by the doing of {sides[0]}" if failed else ""
    return structs.replace(judgement, fresh=fresh, is_confirmed=is_confirmed, reason=f"{judgement.reason}; {said}")


def _staged_verdicts(
    plan: Plan, records: Records, staging: StagingSpec, progress: Progress, judgements: dict[str, Judgement]
) -> StagedVerdicts:
    # The reference comes before its candidate: several candidates may share it.
    of_candidates = [
        (side, seed)
        for seed in staging.fresh_seeds
        for name in _candidates(plan, judgements)
        for side in (plan.arms[name].reference or "", name)
    ]
    asked = list(dict.fromkeys([*_asked_cells(progress), *of_candidates]))
    to_confirm = [cell for cell in of_candidates if not _has_ended(plan, records, cell)]
    # Undecided experiments come first, since a candidate has its verdict already.
    wanted = _distinct(plan, [*progress.missing, *to_confirm])
    return StagedVerdicts(
        plan=_narrow_to_runs(plan, {plan.run_of[cell] for cell in asked} | records.keys()),
        judgements=judgements,
        decisions={name: _decide_seeds(plan, progress, judgements[name], to_confirm) for name in _to_decide(plan)},
        wanted=wanted,
        asked=tuple(asked),
    )


def _distinct(plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return one cell for each run: experiments with one configuration share runs."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(plan.run_of[cell], cell)
    return tuple(first.values())


def _to_decide(plan: Plan) -> list[str]:
    """Return the experiments to decide. Shuffled labels are compared with chance, so they are not among them."""
    arms = plan.arms.items()
    return [name for name, arm in arms if arm.reference is not None and arm.control != "shuffled_labels"]


def _narrow_to_runs(plan: Plan, run_ids: set[str]) -> Plan:
    """Return the plan with some of its runs, and with the seeds of these runs."""
    used = {seed for (_, seed), run_id in plan.run_of.items() if run_id in run_ids}
    # The report shows the seeds of these runs only, not all that may be asked for later.
    seeds = tuple(seed for seed in plan.campaign.seeds if seed in used)
    return structs.replace(
        plan,
        campaign=structs.replace(plan.campaign, seeds=seeds or plan.campaign.seeds[:1]),
        runs=tuple(run for run in plan.runs if run.id in run_ids),
    )


def _decide_seeds(plan: Plan, progress: Progress, judgement: Judgement, to_confirm: Sequence[Cell]) -> SeedDecision:
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
