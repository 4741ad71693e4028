"""Counts how often each reported metric was read, of which run, and what each score is used for. Pure.

Data that are scored often enough are no independent test any more. So each scoring is counted, and the report says
how many there were and what was chosen on them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from orchestrator import wording
from orchestrator.campaign.plan import Plan, PlannedRun
from orchestrator.runs.record import RunRecord
from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.comparisons import runs_by_seed, scores_by_seed
from orchestrator.verdicts.judgement import Judgements


class Scoring(Struct, frozen=True, kw_only=True):
    """One scoring by a reported metric, of one training."""

    metric: str
    experiment: str
    shared_by: tuple[str, ...]
    """Other experiments with the same configuration, which use the same scoring."""
    seed: int
    run: str
    scored_by: str
    """The run that was scored: this one, or the run of older code whose result was accepted for it."""
    score: float
    """In the metric's unit."""
    num_items: int | None
    num_right: int | None
    """How many items are right, if the metric is a share of them."""


def list_scorings(plan: Plan, records: Mapping[str, RunRecord]) -> list[Scoring]:
    """List every scoring by a reported metric of the runs of a plan, in its order, each once.

    A run is scored once, at its end. A result accepted from a run of older code is that run's scoring.
    It counts once, however many runs use it.
    """
    # The key is the run that was scored, so a result accepted by several runs counts once.
    found: dict[tuple[str, str], Scoring] = {}
    for run in plan.runs:
        for scoring in _scorings_of(plan, run, records.get(run.id)):
            found.setdefault((scoring.metric, scoring.scored_by), scoring)
    return list(found.values())


def _scorings_of(plan: Plan, run: PlannedRun, record: RunRecord | None) -> list[Scoring]:
    if record is None:
        return []
    scores = record.scores
    return [
        Scoring(
            metric=metric,
            experiment=run.experiment,
            shared_by=tuple(name for (name, _), id in plan.run_of.items() if id == run.id and name != run.experiment),
            seed=run.seed,
            run=run.id,
            scored_by=(record.provenance.get("accepted") or {}).get("run") or run.id,
            score=scores[metric].value,
            num_items=scores[metric].num_items,
            num_right=scores[metric].num_right,
        )
        for metric in reported_metrics(plan)
        if metric in scores
    ]


def describe_scorings(plan: Plan, found: Sequence[Scoring]) -> list[str]:
    """Say how often each reported metric was read, what was chosen by it, and what is not counted."""
    choose = [name for name, metric in plan.campaign.metrics.items() if metric.role == "choose"]
    trials = "; their runs are scored here too, once each, but nothing uses these scores and they are not counted"
    looks = f"Searches may look at {wording.listed(choose)} alone{trials if plan.campaign.searches else ''}."
    return [
        *(
            _describe_metric(plan, metric, [each for each in found if each.metric == metric])
            for metric in reported_metrics(plan)
        ),
        *([looks] if choose else ()),
        "Not counted, since they leave no trace: results that a second try replaced, and scorings by hand. "
        "Runs of other code, seeds or profiles are in the reports on them.",
    ]


def reported_metrics(plan: Plan) -> list[str]:
    """Return the metrics that a report judges or shows."""
    return [name for name, metric in plan.campaign.metrics.items() if metric.is_evidence]


def _describe_metric(plan: Plan, metric: str, found: Sequence[Scoring]) -> str:
    times = wording.counted(len(found), "time")
    runs = wording.counted(len({each.scored_by for each in found}), "run")
    configurations = wording.counted(len({each.experiment for each in found}), "configuration")
    return (
        f"{metric} was scored {times}, by {runs} of {configurations}, the baseline and controls among them; "
        f"{_describe_choice(plan, metric)}."
    )


def _describe_choice(plan: Plan, metric: str) -> str:
    """Say what was chosen by a metric. Looks give out seeds by the verdicts of the main one."""
    if metric != plan.campaign.judged.name:
        return "no epoch and no search was chosen by it"
    seeds = "" if plan.campaign.staging is None else "which experiments got more seeds, at levels that add up, and "
    return (
        f"no epoch and no search was chosen by it; verdicts by it decide {seeds}which experiments are kept and built on"
    )


class SeedUse(StrEnum):
    """What the score of an experiment at a seed is used for."""

    LOOK = "look"
    """The experiment's mean and its verdict. A campaign without looks has no other use."""
    FRESH = "fresh"
    """The confirmation of an improvement alone, not the mean or the verdict."""
    REFERENCE = "reference"
    """A reference for other experiments alone."""


class SeedScore(Struct, frozen=True, kw_only=True):
    """What is known of an experiment at one seed."""

    experiment: str
    seed: int
    score: float | None
    """Of its run by the main metric, whatever it is used for; None without a score."""
    delta_points: float | None
    """Difference to the reference at the same seed, if the verdict uses it."""
    fresh_delta_points: float | None
    """The same difference, if the confirmation uses it."""
    used_for: SeedUse | None
    """None without a score, and while nothing uses the score."""


def seed_scores(
    plan: Plan, records: Mapping[str, RunRecord], judgements: Judgements, experiment: str
) -> list[SeedScore]:
    """Return what is known of an experiment at each of the campaign's seeds, in their order."""
    judgement = judgements[experiment]
    fresh = judgement.fresh or Estimate()
    score_of = scores_by_seed(runs_by_seed(plan, records, experiment), plan.campaign.judged.name)
    return [
        SeedScore(
            experiment=experiment,
            seed=seed,
            score=score_of.get(seed),
            delta_points=judgement.delta_points_of.get(seed),
            fresh_delta_points=fresh.delta_points_of.get(seed),
            used_for=_find_use(plan, judgements, experiment, seed) if seed in score_of else None,
        )
        for seed in plan.campaign.seeds
    ]


def _find_use(plan: Plan, judgements: Judgements, experiment: str, seed: int) -> SeedUse | None:
    """Return what a score is used for. Experiments share runs, so a reference may stand under another name."""
    judgement, run = judgements[experiment], plan.run_of[experiment, seed]
    if seed in judgement.score_of:
        return SeedUse.LOOK
    if judgement.fresh and _rests_on(judgement.fresh, seed):
        return SeedUse.FRESH
    # Runs are compared by id: a reference under another name has the same run.
    others = [other for other in judgements.values() if other.reference and plan.run_of[other.reference, seed] == run]
    is_reference = any(_rests_on(each, seed) for other in others for each in (other, other.fresh) if each)
    return SeedUse.REFERENCE if is_reference else None


def _rests_on(estimate: Estimate, seed: int) -> bool:
    # A dropped seed counts too: this side's score waits there for the score of the other.
    return seed in estimate.seeds or seed in estimate.dropped_seeds
