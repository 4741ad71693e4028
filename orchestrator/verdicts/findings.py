"""All that one report is made from, worked out once: tables, words and figures read the same findings. Pure."""

from msgspec import Struct

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import Records
from orchestrator.verdicts.claims import Claims, judge_claims
from orchestrator.verdicts.controls import (
    Contribution,
    FalseVerdicts,
    Shuffled,
    contributions,
    false_verdicts,
    shuffled_labels,
)
from orchestrator.verdicts.interactions import InteractionJudgement, judge_interactions
from orchestrator.verdicts.judgement import Judgements
from orchestrator.verdicts.ledger import Scoring, SeedScore, list_scorings, seed_scores
from orchestrator.verdicts.staged import judge_as_declared


class Findings(Struct, frozen=True, kw_only=True):
    """What a campaign concludes, and the runs that it rests on."""

    plan: Plan
    """The arms and runs that the findings are of."""
    records: Records
    """Run id -> what the run left; runs of other arms may be among them."""
    judgements: Judgements
    """One for each arm of the plan."""
    claims: Claims
    """What the source's claims are worth."""
    interactions: tuple[InteractionJudgement, ...]
    """Whether effects add up, one for each pair of the plan."""
    false_verdicts: FalseVerdicts
    """Of the A/A arms."""
    shuffled: tuple[Shuffled, ...]
    """The runs trained on shuffled labels, in the order of the plan."""
    contributions: tuple[Contribution, ...]
    """What each part of a full stack is worth, in the order of the plan."""
    scorings: tuple[Scoring, ...]
    """Every scoring by a reported metric, once."""
    seed_scores: dict[str, tuple[SeedScore, ...]]
    """Arm -> its score at each seed of the campaign."""


def judge_all(plan: Plan, records: Records, judgements: Judgements | None = None) -> Findings:
    """Work out everything that a report says of a plan.

    Args:
        plan: the arms to report on.
        records: run id -> what the run left.
        judgements: of the plan's arms, where they exist already; a part of a campaign is judged among the whole of it.
            None judges the plan as its campaign declares.

    Raises:
        RunError: a run has one item twice, or two runs disagree on the group of an item.
    """
    # The plan comes back narrowed to the runs that the looks asked for.
    if judgements is None:
        plan, judgements = judge_as_declared(plan, records)
    return Findings(
        plan=plan,
        records=records,
        judgements=judgements,
        claims=judge_claims(plan, records, judgements),
        interactions=tuple(judge_interactions(plan, records, judgements)),
        false_verdicts=false_verdicts(plan, judgements),
        shuffled=tuple(shuffled_labels(plan, records)),
        contributions=tuple(contributions(plan, judgements)),
        scorings=tuple(list_scorings(plan, records)),
        seed_scores={name: tuple(seed_scores(plan, records, judgements, name)) for name in plan.arms},
    )
