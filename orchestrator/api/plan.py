"""`knockout plan`: which runs would be trained, which have a result, and what the rest would cost. Starts nothing."""

import shutil
from collections.abc import Mapping, Sequence
from statistics import mean

from msgspec import Struct

from orchestrator.campaign.arms import Arm, describe_change
from orchestrator.campaign.captures import missing_captures, refuse_same_files
from orchestrator.campaign.selection import (
    COMPILER,
    GPU,
    Request,
    Selection,
    collect_inputs,
    make_plan,
    open_campaign,
    profiles_without_gpu,
)
from orchestrator.code.sources import Code, find_code
from orchestrator.errors import DataError
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.slots import find_gpu_problem, make_own_slots
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.results import find_second_tries, folder_bytes, read_results, run_seconds
from orchestrator.runs.states import RunState
from orchestrator.supervisor.attempts import read_attempts
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import counted, describe_bytes, describe_seconds

__all__ = ["Cost", "Planned", "Preview", "PreviewRow", "Request", "plan"]

NUM_MEASURED = 50
"""Most finished runs whose time and size are read for the estimate."""


class PreviewRow(Struct, frozen=True, kw_only=True):
    """The seeds of an experiment that would be trained, and those that have a result."""

    experiment: str
    reference: str | None
    change: str
    to_train: tuple[int, ...]
    finished: tuple[int, ...]
    rejected: str | None = None
    """Why its code is refused; None if it is not."""


class Cost(Struct, frozen=True, kw_only=True):
    """The cost of the runs to train, estimated from finished runs of this profile; None if there is none yet."""

    num_runs: int
    num_slots: int
    run_seconds: float | None = None
    """Mean seconds of a run."""
    run_bytes: float | None = None
    """Mean bytes of a run folder."""
    free_bytes: int

    @property
    def wall_seconds(self) -> float | None:
        """Seconds until the last run ends."""
        return None if self.run_seconds is None else self.num_runs * self.run_seconds / self.num_slots

    @property
    def needed_bytes(self) -> float | None:
        """Bytes of all runs together."""
        return None if self.run_bytes is None else self.num_runs * self.run_bytes

    def sentences(self) -> list[str]:
        """Return the estimate as sentences."""
        runs = f"{self.num_runs} run{'' if self.num_runs == 1 else 's'} to train"
        if self.num_runs == 0:
            return [runs]
        if self.wall_seconds is None or self.needed_bytes is None:
            return [f"{runs}; what they cost is known once one of this profile is done"]
        at_once = f"{self.num_slots} at a time" if self.num_slots > 1 else "one at a time"
        cost = f"about {describe_seconds(self.wall_seconds)}, {at_once}"
        disk = f"{describe_bytes(self.needed_bytes)} of disk, {describe_bytes(self.free_bytes)} are free"
        short = [] if self.needed_bytes < self.free_bytes else ["the disk is too small for that: free some space first"]
        return [f"{runs}: {cost}; {disk}", *short]


class Preview(Struct, frozen=True, kw_only=True):
    """What `knockout run` would do."""

    rows: tuple[PreviewRow, ...]
    notes: tuple[str, ...]
    cost: Cost


class Planned(Struct, frozen=True, kw_only=True):
    """A preview, and what it is of."""

    campaign: str
    profile: str
    preview: Preview
    default_note: str | None
    """Says how many experiments were taken because none was named; None if all of the file were taken."""


def plan(request: Request) -> Planned:
    """Return what `run` would train, what has its result already, and what the rest would cost. Starts nothing.

    Raises:
        SpecError: the campaign file is refused.
        DataError: a capture cannot be read, or roles share bursts.
    """
    selection = open_campaign(request)
    return Planned(
        campaign=selection.campaign.name,
        profile=selection.campaign.profile,
        preview=preview(selection),
        default_note=selection.default_note,
    )


def preview(selection: Selection) -> Preview:
    """Return what would be trained, which runs have a result, and what the rest would cost. Starts nothing."""
    code = find_code(selection.paths, snapshot=True, code=selection.campaign.task.code)
    missing = missing_captures(selection)
    if missing:
        finished: dict[tuple[str, int], bool] = {}
        notes = [f"{counted(len(missing), 'file is', 'files are')} not there yet: {missing[0]}"]
        done: list[RunFolder] = []
    else:
        inputs = collect_inputs(selection, code)
        refuse_same_files(selection, inputs.files)
        runs = make_plan(selection, code, inputs)
        results, unreadable = read_results(selection.paths, runs.run_ids)
        again = find_second_tries(selection.paths, runs.run_of, results)
        finished = {key: run_id in results.keys() - again for key, run_id in runs.run_of.items()}
        done = [selection.paths.run(run_id) for run_id, result in results.items() if result.state == RunState.DONE]
        notes = [f"{run_id} would be left out: {why}" for run_id, why in unreadable.items()]
    rows = tuple(_preview_row(arm, selection.seeds, finished, code) for arm in selection.arms.values())
    count = sum(len(row.to_train) for row in rows)
    needs = (find_gpu_need(selection), find_compiler_need(selection)) if count else ()
    cost = _cost(selection, count, done)
    stops = describe_stops(selection.campaign.task, cost.run_seconds) if count else None
    all_notes = (*filter(None, (stops, *needs)), *notes, code.note)
    return Preview(rows=rows, notes=all_notes, cost=cost)


def describe_stops(task: TaskSpec, run_seconds: float | None) -> str | None:
    """Say what the stop of a run of a script costs; None for jobs that hold their own folder: they lose an epoch.

    Args:
        task: the task.
        run_seconds: mean seconds of a run; None if nobody knows them.
    """
    if not task.supervised:
        return None
    if task.resume is None:
        lost = "" if run_seconds is None else f", at most about {describe_seconds(run_seconds)} of work"
        return f"a run that is stopped starts over{lost}: the task has no `resume`"
    marked = "" if task.resume.exact else ", and is marked: its numbers differ from those of one that was never stopped"
    return f"a run that is stopped goes on from its newest checkpoint{marked}"


def _preview_row(arm: Arm, seeds: Sequence[int], finished: Mapping[tuple[str, int], bool], code: Code) -> PreviewRow:
    done = tuple(seed for seed in seeds if finished.get((arm.id, seed)))
    refusal = code.code_of(arm.code).refusal
    return PreviewRow(
        experiment=arm.id,
        reference=arm.reference,
        change=f"the same as {arm.same_as}" if arm.same_as else describe_change(arm),
        # Runs that two experiments share are trained once, so they are counted at the first of the two.
        to_train=() if arm.same_as or refusal else tuple(seed for seed in seeds if seed not in done),
        finished=done,
        rejected=refusal,
    )


def _cost(selection: Selection, num_runs: int, done: Sequence[RunFolder]) -> Cost:
    paths, slots = selection.paths, make_own_slots(None, selection.campaign.slots_per_gpu)
    # A few finished runs are enough for an estimate.
    # Reading thousands of folders would take longer than the answer is worth.
    found = map(_read_seconds, done[:NUM_MEASURED])
    seconds, sizes = [each for each in found if each], [*map(folder_bytes, done[:NUM_MEASURED])]
    there = next(folder for folder in (paths.results, paths.root) if folder.exists())
    return Cost(
        num_runs=num_runs,
        num_slots=len(slots),
        run_seconds=mean(seconds) if seconds else None,
        run_bytes=mean(sizes) if sizes else None,
        free_bytes=shutil.disk_usage(there).free,
    )


def _read_seconds(folder: RunFolder) -> float | None:
    """Return the seconds of a run; None if it cannot be read, since the cost is only an estimate."""
    try:
        attempts = read_attempts(folder.attempts)
        if not attempts:
            return run_seconds(folder.read_epochs())
        # A script may tell no step, and its imports take time too. Its result is written last.
        begun_epoch_seconds = attempts[-1].begun_epoch_seconds - attempts[-1].spent_seconds
        return max(0.0, folder.result.stat().st_mtime - begun_epoch_seconds)
    except (OSError, ValueError):
        return None


def find_gpu_need(selection: Selection) -> str | None:
    """Say that the configurations need a GPU and there is none; None if they need none, or only a job can know."""
    if all(GPU not in arm.about.needs for arm in selection.arms.values()):
        return None
    # The other profiles are asked about only where there is something to advise.
    if find_gpu_problem(selection.campaign.profile, ()) is None:
        return None
    return find_gpu_problem(selection.campaign.profile, profiles_without_gpu(selection))


def refuse_without_gpu(selection: Selection) -> None:
    """Refuse configurations that need a GPU before anybody looks for their captures, or makes them.

    Captures that are there may have all their results. Then nothing is trained, and no GPU is needed.

    Raises:
        DataError: captures are missing, and this machine has no GPU for jobs.
    """
    if missing_captures(selection) and (problem := find_gpu_need(selection)) is not None:
        raise DataError(problem)


def find_compiler_need(selection: Selection) -> str | None:
    """Say which compiler this machine lacks for the configurations; None if it lacks none."""
    compiled = [arm.id for arm in selection.arms.values() if COMPILER in arm.about.needs]
    problem = find_compiler_problem() if compiled else None
    return None if problem is None else f"{', '.join(compiled)}: {problem}"
