"""How runs ended and who works on them, as their folders say. The queue is not asked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median

from orchestrator.errors import RunError
from orchestrator.runs.folder import EpochRecord, Result, RunFolder
from orchestrator.runs.job_lock import HeldError, Holder
from orchestrator.runs.members import list_members
from orchestrator.runs.paths import Paths
from orchestrator.runs.probes import read_probes
from orchestrator.runs.states import RunState


def read_result(folder: RunFolder) -> Result | None:
    """Read a run's result.

    Raises:
        RunError: another version wrote it, or it cannot be read.
    """
    try:
        return folder.read_result()
    except ValueError as error:
        raise RunError(f"{error}; move {folder.path} away to train it again") from None
    except NotADirectoryError:
        raise RunError(f"{folder.path}: this is a file, wanted is a run folder; move it away") from None
    except OSError as error:
        raise RunError(
            f"{folder.result}: this cannot be read: {error.strerror}; ask its owner for the right to read "
            f"it, or move {folder.path} away to train it again"
        ) from None


def read_results(paths: Paths, run_ids: Iterable[str]) -> tuple[dict[str, Result], dict[str, str]]:
    """Return the results of runs that have ended, and a sentence for each run whose result cannot be read."""
    finished: dict[str, Result] = {}
    unreadable: dict[str, str] = {}
    for run_id in run_ids:
        try:
            result = read_result(paths.run(run_id))
        except RunError as error:
            unreadable[run_id] = str(error)
        else:
            if result is not None:
                finished[run_id] = result
    return finished, unreadable


def finished_results(paths: Paths, run_ids: Iterable[str], forget: Collection[str] = ()) -> dict[str, Result]:
    """Return the results of runs that have ended.

    Args:
        paths: the campaign's folders.
        run_ids: the runs.
        forget: runs that will be trained again; their results are removed, and not returned.

    Raises:
        RunError: a failed run's result cannot be removed.
    """
    finished, _ = read_results(paths, run_ids)
    for run_id in finished.keys() & set(forget):
        remove_result(paths.run(run_id))
    return {run_id: result for run_id, result in finished.items() if run_id not in forget}


def remove_result(folder: RunFolder) -> None:
    """Remove a run's result, so that it is trained again.

    Raises:
        RunError: it cannot be removed.
    """
    try:
        folder.result.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{folder.result}: this cannot be removed: {error.strerror}; ask its owner for the right to "
            f"write in {folder.path}"
        ) from None


def count_ended(paths: Paths, run_ids: Iterable[str]) -> int:
    """Count the runs that have ended."""
    return len(read_results(paths, run_ids)[0])


def find_holder(folder: RunFolder) -> str | None:
    """Return a phrase about who works in a folder; None if nobody does.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        holder = folder.holder()
    except HeldError as error:
        return str(error)
    except NotADirectoryError:
        # The path is a file, so no job works in it.
        return None
    return None if holder is None else _describe(holder, folder)


def _describe(holder: Holder, folder: RunFolder) -> str:
    """Name who holds a folder: the recorded job, or a process that the dead job left behind."""
    # A job can die and leave a process behind that still has the lock, such as a data loader.
    left = [] if not holder.is_here or holder.is_alive else list_members(folder)
    if left:
        return f"process {left[0].pid} on {left[0].host}, which its job left behind, is at work on it"
    return f"process {holder.pid} on {holder.host} is at work on it"


def describe_holder(folder: RunFolder) -> str | None:
    """Return a sentence about who works in a folder, or that this cannot be read; None if nobody does."""
    try:
        return find_holder(folder)
    except OSError as error:
        return (
            f"{folder.lock}: it is unknown whether a job is at work here: {error.strerror}; ask its "
            f"owner for the right to read {folder.path}, or move it away"
        )


def has_job(folder: RunFolder) -> bool:
    """Whether a job works in a folder, as far as this machine can tell."""
    try:
        return find_holder(folder) is not None
    except OSError:
        return False


def describe_forgotten(paths: Paths) -> list[str]:
    """Say how many run folders have no result, for an empty queue; no sentence if there are none."""
    count = sum(map(_is_unfinished, paths.ordered_runs()))
    if count == 0:
        return []
    runs = "1 run folder has" if count == 1 else f"{count} run folders have"
    return [f"the queue is empty, but {runs} no result yet: `knockout rebuild` lets such runs wait again"]


def _is_unfinished(folder: RunFolder) -> bool:
    try:
        return not folder.result.exists()
    except OSError:
        # Counted: `knockout rebuild` will say what is wrong with it.
        return True


RunIds = Mapping[tuple[str, int], str]
"""(experiment, seed) -> run id."""


def find_contradicted(run_of: RunIds, results: Mapping[str, Result]) -> set[str]:
    """Return the runs that were stopped as too slow while another seed of their experiment is done.

    Args:
        run_of: (experiment, seed) -> run id.
        results: run id -> its result; runs without one are missing.
    """
    states: dict[str, dict[str, str]] = {}
    for (experiment, _), run in run_of.items():
        if run in results:
            states.setdefault(experiment, {})[run] = results[run].state
    return {
        run
        for of_seeds in states.values()
        if RunState.DONE in of_seeds.values()
        for run, state in of_seeds.items()
        if state == RunState.TOO_SLOW
    }


def find_second_tries(paths: Paths, run_of: RunIds, results: Mapping[str, Result]) -> set[str]:
    """Return the contradicted runs that a probe has stopped only once: each gets one second try."""
    return {
        run
        for run in find_contradicted(run_of, results)
        # Two rulings settle it: without this limit a run near the guard would be tried for ever.
        if sum(probe.is_slow for probe in read_probes(paths.run(run))) == 1
    }


def run_seconds(epochs: Sequence[EpochRecord]) -> float:
    """Return the seconds of a run's epochs: median times number, so that some slow epochs do not count."""
    return median(epoch.seconds for epoch in epochs) * len(epochs) if epochs else 0.0


def folder_bytes(folder: RunFolder) -> int:
    """Return the bytes of the files in a run folder; 0 if it cannot be read."""
    try:
        return sum(path.stat().st_size for path in folder.path.iterdir() if path.is_file())
    except OSError:
        return 0
