"""What the runs of a plan left, as far as it is believed. Of the rest a sentence each says why, and what to do.

What is not believed is set aside when it is queued again, and nothing of it is deleted.
"""

import contextlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.evidence import NotBelievedError, RunRecord, read_runs
from orchestrator.layout import Layout
from orchestrator.plan import Plan


@dataclass(frozen=True)
class Gathered:
    """What is believed of the runs of a plan, and what is not."""

    records: dict[str, RunRecord]
    refused: dict[str, str]
    """Run -> a sentence: its folder, what is wrong with it, and the command that trains it again."""


def gather(layout: Layout, plan: Plan) -> Gathered:
    """Read the run folders of a plan. A folder that cannot be read, or believed, keeps no other out."""
    found = read_runs(layout, [run.id for run in plan.runs])
    told = {
        run_id: f"{error.what}; `{command_of(plan, run_id)}` sets it aside and trains the run again"
        if isinstance(error, NotBelievedError)
        else str(error)
        for run_id, error in found.refused.items()
    }
    return Gathered(found.records, told)


def command_of(plan: Plan, run_id: str) -> str:
    """Return the command that trains a run of a plan."""
    experiment, seed = next(cell for cell, planned in plan.run_of.items() if planned == run_id)
    return f"knockout run {experiment} --profile {shlex.quote(plan.campaign.profile)} --seeds {seed}-{seed}"


def find_doubtful(layout: Layout, run_ids: Iterable[str]) -> dict[str, NotBelievedError]:
    """Return the runs whose files contradict each other, with what is wrong.

    A folder that the system does not let us read is none of them: that may pass, and says nothing about the run.
    """
    refused = read_runs(layout, run_ids).refused
    return {run_id: error for run_id, error in refused.items() if isinstance(error, NotBelievedError)}


def set_aside(layout: Layout, doubtful: Mapping[str, NotBelievedError]) -> list[str]:
    """Move what is not believed out of the way, so that it is trained again; return what was done, in sentences.

    Of a result that is doubtful alone, the checkpoint stays: the run goes on from there, and is scored again.
    """
    said = []
    for run_id, error in doubtful.items():
        folder = layout.run(run_id)
        if error.is_result_alone:
            place = folder.set_result_aside()
        else:
            place = _free_place(layout.results / "set-aside" / run_id)
            place.parent.mkdir(parents=True, exist_ok=True)
            # Another command may have set it aside just now.
            with contextlib.suppress(FileNotFoundError):
                folder.path.replace(place)
        said.append(f"{error.what}; it is set aside as {place}, and the run is trained again")
    return said


def _free_place(path: Path) -> Path:
    """Return the first of a path, and the path with a number behind it, where nothing lies yet."""
    number = 1
    place = path
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    return place
