"""Counts how often each reported capture was scored, by which run, and what each score is used for. Pure.

A capture that is scored often enough is no independent test any more. So each scoring is counted, and the report says
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
    """One scoring of a reported capture with the weights of one training."""

    capture: str
    experiment: str
    shared_by: tuple[str, ...]
    """Other experiments with the same configuration, which use the same scoring."""
    seed: int
    run: str
    scored_by: str
    """The run that was scored: this one, or the run of older code whose result was accepted for it."""
    bursts: int
    correct: int


def list_scorings(plan: Plan, records: Mapping[str, RunRecord]) -> list[Scoring]:
    """List every scoring of a reported capture by the runs of a plan, in its order, each once.

    A run scores each such capture once, at its end. A result accepted from a run of older code is that run's scoring.
    It counts once, however many runs use it.
    """
    # The key is the run that was scored, so a result accepted by several runs counts once.
    found: dict[tuple[str, str], Scoring] = {}
    for run in plan.runs:
        for scoring in _scorings_of(plan, run, records.get(run.id)):
            found.setdefault((scoring.capture, scoring.scored_by), scoring)
    return list(found.values())


def _scorings_of(plan: Plan, run: PlannedRun, record: RunRecord | None) -> list[Scoring]:
    if record is None or record.result is None:
        return []
    scores = record.result.scores
    return [
        Scoring(
            capture=capture,
            experiment=run.experiment,
            shared_by=tuple(name for (name, _), id in plan.run_of.items() if id == run.id and name != run.experiment),
            seed=run.seed,
            run=run.id,
            scored_by=(record.provenance.get("accepted") or {}).get("run") or run.id,
            bursts=scores[capture].bursts,
            correct=scores[capture].correct,
        )
        for capture in plan.campaign.reported
        if capture in scores
    ]


def describe_scorings(plan: Plan, found: Sequence[Scoring]) -> list[str]:
    """Say how often each reported capture was scored, what was chosen on it, and what is not counted."""
    campaign = plan.campaign
    choose = campaign.with_role("choose")
    trials = "; their runs are scored here too, once each, but nothing uses these scores and they are not counted"
    looks = f"Searches may look at {wording.listed(choose)} alone{trials if plan.campaign.searches else ''}."
    return [
        *(
            _describe_capture(plan, capture, [each for each in found if each.capture == capture])
            for capture in campaign.reported
        ),
        *campaign.notes,
        *([looks] if choose else ()),
        "Not counted, since they leave no trace: results that a second try replaced, and scorings by hand with "
        "`python -m model.studies.radio.evaluate`. "
        "Runs of other code, seeds or profiles are in the reports on them.",
    ]


def _describe_capture(plan: Plan, capture: str, found: Sequence[Scoring]) -> str:
    times = wording.counted(len(found), "time")
    runs = wording.counted(len({each.scored_by for each in found}), "run")
    configurations = wording.counted(len({each.experiment for each in found}), "configuration")
    return (
        f"{capture} was scored {times}, by {runs} of {configurations}, the baseline and controls among them; "
        f"{_describe_choice(plan, capture)}."
    )


def _describe_choice(plan: Plan, capture: str) -> str:
    """Say what was chosen on a capture. Only the first capture gives verdicts, by which looks give out seeds."""
    if plan.campaign.staging is None or capture != plan.campaign.judged.name:
        return "nothing was chosen on it"
    return (
        "verdicts on it decided which experiments got more seeds, at levels that add up, "
        "and nothing else was chosen on it"
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
    """Accuracy of its run, whatever it is used for; None without a score."""
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
