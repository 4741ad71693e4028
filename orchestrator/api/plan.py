"""`knockout plan`: what would be trained, what is there already, and what the rest would cost. Starts nothing."""

import shutil
from collections.abc import Mapping, Sequence
from statistics import mean

from msgspec import Struct

from model.train.run_folder import EpochRecord, RunFolder
from orchestrator.campaign.arms import Arm, describe_change
from orchestrator.campaign.captures import missing_captures, refuse_same_files
from orchestrator.campaign.selection import Selection, collect_inputs, make_plan
from orchestrator.code.sources import Code, find_code
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.slots import make_own_slots
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import find_second_tries, folder_bytes, read_results, run_seconds
from orchestrator.runs.states import RunState
from orchestrator.wording import describe_bytes, describe_seconds

NUM_MEASURED = 50
"""Of the runs that are done, those whose time and size are read."""


class PreviewRow(Struct, frozen=True, kw_only=True):
    """What an experiment would train."""

    experiment: str
    reference: str | None
    change: str
    to_train: tuple[int, ...]
    finished: tuple[int, ...]
    rejected: str | None = None
    """Why its code is refused, if it is."""


class Cost(Struct, frozen=True, kw_only=True):
    """What the runs to train would take, going by runs of this profile that are done; None where there is none yet."""

    num_runs: int
    num_slots: int
    run_seconds: float | None = None
    """Of one run, on average."""
    run_bytes: float | None = None
    """Of one run's folder, on average."""
    free_bytes: int

    @property
    def wall_seconds(self) -> float | None:
        """Until the last one ends."""
        return None if self.run_seconds is None else self.num_runs * self.run_seconds / self.num_slots

    @property
    def needed_bytes(self) -> float | None:
        """Of all runs together."""
        return None if self.run_bytes is None else self.num_runs * self.run_bytes

    def sentences(self) -> list[str]:
        """Say it to a person."""
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


def preview(selection: Selection) -> Preview:
    """Say what would be trained, what is there already, and what it would cost; starts nothing."""
    code = find_code(selection.paths, snapshot=True)
    missing = missing_captures(selection)
    if missing:
        finished: dict[tuple[str, int], bool] = {}
        notes = [f"{len(missing)} captures are not there yet: {missing[0]}"]
        done: list[RunFolder] = []
    else:
        inputs = collect_inputs(selection, code)
        refuse_same_files([arm.config.data for arm in selection.arms.values()], inputs.captures)
        plan = make_plan(selection, code, inputs)
        results, unreadable = read_results(selection.paths, plan.run_ids)
        again = find_second_tries(selection.paths, plan.run_of, results)
        finished = {key: run_id in results.keys() - again for key, run_id in plan.run_of.items()}
        done = [selection.paths.run(run_id) for run_id, result in results.items() if result.state == RunState.DONE]
        notes = [f"{run_id} would be left out: {why}" for run_id, why in unreadable.items()]
    rows = tuple(_preview_row(arm, selection.seeds, finished, code) for arm in selection.arms.values())
    count = sum(len(row.to_train) for row in rows)
    unmet = find_unmet_need(selection) if count else None
    return Preview(
        rows=rows, notes=(*notes, *([unmet] if unmet else ()), code.note), cost=_cost(selection.paths, count, done)
    )


def _preview_row(arm: Arm, seeds: Sequence[int], finished: Mapping[tuple[str, int], bool], code: Code) -> PreviewRow:
    done = tuple(seed for seed in seeds if finished.get((arm.id, seed)))
    refusal = code.code_of(arm.code).refusal
    return PreviewRow(
        experiment=arm.id,
        reference=arm.reference,
        change=f"the same as {arm.same_as}" if arm.same_as else describe_change(arm),
        to_train=() if arm.same_as or refusal else tuple(seed for seed in seeds if seed not in done),
        finished=done,
        rejected=refusal,
    )


def _cost(paths: Paths, num_runs: int, done: Sequence[RunFolder]) -> Cost:
    slots = make_own_slots(None)
    epochs = [records for folder in done[:NUM_MEASURED] if (records := _read_epochs(folder))]
    seconds, sizes = [run_seconds(records) for records in epochs], [*map(folder_bytes, done[:NUM_MEASURED])]
    there = next(folder for folder in (paths.results, paths.root) if folder.exists())
    return Cost(
        num_runs=num_runs,
        num_slots=len(slots),
        run_seconds=mean(seconds) if seconds else None,
        run_bytes=mean(sizes) if sizes else None,
        free_bytes=shutil.disk_usage(there).free,
    )


def _read_epochs(folder: RunFolder) -> list[EpochRecord]:
    """Read the epochs of a run; none of one that cannot be read, since what a plan costs is a guess."""
    try:
        return folder.read_epochs()
    except (OSError, ValueError):
        return []


def find_unmet_need(selection: Selection) -> str | None:
    """Say what this machine lacks for the study's configurations; None if it has all."""
    compiled = [arm.id for arm in selection.arms.values() if arm.config.runtime.compile]
    problem = find_compiler_problem() if compiled else None
    return None if problem is None else f"{', '.join(compiled)}: {problem}"
