"""Chooses the run to train next: the one with the most progress a second. Pure.

Example: E5 needs one more seed and H2 needs four, and both wait for a run of the baseline that takes 100 s. Its gain is
(1/1 + 1/4) / 100 = 0.0125 a second. A run of E5 of 100 s has 1/1 / 100 = 0.01, so the baseline's comes first.
"""

from collections.abc import Callable
from math import inf

from msgspec import Struct

from orchestrator import wording
from orchestrator.design.looks import Cell
from orchestrator.design.needed import fewest_to_decide, seeds_to_resolve
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.scale import Scale
from orchestrator.verdicts.staged import SeedDecision, StagedVerdicts


class NextRun(Struct, frozen=True, kw_only=True):
    """The run with the most progress a second."""

    run: str
    experiment: str
    seed: int
    serves: tuple[str, ...]
    """The experiments that wait for it."""
    seconds: float | None
    """Its expected time, from runs that are done; None without one."""
    reason: str
    command: str


def next_run(staged: StagedVerdicts, seconds_of: Callable[[str], float | None]) -> NextRun | None:
    """Return the run with the most progress a second; None if no run is wanted.

    The progress is the sum of 1 / (seeds still needed) over the experiments that wait for the run. So a run of a
    reference comes before a run of one experiment, if several experiments wait for it.

    Args:
        staged: the state of the campaign.
        seconds_of: experiment -> expected seconds of one of its runs; None if unknown.
    """
    plan = staged.plan
    margin = Scale(plan.campaign.judged).margin_points
    serves = {cell: _find_waiting(staged, cell) for cell in staged.wanted}
    if not serves:
        return None

    def gain_per_second(cell: Cell) -> float:
        # An experiment that one more seed may decide counts 1, one that needs ten seeds 0.1.
        gain = sum(1.0 / seeds_to_decide(staged.judgements[name], margin) for name in serves[cell])
        # Without any measured run all times count as equal.
        return gain / (seconds_of(cell[0]) or 1.0)

    best = max(serves, key=gain_per_second)
    name, seed = best
    return NextRun(
        run=plan.run_of[best],
        experiment=name,
        seed=seed,
        serves=serves[best],
        seconds=seconds_of(name),
        reason=_describe_reason(staged, serves[best]),
        command=f"knockout run {name} --seeds {seed}-{seed} --profile {plan.campaign.profile}",
    )


def _find_waiting(staged: StagedVerdicts, cell: Cell) -> tuple[str, ...]:
    plan, seed = staged.plan, cell[1]

    def is_served(decision: SeedDecision) -> bool:
        sides = (decision.experiment, plan.arms[decision.experiment].reference or "")
        return seed in decision.wants and plan.run_of[cell] in {plan.run_of[side, seed] for side in sides}

    return tuple(name for name, decision in staged.decisions.items() if is_served(decision))


def seeds_to_decide(judgement: Judgement, margin_points: float) -> float:
    """Return roughly how many more seeds would give a verdict if the difference stays.

    One if nothing is known yet; infinite if the difference, as it stands, takes more than seeds.
    """
    if judgement.error_points is None or judgement.delta_points is None or judgement.fresh is not None:
        return 1.0
    fewest = fewest_to_decide(judgement, margin_points, judgement.num_compared or 1, judgement.level, seeds_to_resolve)
    return max(1.0, fewest - len(judgement.seeds))


def _describe_reason(staged: StagedVerdicts, serves: tuple[str, ...]) -> str:
    margin = Scale(staged.plan.campaign.judged).margin_points
    more = {name: seeds_to_decide(staged.judgements[name], margin) for name in serves}
    if not serves:
        return "it is a control of the campaign, and the first look waits for it"
    soonest = min(more, key=lambda name: more[name])
    waits = f"{wording.listed(serves)} {'waits' if len(serves) == 1 else 'wait'} for it"
    judgement = staged.judgements[soonest]
    if judgement.fresh is not None:
        return f"{waits}; {soonest} improved and needs a confirmation on fresh seeds"
    if judgement.error_points is None:
        return f"{waits}; {soonest} needs two seeds for any verdict"
    if more[soonest] == inf:
        return f"{waits}; if its difference stays, more seeds alone hardly decide {soonest}"
    least, staging = len(judgement.seeds) + more[soonest], staged.plan.campaign.staging
    at = [f"perhaps at the look at {number} seeds" for number in staging.looks if number >= least] if staging else []
    return f"{waits}; if the differences stay, {soonest} is decided first, {(*at, 'but hardly at any look')[0]}"
