"""Reads what the runs of a plan left. A run that is not believed is left out, with a sentence that says what to do."""

import shlex
from dataclasses import dataclass

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import NotBelievedError, RunRecord, read_runs
from orchestrator.runs.scores import Measures


@dataclass(frozen=True)
class Gathered:
    """The runs of a plan that are believed, and those that are not."""

    records: dict[str, RunRecord]
    refused: dict[str, str]
    """Run -> a sentence: its folder, what is wrong with it, and the command that trains it again."""


def gather(paths: Paths, plan: Plan) -> Gathered:
    """Read the run folders of a plan. One folder that is broken does not affect the others."""
    found = read_runs(paths, [run.id for run in plan.runs], measures_of(plan.campaign))
    refused = {
        run_id: f"{error.what}; `{command_of(plan, run_id)}` sets it aside and trains the run again"
        if isinstance(error, NotBelievedError)
        else str(error)
        for run_id, error in found.refused.items()
    }
    return Gathered(found.records, refused)


def measures_of(campaign: Campaign) -> Measures:
    """Return what is read of each finished run of a campaign."""
    resume = campaign.task.resume
    return Measures(metrics=campaign.metrics, items=campaign.items, resumes_exactly=resume is None or resume.exact)


def command_of(plan: Plan, run_id: str) -> str:
    """Return the command that trains a run of a plan."""
    experiment, seed = next(cell for cell, planned in plan.run_of.items() if planned == run_id)
    return f"knockout run {experiment} --profile {shlex.quote(plan.campaign.profile)} --seeds {seed}-{seed}"
