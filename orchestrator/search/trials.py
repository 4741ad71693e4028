"""The trials of a search: asks Optuna for points, queues their runs, and tells Optuna how they ended.

A trial under way notes its runs and its owner before the first run waits. So a search that dies loses nothing: the next
one takes its trials over, and reads from the run folders how they ended. Optuna's storage accepts the end of a trial
once. Only this package knows Optuna.
"""

import contextlib
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import optuna
from msgspec import structs
from optuna.trial import FrozenTrial, TrialState

from orchestrator import wording
from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.plan import own_inputs
from orchestrator.campaign.scored import ACCURACY
from orchestrator.campaign.search_spec import MedianPruning
from orchestrator.campaign.selection import collect_inputs
from orchestrator.code.sources import find_code
from orchestrator.errors import RunError, SpecError
from orchestrator.processes import Process
from orchestrator.queue.store import Store
from orchestrator.runs.folder import Result
from orchestrator.runs.identity import identity_hash
from orchestrator.runs.states import RunState
from orchestrator.search.notes import TrialNote, add_note, as_attributes, read_note, run_ids
from orchestrator.search.objective import Score, combine, combine_metric, each_by_epoch, mean_by_epoch, score_run
from orchestrator.search.open import Search, SearchOptions
from orchestrator.search.outcome import Outcome, TrialEnd, find_outcome
from orchestrator.search.results import Searched, TrialRecord, as_trained, point_key
from orchestrator.search.sampler import (
    ask_knob,
    find_importance,
    make_pruner,
    make_sampler,
    should_prune,
    why_exhausted,
)
from orchestrator.search.space import default_point, suggest
from orchestrator.search.storage import KeptStudy, hold, open_storage_study
from orchestrator.search.trial_runs import TrialRuns, base_code

TOO_SLOW = "too_slow"
"""Name of Optuna's constraint that a trial breaks if a guard stopped it for slowness."""


def open_trials(search: Search, store: Store, options: SearchOptions) -> "Trials":
    """Open the trials of a search. Make the study if there is none.

    Raises:
        KnockoutError: code, captures or storage are refused.
    """
    selection, stack = search.selection, search.stack
    code = find_code(selection.paths, snapshot=options.snapshot, code=selection.campaign.task.code)
    make_captures(selection)
    inputs = structs.replace(collect_inputs(selection, code), code_tree=code.code_of(stack.code).hash)
    ordered = base_code(code, stack, datetime.now().astimezone())
    runs = TrialRuns(selection, store, stack, search.seeds, inputs, ordered)
    # Scores of another stack, code or space say nothing here: what a score depends on is part of the study's name.
    compared = identity_hash(selection.campaign.task, stack.params, 0, own_inputs(inputs, stack.reads))
    same = msgspec.json.encode([compared, search.spec.space, _scored_on(search), search.seeds])
    key = f"{zlib.crc32(same):08x}"
    name = f"{selection.campaign.name}/{selection.campaign.profile}/{search.name}/{key}"
    # Two searches that make the tables at once would hinder each other.
    with hold(selection.paths):
        kept = open_storage_study(selection.paths, options.url, name, search.objective.better)
        return Trials(search, runs, kept, Process.own())


def _scored_on(search: Search) -> Any:
    """Return what the score of a trial depends on beside its runs."""
    objective, campaign = search.objective, search.selection.campaign
    if not objective.metric:
        return objective.splits
    metric = campaign.metrics[objective.metric]
    items = [campaign.items.get(split) for split in objective.splits]
    return [metric.name, metric.better, metric.unit, metric.source, items]


@dataclass
class Trials:
    """The trials of a search, as Optuna keeps them. Each trial is one run a seed in our queue."""

    search: Search
    runs: TrialRuns
    kept: KeptStudy
    process: Process

    @property
    def study(self) -> optuna.Study:
        """Optuna's study."""
        return self.kept.study

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder against other searches."""
        return hold(self.runs.paths)

    def all(self) -> list[FrozenTrial]:
        """Return every trial, in the order of their numbers. Enqueued points are among them."""
        return self.study.get_trials(deepcopy=False)

    def num_visited(self) -> int:
        """Count the points with a score and the pruned ones, each once."""
        return len({_key(trial) for trial in self.all() if _is_visited(trial)})

    def num_unvisited(self) -> int:
        """Count the trials that ended without a score and were not pruned."""
        return sum(trial.state.is_finished() and not _is_visited(trial) for trial in self.all())

    def why_exhausted(self) -> str:
        """Return why no new point is to be expected; empty as long as one may come."""
        trials = self.all()
        if any(trial.state is TrialState.WAITING for trial in trials):
            return ""
        asked = [(_key(trial), not _is_given(trial)) for trial in trials if read_note(trial).change is not None]
        return why_exhausted(asked, self.search.spec.space)

    def under_way(self) -> list[FrozenTrial]:
        """Return the study's running trials, whoever owns them."""
        return [trial for trial in self.all() if trial.state is TrialState.RUNNING]

    def own(self) -> list[FrozenTrial]:
        """Return the trials under way that this process owns."""
        return [trial for trial in self.under_way() if read_note(trial).owner == owner_name(self.process)]

    def enqueue_points(self) -> None:
        """Enqueue the file's points in Optuna, each once. It suggests them first."""
        known = [read_note(trial).point for trial in self.all()]
        for point in self.search.spec.enqueue:
            if point.at not in known:
                known.append(point.at)
                self.study.enqueue_trial(point.at, user_attrs=as_attributes(TrialNote(point=point.at)))

    def take_over(self) -> None:
        """Make this process the owner of trials whose search is gone, and queue their runs again.

        A trial without runs fails, and its point is asked for again.
        """
        living = {owner_name(worker) for worker in self.runs.store.workers.list_living()} | {owner_name(self.process)}
        for trial in self.under_way():
            note = read_note(trial)
            # Runs are noted before the first of them is queued.
            # So a trial without that note has left no run in the queue.
            if note.runs is None:
                died = Outcome(end=TrialEnd.FAILED, reason="the search died before it noted the runs")
                self._fail_and_retry(trial, died)
            elif note.owner not in living and not _lives(note.owner):
                add_note(self.kept.trial(trial), owner=owner_name(self.process))
                self._queue_runs(trial, note)

    def ask(self) -> None:
        """Ask for a point and queue its runs."""
        space, number = self.search.spec.space, len(self.all())
        # A seed for each number: a search that goes on gets the points that it would have had without the pause.
        self.study.sampler = make_sampler(self.search.spec, zlib.crc32(f"{self.study.study_name}/{number}".encode()))
        trial = self.study.ask()
        change = suggest(space, partial(ask_knob, trial))
        try:
            planned = self.runs.plan(self.arm_of(trial.number), change)
        except SpecError as error:
            add_note(trial, reason=f"{'.'.join(error.where)}: {error}")
            self.study.tell(trial.number, state=TrialState.FAIL)
            return
        ids, sampler = tuple(run.id for run in planned), self.search.spec.sampler
        add_note(trial, change=change, sampler=sampler, owner=owner_name(self.process), runs=ids)
        noted = self.all()[trial.number]
        self._queue_runs(noted, read_note(noted))

    def arm_of(self, number: int) -> str:
        """Return the name of a trial's experiment, such as `focal-t007`."""
        return f"{self.search.name}-t{number:03d}"

    def _queue_runs(self, trial: FrozenTrial, note: TrialNote) -> None:
        if note.again_of is not None and not note.cleared:
            self.runs.forget_failures(note.runs or ())
            add_note(self.kept.trial(trial), cleared=True)
        for place, run in enumerate(self.runs.plan(self.arm_of(trial.number), note.change or {})):
            self.runs.queue(run, place)

    def settle(self) -> None:
        """Tell Optuna of this process's trials whose runs have ended."""
        actions: dict[TrialEnd, Callable[[FrozenTrial, Outcome], None]] = {
            TrialEnd.SCORED: self._tell_score,
            TrialEnd.TOO_SLOW: self._tell_infeasible,
            TrialEnd.PRUNED: self._tell_pruned,
            TrialEnd.CANCELLED: self._fail,
            TrialEnd.FAILED: self._fail_and_retry,
            TrialEnd.SEEDS_DISAGREE: self._fail_and_retry,
            TrialEnd.DOUBTFUL: self._fail_and_retry,
        }
        for trial in self.own():
            outcome = find_outcome(run_ids(trial), read_note(trial).pruning, self.runs)
            if outcome is not None:
                actions[outcome.end](trial, outcome)

    def _tell_score(self, trial: FrozenTrial, outcome: Outcome) -> None:
        try:
            score = self._score(run_ids(trial), outcome.results)
        except RunError as error:
            # A second training would tell as little: the metric is mended in the file, or the point has no number.
            self._fail(trial, structs.replace(outcome, reason=str(error)))
            return
        if self.search.spec.pruner is not None:
            # The pruner compares later trials with these epochs.
            self._report(trial)
        add_note(self.kept.trial(trial), score=score)
        self._tell(trial, score.mean, too_slow=False)

    def _score(self, ids: Sequence[str], results: Sequence[Result]) -> Score:
        objective = self.search.objective
        if objective.metric:
            metric = self.search.selection.campaign.metrics[objective.metric]
            return combine_metric(metric, self.runs.scores(ids, metric.name))
        folders = [self.runs.paths.run(run) for run in ids]
        return combine(
            [
                score_run(result, folder.read_epochs(), objective.splits)
                for folder, result in zip(folders, results, strict=True)
            ]
        )

    def _tell_infeasible(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Tell Optuna that a trial was too slow."""
        add_note(self.kept.trial(trial), reason=outcome.reason)
        # Optuna wants a value. The worst score so far keeps the sampler's model of the scores mild.
        noted = [(read_note(other).score, other.value) for other in self.all()]
        scores = [value for score, value in noted if score is not None and value is not None]
        worst = min(scores, key=lambda value: self.search.objective.sign * value, default=0.0)
        self._tell(trial, worst, too_slow=True)

    def _tell(self, trial: FrozenTrial, value: float, *, too_slow: bool) -> None:
        # Another search may have taken the trial over and told its end. The storage accepts an end only once.
        now = self.all()[trial.number]
        if now.state.is_finished():
            return
        self._constrain(now, too_slow=too_slow)
        self.study.tell(trial.number, value)

    def _constrain(self, trial: FrozenTrial, *, too_slow: bool) -> None:
        # To Optuna a constraint above 0 is broken, and one of 0 or below is kept.
        if TOO_SLOW not in trial.constraints:
            self.kept.trial(trial).set_constraint(TOO_SLOW, 1.0 if too_slow else -1.0)

    def prune(self) -> None:
        """Tell Optuna of new epochs of this process's trials, and note which of them its pruner ends.

        A point of the file goes on, since its score is compared with its source. A trial goes on too if an experiment
        or another trial needs one of its runs.
        """
        if self.search.spec.pruner is None:
            return
        self.study.pruner = make_pruner(self.search.spec.pruner, len(self.search.seeds))
        needed = Counter(run for trial in self.under_way() for run in run_ids(trial))
        for trial in self.own():
            is_shared = any(needed[run] > 1 or not run.startswith(f"{self.search.name}-t") for run in run_ids(trial))
            must_finish = read_note(trial).point is not None or is_shared
            if self._report(trial) and not must_finish and should_prune(self.kept.trial(trial)):
                add_note(self.kept.trial(trial), pruning=self._describe_pruning(trial))

    def unwanted_runs(self) -> list[str]:
        """Return the runs of this process's pruned trials that are still to end."""
        return [run for trial in self.own() if read_note(trial).pruning for run in run_ids(trial)]

    def _tell_pruned(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Cancel the runs of a pruned trial, and tell Optuna once none of them is at work."""
        if self.runs.cancel(run_ids(trial), outcome.reason):
            self._constrain(trial, too_slow=False)
            add_note(self.kept.trial(trial), reason=outcome.reason)
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def _report(self, trial: FrozenTrial) -> bool:
        """Report a trial's new epochs to Optuna; return whether there are any."""
        matched = mean_by_epoch if isinstance(self.search.spec.pruner, MedianPruning) else each_by_epoch
        epochs = [self.runs.paths.run(run).read_epochs() for run in run_ids(trial)]
        new = [
            (step, value)
            for step, value in matched(epochs, self.search.objective)
            if step not in trial.intermediate_values
        ]
        for step, value in new:
            self.kept.trial(trial).report(value, step)
        return bool(new)

    def _describe_pruning(self, trial: FrozenTrial) -> str:
        pruner, objective = self.search.spec.pruner, self.search.objective
        epochs = [len(self.runs.paths.run(run).read_epochs()) for run in run_ids(trial)]
        against = "the median of the others" if isinstance(pruner, MedianPruning) else "the best point"
        worse = f"its {objective.watch} is worse than"
        if not objective.metric and objective.watch == ACCURACY:
            worse = "its validation accuracy lies below"
        return f"pruned after {wording.counted(max(epochs), 'epoch')}: {worse} {against}"

    def _fail_and_retry(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Tell Optuna that a trial failed, and ask for the same point once more. A second failure is final."""
        # The second try is enqueued before the failure is told.
        # If the search dies between the two, `again_of` shows the try.
        known = {read_note(other).again_of for other in self.all()}
        note = read_note(trial)
        if note.again_of is None and trial.number not in known:
            again = TrialNote(again_of=trial.number, point=note.point)
            point = trial.system_attrs.get("fixed_params") or trial.params
            self.study.enqueue_trial(point, user_attrs=as_attributes(again))
        self._fail(trial, outcome)

    def _fail(self, trial: FrozenTrial, outcome: Outcome) -> None:
        add_note(self.kept.trial(trial), reason=outcome.reason)
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def read(self, *, is_complete: bool = True, problems: tuple[str, ...] = ()) -> Searched:
        """Return what has been found so far."""
        search = self.search
        return Searched(
            name=search.name,
            campaign=search.selection.campaign,
            spec=search.spec,
            stack=search.stack.id,
            objective=search.objective,
            seeds=search.seeds,
            default=default_point(search.spec.space, search.stack.params),
            study=self.study.study_name,
            trials=tuple(self._record(trial) for trial in self.all()),
            importance=find_importance(self._scored(), search.spec.space, search.objective.better),
            exhausted=self.why_exhausted(),
            is_complete=is_complete,
            problems=problems,
        )

    def _scored(self) -> list[FrozenTrial]:
        """Return one trial of every point with a score."""
        scored = (trial for trial in self.all() if _is_visited(trial) and read_note(trial).score is not None)
        return list({_key(trial): trial for trial in scored}.values())

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        note, space = read_note(trial), self.search.spec.space
        values = note.change or trial.system_attrs.get("fixed_params") or trial.params
        return TrialRecord(
            number=trial.number,
            arm=self.arm_of(trial.number),
            change=as_trained(values, space),
            state=self._describe_state(trial),
            score=note.score if trial.state is TrialState.COMPLETE else None,
            runs=note.runs or (),
            sampler="" if _is_given(trial) else note.sampler,
            reason=note.reason,
            again_of=note.again_of,
        )

    def _describe_state(self, trial: FrozenTrial) -> str:
        if trial.state is TrialState.COMPLETE:
            return "done" if read_note(trial).score is not None else TOO_SLOW
        if trial.state is TrialState.RUNNING:
            # To Optuna a trial runs until somebody tells of its end. The queue knows more.
            states = {row.state for row in self.runs.store.runs(run_ids(trial))}
            if RunState.INTERRUPTED in states and RunState.RUNNING not in states:
                return "interrupted"
            return "waiting" if states == {RunState.QUEUED} else "running"
        return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def _is_visited(trial: FrozenTrial) -> bool:
    has_score = trial.state is TrialState.COMPLETE and read_note(trial).score is not None
    return trial.state is TrialState.PRUNED or has_score


def _key(trial: FrozenTrial) -> frozenset[tuple[str, Any]]:
    return point_key(read_note(trial).change or {})


def _is_given(trial: FrozenTrial) -> bool:
    """Whether a trial is a point of the file or a second try. No sampler suggested it."""
    return "fixed_params" in trial.system_attrs


def owner_name(process: Process) -> str:
    """Return how a note names a process: `host/pid/start time`."""
    return f"{process.host}/{process.pid}/{process.born}"


def _lives(owner: str) -> bool:
    """Whether an owner is a living process of this machine. For other machines the queue's heartbeats tell."""
    host, pid, born = (owner or "/0/").split("/", 2)
    process = Process(host, int(pid), born)
    return process.is_here and process.is_alive
