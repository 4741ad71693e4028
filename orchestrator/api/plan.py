"""`knockout plan`: which runs would be trained, which have a result, and what the rest would cost. Starts nothing."""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from orchestrator.campaign.arms import Arm, describe_change
from orchestrator.campaign.captures import missing_captures, refuse_same_files
from orchestrator.campaign.fields import BASELINE
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
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.campaign.spec import Campaign
from orchestrator.code.sources import Code, find_code
from orchestrator.errors import DataError, RunError
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.slots import find_gpu_problem, make_own_slots
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.paths import Paths
from orchestrator.runs.results import find_second_tries, folder_bytes, read_results, run_seconds
from orchestrator.runs.states import RunState
from orchestrator.supervisor.attempts import read_attempts
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import counted, describe_bytes, describe_seconds

if TYPE_CHECKING:
    # The module loads scipy, which a plan without finished runs does not need.
    from orchestrator.report.power import Outlook

__all__ = ["Budget", "Cost", "Planned", "Preview", "PreviewRow", "Request", "plan"]

NUM_MEASURED = 50
"""Most finished runs whose time and size are read for the estimate."""


PILOT_TRAININGS = 4
"""Trainings that a first spread is asked from."""
SHORTEST_SECONDS = 1e-3
RUN_NAME = re.compile(r"(?P<experiment>.+)-s(?P<seed>\d+)-[0-9a-f]{8}")


class Budget(Struct, frozen=True, kw_only=True):
    """What the designs that `plan` proposes may cost; at most one of the two is set."""

    trainings: int | None = None
    seconds: float | None = None
    """By the clock, with all slots of this machine at work."""


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
    outlook: "Outlook | None" = None
    """What the campaign finds, as numbers; None where it compares nothing, or where nothing is known."""
    outlook_notes: tuple[str, ...] = ()
    """The same as sentences, or the way to know it; empty where the campaign compares nothing."""


class Planned(Struct, frozen=True, kw_only=True):
    """A preview, and what it is of."""

    campaign: str
    profile: str
    preview: Preview
    default_note: str | None
    """Says how many experiments were taken because none was named; None if all of the file were taken."""


def plan(request: Request, budget: Budget | None = None) -> Planned:
    """Return what `run` would train, what the rest would cost, and what the campaign sees. Starts nothing.

    Args:
        request: what is asked for.
        budget: of the designs that are proposed; None for those that find a difference of the margin.

    Raises:
        SpecError: the campaign file is refused.
        DataError: a capture cannot be read, or roles share bursts.
    """
    selection = open_campaign(request)
    return Planned(
        campaign=selection.campaign.name,
        profile=selection.campaign.profile,
        preview=preview(selection, budget),
        default_note=selection.default_note,
    )


def preview(selection: Selection, budget: Budget | None = None) -> Preview:
    """Return what would be trained, which runs have a result, what the rest costs, and what all see. Starts nothing."""
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
    outlook, outlook_notes = _look_ahead(selection, code, cost, budget)
    return Preview(rows=rows, notes=all_notes, cost=cost, outlook=outlook, outlook_notes=outlook_notes)


def _look_ahead(
    selection: Selection, code: Code, cost: Cost, budget: Budget | None
) -> "tuple[Outlook | None, tuple[str, ...]]":
    """Return what the campaign finds, and sentences; these say how to know it where no runs tell it yet."""
    if all(arm.reference is None or arm.control for arm in selection.arms.values()):
        return None, ()
    short = describe_budget(cost, budget) if budget else None
    try:
        outlook, told = _foresee(selection, code, cost, budget)
    except RunError as error:
        return None, (f"what this campaign finds cannot be worked out: {error}",)
    return outlook, (*(told or (describe_pilot(selection),)), *filter(None, (short,)))


def _foresee(
    selection: Selection, code: Code, cost: Cost, budget: Budget | None
) -> "tuple[Outlook | None, tuple[str, ...]]":
    """Return what the campaign finds by all finished runs, also those at other seeds; nothing if they are too few.

    Raises:
        RunError: two runs disagree on their items.
    """
    seeds = find_seeds(selection.paths, selection.every_arm)
    if not seeds:
        return None, ()
    from orchestrator.campaign.records import gather
    from orchestrator.report.power import Question, foresee, judged_plan, learn

    request = structs.replace(selection.request.widened, seeds=seeds)
    campaign = structs.replace(selection.campaign, seeds=seeds)
    try:
        before, sentence = choose_plan(replace(selection.widened, request=request, campaign=campaign), code)
    except DataError:
        # Captures are missing, so nobody can say which runs belong to the campaign.
        return None, ()
    records = gather(selection.paths, before).records
    known = learn(before, records) if is_judged_alike(before.campaign, selection.campaign) else None
    if known is None:
        return None, ()
    staging = selection.campaign.staging
    question = Question(
        plan=judged_plan(selection.campaign, selection.every_arm, tuple(selection.arms), before, records),
        names=tuple(selection.arms),
        num_seeds=staging.looks[-1] if staging else len(selection.seeds),
        known=known,
        from_before=sentence != code.note,
        cost_of=partial(describe_cost, cost),
        budget=None if budget is None else count_trainings(cost, budget),
    )
    return foresee(question)


def find_seeds(paths: Paths, arms: Mapping[str, Arm]) -> tuple[int, ...]:
    """Return the seeds of which some experiment has a run folder, sorted; an A/A arm's as the campaign counts them."""
    names = (path.name for path in paths.runs.iterdir()) if paths.runs.is_dir() else ()
    found = [match for name in names if (match := RUN_NAME.fullmatch(name)) and match["experiment"] in arms]
    seeds = {int(match["seed"]) - arms[match["experiment"]].seed_shift for match in found}
    return tuple(sorted(seed for seed in seeds if seed >= 0))


def is_judged_alike(before: Campaign, now: Campaign) -> bool:
    """Whether two campaigns judge the same metric on the same scale."""
    ours, theirs = before.judged, now.judged
    return (ours.name, ours.compare, ours.better) == (theirs.name, theirs.compare, theirs.better)


def describe_pilot(selection: Selection) -> str:
    """Say that nobody knows yet what the campaign finds, and which command tells it."""
    pilot = next((name for name, arm in selection.arms.items() if arm.seed_shift), None)
    # An A/A arm comes with the baseline, so both have half of the pilot's seeds.
    seeds = PILOT_TRAININGS // 2 if pilot else PILOT_TRAININGS
    command = f"knockout run {pilot or BASELINE} --profile {shlex.quote(selection.campaign.profile)} --seeds {seeds}"
    return (
        "nobody knows yet how much runs differ by their seed alone, so nobody can say what this campaign finds: "
        f"`{command}` tells it ({PILOT_TRAININGS} trainings)"
    )


def describe_cost(cost: Cost, trainings: int) -> str | None:
    """Write how long so many trainings take on this machine; None if nobody knows."""
    return None if cost.run_seconds is None else describe_seconds(trainings * cost.run_seconds / cost.num_slots)


def count_trainings(cost: Cost, budget: Budget) -> int | None:
    """Return how many trainings a budget pays for; None if it is a time, and nobody knows how long a run takes."""
    if budget.seconds is None or cost.run_seconds is None:
        return budget.trainings
    return int(budget.seconds * cost.num_slots / max(cost.run_seconds, SHORTEST_SECONDS))


def describe_budget(cost: Cost, budget: Budget) -> str | None:
    """Say that a budget of time has no meaning before a run is done; None if it has one."""
    if budget.seconds is None or cost.run_seconds is not None:
        return None
    return (
        f"a budget of {describe_seconds(budget.seconds)} has no meaning yet: how long a run takes is known once one of "
        "this profile is done; give a number of trainings, such as --budget 60"
    )


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
