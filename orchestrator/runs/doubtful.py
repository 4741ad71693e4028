"""Runs whose files contradict each other. They are set aside when they are queued again; nothing is deleted."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.runs.paths import Paths
from orchestrator.runs.record import NotBelievedError, read_runs


def find_doubtful(paths: Paths, run_ids: Iterable[str]) -> dict[str, NotBelievedError]:
    """Return the runs whose files contradict each other, each with the error.

    A folder that the system refuses to read does not count: that may pass, and says nothing about the run.
    """
    refused = read_runs(paths, run_ids).refused
    return {run_id: error for run_id, error in refused.items() if isinstance(error, NotBelievedError)}


def set_aside(paths: Paths, doubtful: Mapping[str, NotBelievedError]) -> list[str]:
    """Set aside what is not believed, so that the runs are trained again; return what was done, in sentences.

    If only the result is doubtful, the checkpoint stays: the run goes on from there and is scored again.
    """
    said = []
    for run_id, error in doubtful.items():
        folder = paths.run(run_id)
        if error.is_result_alone:
            place = folder.set_result_aside()
        else:
            place = _free_place(paths.set_aside(run_id))
            place.parent.mkdir(parents=True, exist_ok=True)
            # Another command may have moved it just now.
            with contextlib.suppress(FileNotFoundError):
                folder.path.replace(place)
        said.append(f"{error.what}; it is set aside as {place}, and the run is trained again")
    return said


def _free_place(path: Path) -> Path:
    """Return a path where nothing lies yet: the path itself, or with -2, -3, ... behind its name."""
    number = 1
    place = path
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    return place
