"""How often the captures that are only for reporting were scored, and by whom. Pure.

A capture that is looked at often enough is no test any more, whoever looks: each scoring is counted, and the report
says how many there were and that nothing was chosen on them.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from orchestrator import wording
from orchestrator.evidence import RunRecord
from orchestrator.plan import Plan, PlannedRun


class Scoring(Struct, frozen=True, kw_only=True):
    """One pass over a reported capture with the weights of one training."""

    capture: str
    experiment: str
    shared_by: tuple[str, ...]
    """Other experiments that are the same configuration, and read the same scoring."""
    seed: int
    run: str
    scored_by: str
    """The run that was scored: itself, or the run of older code whose result it took."""
    bursts: int
    correct: int


def scorings(plan: Plan, records: Mapping[str, RunRecord]) -> list[Scoring]:
    """List every scoring of a reported capture by the runs of a plan, in its order, each once.

    A run scores each such capture once, at its end. A result that was taken from a run of older code is that run's
    scoring, and counts once however many runs took it.
    """
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
        for capture in plan.campaign.data.report
        if capture in scores
    ]


def describe_scorings(plan: Plan, found: Sequence[Scoring]) -> list[str]:
    """Say how often each reported capture was scored, what chose what was scored, and what nobody can count."""
    data = plan.campaign.data
    sentences = [_count(capture, [each for each in found if each.capture == capture]) for capture in data.report]
    searches = [f"Searches may look at {wording.listed(data.choose)} alone."] if data.choose else []
    staged = (
        [f"Which experiments were given more seeds was decided by verdicts on {data.report[0]}, at levels that add up."]
        if plan.campaign.staging
        else []
    )
    return [
        *sentences,
        f"Of each run, the epoch of the lowest validation loss (on {wording.listed(data.validate)}) was scored, once.",
        *searches,
        *staged,
        "Not counted, since no trace of them is left: results that a second try replaced. Runs of other code, seeds or "
        "profiles are in the reports on them.",
    ]


def _count(capture: str, found: Sequence[Scoring]) -> str:
    times = wording.counted(len(found), "time")
    runs = wording.counted(len({each.scored_by for each in found}), "run")
    experiments = wording.counted(len({each.experiment for each in found}), "experiment")
    return f"{capture} was scored {times}, by {runs} of {experiments}; nothing was chosen on it."
