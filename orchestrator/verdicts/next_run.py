"""Which run to train next: the one that brings most decisions a second. Pure."""

from collections.abc import Callable
from math import ceil, inf, isinf

from msgspec import Struct

from orchestrator import wording
from orchestrator.stats.estimate import seeds_to_resolve
from orchestrator.stats.looks import Cell
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.staged import SeedDecision, StagedVerdicts


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


def next_run(staged: StagedVerdicts, seconds_of: Callable[[str], float | None]) -> NextRun | None:
    """Choose the run that would help most: by how soon those that wait for it would be told, for each second it takes.

    So a reference's run that several wait for comes before a run of one of them. None where no run is wanted.

    Args:
        staged: how far the campaign has come.
        seconds_of: what a run of an experiment takes; None where nobody knows.
    """
    plan = staged.plan
    serves = {cell: _serves(staged, cell) for cell in staged.wanted}
    if not serves:
        return None

    def gain_per_second(cell: Cell) -> float:
        gain = sum(1.0 / seeds_to_tell(staged.judgements[name], plan.campaign.margin) for name in serves[cell])
        return gain / (seconds_of(cell[0]) or 1.0)

    best = max(serves, key=gain_per_second)
    name, seed = best
    return NextRun(
        run=plan.run_of[best],
        experiment=name,
        seed=seed,
        serves=serves[best],
        seconds=seconds_of(name),
        reason=_reason(staged, serves[best]),
        command=f"knockout run {name} --seeds {seed}-{seed} --profile {plan.campaign.profile}",
    )


def _serves(staged: StagedVerdicts, cell: Cell) -> tuple[str, ...]:
    plan, seed = staged.plan, cell[1]

    def is_served(decision: SeedDecision) -> bool:
        sides = (decision.experiment, plan.arms[decision.experiment].reference or "")
        return seed in decision.wants and plan.run_of[cell] in {plan.run_of[side, seed] for side in sides}

    return tuple(name for name, decision in staged.decisions.items() if is_served(decision))


def seeds_to_tell(judgement: Judgement, margin_points: float) -> float:
    """Say roughly how many more seeds would give a verdict; one where nothing is known yet, infinite for no number."""
    if judgement.error_points is None or judgement.delta_points is None or judgement.fresh is not None:
        return 1.0
    size, level = abs(judgement.delta_points), judgement.level
    off_zero = seeds_to_resolve(judgement, size, level / max(1, judgement.num_compared or 1))
    least = min(off_zero, seeds_to_resolve(judgement, margin_points - size, 2 * level))
    return least if isinf(least) else max(1.0, ceil(least) - len(judgement.seeds))


def _reason(staged: StagedVerdicts, serves: tuple[str, ...]) -> str:
    margin = staged.plan.campaign.margin
    more = {name: seeds_to_tell(staged.judgements[name], margin) for name in serves}
    if not serves:
        return "a control of the campaign: the first look waits for it"
    soonest = min(more, key=lambda name: more[name])
    waits = f"{wording.listed(serves)} {'waits' if len(serves) == 1 else 'wait'} for it"
    judgement = staged.judgements[soonest]
    if judgement.fresh is not None:
        return f"{waits}; {soonest} improved and is to be confirmed on fresh seeds"
    if judgement.error_points is None:
        return f"{waits}; two seeds are needed to say anything of {soonest}"
    if more[soonest] == inf:
        return f"{waits}; no number of seeds alone is likely to tell of {soonest}"
    least, staging = len(judgement.seeds) + more[soonest], staged.plan.campaign.staging
    at = [f"perhaps at the look at {number} seeds" for number in staging.looks if number >= least] if staging else []
    return f"{waits}; {soonest} would be told soonest, {(*at, 'though hardly by any look')[0]}"
