"""Asks and tells Optuna; every trial is runs in our queue. Only `sampling` and `trial_storage` know Optuna beside it.

A trial that is under way says in its user attributes which runs it is and whose it is, before the first of them waits.
So whatever dies, the next search finds it: a trial whose searcher is gone is taken over, and told by what its run
folders say. Optuna's storage takes the end of a trial once and no second time.
"""

import contextlib
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import optuna
from msgspec import structs
from optuna.trial import FrozenTrial, Trial, TrialState

from model.train.run_folder import Result
from orchestrator import wording
from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.search_spec import MedianPruning
from orchestrator.campaign.selection import collect_inputs
from orchestrator.code.sources import find_code
from orchestrator.errors import SpecError
from orchestrator.processes import Process
from orchestrator.queue.store import Store
from orchestrator.runs.identity import identity_hash
from orchestrator.runs.states import RunState
from orchestrator.search.objective import Score, combine, each_by_epoch, mean_by_epoch, score_run
from orchestrator.search.open import Search, SearchOptions
from orchestrator.search.results import Searched, TrialRecord, as_trained, point_key
from orchestrator.search.sampler import ask_knob, find_importance, is_given_up, make_pruner, make_sampler, why_exhausted
from orchestrator.search.space import default_point, suggest
from orchestrator.search.storage import hold, open_storage_study
from orchestrator.search.trial_runs import TrialRuns, base_code

TOO_SLOW = "too_slow"
"""Name of the constraint that a trial breaks which a guard stopped for being slow."""
RUNS, OWNER, CHANGE, SCORE, REASON, AGAIN_OF, POINT, CLEARED, GIVEN_UP, SAMPLER = (
    "runs", "owner", "change", "score", "reason", "again_of", "point", "cleared", "given_up", "sampler",
)  # fmt: skip
"""User attributes of a trial."""


def open_trials(asked: Search, store: Store, options: SearchOptions) -> "Trials":
    """Open the trials of a search, making them if there are none.

    Raises:
        KnockoutError: code, captures or storage are refused.
    """
    selection, stack = asked.selection, asked.stack
    code = find_code(selection.paths, snapshot=options.snapshot)
    make_captures(selection)
    inputs = structs.replace(collect_inputs(selection, code), code_tree=code.code_of(stack.code).hash)
    ordered = base_code(code, stack, datetime.now().astimezone())
    runs = TrialRuns(selection, store, stack, asked.seeds, inputs, ordered)
    compared = identity_hash(structs.replace(stack.config, seed=0), inputs)
    same = msgspec.json.encode([compared, asked.spec.space, asked.captures, asked.seeds])
    key = f"{zlib.crc32(same):08x}"
    name = f"{selection.campaign.name}/{selection.campaign.profile}/{asked.name}/{key}"
    # Two that make the tables at once would be in each other's way.
    with hold(selection.paths):
        return Trials(asked, runs, open_storage_study(selection.paths, options.url, name), Process.own())


def _leave(run: str) -> None:
    """Do nothing about a job."""


@dataclass
class Trials:
    """The trials of a search, as Optuna keeps them; each of them is some of our runs."""

    asked: Search
    runs: TrialRuns
    study: optuna.Study
    process: Process
    stop_run: Callable[[str], object] = _leave
    """Ends the job of a run, if it is at work here."""

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other search of this folder from asking and telling."""
        return hold(self.runs.paths)

    def all(self) -> list[FrozenTrial]:
        """Return every trial, those that wait to be asked for among them."""
        return self.study.get_trials(deepcopy=False)

    def num_visited(self) -> int:
        """Count the points with a score, and those that were given up for a low one; each once."""
        return len({_key(trial) for trial in self.all() if _is_visited(trial)})

    def why_exhausted(self) -> str:
        """Return why no new point is to be expected; nothing as long as one may come."""
        trials = self.all()
        if any(trial.state is TrialState.WAITING for trial in trials):
            return ""
        asked = [(_key(trial), not _is_given(trial)) for trial in trials if CHANGE in trial.user_attrs]
        return why_exhausted(asked, self.asked.spec.space)

    def num_unvisited(self) -> int:
        """Count the trials that came to an end without having been visited."""
        return sum(trial.state.is_finished() and not _is_visited(trial) for trial in self.all())

    def enqueue_points(self) -> None:
        """Let the file's first points be asked for first, each once."""
        known = [trial.user_attrs.get(POINT) for trial in self.all()]
        for point in self.asked.spec.enqueue:
            if point.at not in known:
                known.append(point.at)
                self.study.enqueue_trial(point.at, user_attrs={POINT: point.at})

    def own(self) -> list[FrozenTrial]:
        """Return the trials under way that are this process's."""
        return [trial for trial in self.under_way() if trial.user_attrs.get(OWNER) == _named(self.process)]

    def under_way(self) -> list[FrozenTrial]:
        """Return the trials that were asked for and not told."""
        return [trial for trial in self.all() if trial.state is TrialState.RUNNING]

    def take_over(self) -> None:
        """Make the trials of searches that are gone this one's; one without runs yet is asked for again."""
        living = {_named(worker) for worker in self.runs.store.workers.list_living()} | {_named(self.process)}
        for trial in self.under_way():
            owner = trial.user_attrs.get(OWNER)
            if RUNS not in trial.user_attrs:
                self._give_back(trial, "the search died before it noted the runs", again=True)
            elif owner not in living and not _lives(owner):
                self._trial(trial).set_user_attr(OWNER, _named(self.process))
                self._place(trial.number, trial.user_attrs)

    def ask(self) -> None:
        """Ask for a point and queue its runs."""
        space, number = self.asked.spec.space, len(self.all())
        self.study.sampler = make_sampler(self.asked.spec, zlib.crc32(f"{self.study.study_name}/{number}".encode()))
        trial = self.study.ask()
        change = suggest(space, partial(ask_knob, trial))
        try:
            planned = self.runs.plan(self.arm_of(trial.number), change)
        except SpecError as error:
            trial.set_user_attr(REASON, f"{'.'.join(error.where)}: {error}")
            self.study.tell(trial.number, state=TrialState.FAIL)
            return
        trial.set_user_attr(CHANGE, change)
        trial.set_user_attr(SAMPLER, self.asked.spec.sampler)
        trial.set_user_attr(OWNER, _named(self.process))
        trial.set_user_attr(RUNS, [run.id for run in planned])
        self._place(trial.number, trial.user_attrs)

    def arm_of(self, number: int) -> str:
        """Name a trial as experiments are named: `focal-t007`."""
        return f"{self.asked.name}-t{number:03d}"

    def _place(self, number: int, attributes: Mapping[str, Any]) -> None:
        if AGAIN_OF in attributes and CLEARED not in attributes:
            self.runs.forget_failures(attributes[RUNS])
            self._trial(self.all()[number]).set_user_attr(CLEARED, True)
        for place, run in enumerate(self.runs.plan(self.arm_of(number), attributes[CHANGE])):
            self.runs.queue(run, place)

    def settle(self) -> None:
        """Tell Optuna of this process's trials whose runs have ended."""
        for trial in self.own():
            results = {run: self.runs.result(run) for run in trial.user_attrs[RUNS]}
            ended = [result for result in results.values() if result is not None]
            cancelled = [run for run, result in results.items() if result is None and self.runs.is_cancelled(run)]
            failed = next((result for result in ended if result.state == RunState.FAILED), None)
            slow = next((result for result in ended if result.state == RunState.TOO_SLOW), None)
            if GIVEN_UP in trial.user_attrs and len(ended) < len(results):
                self._close(trial)
            elif cancelled:
                self._give_back(trial, f"{cancelled[0]} was cancelled", again=False)
            elif len(ended) < len(results):
                continue
            elif failed is not None:
                self._give_back(trial, failed.reason, again=True)
            elif slow is not None and any(result.state == RunState.DONE for result in ended):
                self._give_back(trial, f"its seeds disagree whether it is too slow: {slow.reason}", again=True)
            elif slow is not None:
                self._tell_infeasible(trial, slow)
            elif doubts := [why for run in results if (why := self.runs.why_not_believed(run))]:
                self._give_back(trial, doubts[0], again=True)
            else:
                self._tell_score(trial, ended)

    def _tell_score(self, trial: FrozenTrial, results: list[Result]) -> None:
        folders = [self.runs.paths.run(run) for run in trial.user_attrs[RUNS]]
        scores = [
            score_run(result, folder.read_epochs(), self.asked.captures)
            for folder, result in zip(folders, results, strict=True)
        ]
        score = combine(scores)
        if self.asked.spec.pruner is not None:
            # Those that come later are held against these epochs.
            self._report(trial)
        self._trial(trial).set_user_attr(SCORE, msgspec.to_builtins(score))
        self._tell(trial, score.mean, too_slow=False)

    def _tell_infeasible(self, trial: FrozenTrial, result: Result) -> None:
        """Tell of a trial that was too slow; the lowest score so far stands where there is none, to model it mildly."""
        self._trial(trial).set_user_attr(REASON, result.reason)
        scores = [other.value for other in self.all() if SCORE in other.user_attrs and other.value is not None]
        self._tell(trial, min(scores, default=0.0), too_slow=True)

    def _tell(self, trial: FrozenTrial, value: float, *, too_slow: bool) -> None:
        now = self.all()[trial.number]
        if now.state.is_finished():
            return
        self._constrain(now, too_slow=too_slow)
        self.study.tell(trial.number, value)

    def _constrain(self, trial: FrozenTrial, *, too_slow: bool) -> None:
        if TOO_SLOW not in trial.constraints:
            self._trial(trial).set_constraint(TOO_SLOW, 1.0 if too_slow else -1.0)

    def prune(self) -> None:
        """Tell Optuna how far this process's trials have come, and give up those that its pruner would.

        A point of the file goes on, since it is set against its source, and so does a trial whose run is an
        experiment's too, or another trial's.
        """
        if self.asked.spec.pruner is None:
            return
        self.study.pruner = make_pruner(self.asked.spec.pruner, len(self.asked.seeds))
        needed = Counter(run for trial in self.under_way() for run in trial.user_attrs.get(RUNS, ()))
        for trial in self.own():
            is_bound = POINT in trial.user_attrs or any(
                needed[run] > 1 or not run.startswith(f"{self.asked.name}-t") for run in runs_of(trial)
            )
            if self._report(trial) and not is_bound and is_given_up(self._trial(trial)):
                self._trial(trial).set_user_attr(GIVEN_UP, self._describe_pruning(trial))

    def _close(self, trial: FrozenTrial) -> None:
        """Take the runs of a trial that was given up out of the queue, and tell of it once none is at work."""
        reason = trial.user_attrs[GIVEN_UP]
        for run in runs_of(trial):
            self.stop_run(run)
        if self.runs.cancel(runs_of(trial), reason):
            self._constrain(trial, too_slow=False)
            self._trial(trial).set_user_attr(REASON, reason)
            self.study.tell(trial.number, state=TrialState.PRUNED)

    def _report(self, trial: FrozenTrial) -> bool:
        """Tell Optuna of a trial's new epochs; return whether there are any."""
        matched = mean_by_epoch if isinstance(self.asked.spec.pruner, MedianPruning) else each_by_epoch
        epochs = [self.runs.paths.run(run).read_epochs() for run in runs_of(trial)]
        new = [(step, value) for step, value in matched(epochs) if step not in trial.intermediate_values]
        for step, value in new:
            self._trial(trial).report(value, step)
        return bool(new)

    def _describe_pruning(self, trial: FrozenTrial) -> str:
        pruner = self.asked.spec.pruner
        epochs = [len(self.runs.paths.run(run).read_epochs()) for run in runs_of(trial)]
        against = "the median of the others" if isinstance(pruner, MedianPruning) else "the best point"
        return f"given up after {wording.counted(max(epochs), 'epoch')}: its validation accuracy lies below {against}"

    def _give_back(self, trial: FrozenTrial, reason: str, *, again: bool) -> None:
        """Tell of a trial that came to nothing; the same point is asked for once more, where that may help."""
        known = {other.user_attrs.get(AGAIN_OF) for other in self.all()}
        if again and AGAIN_OF not in trial.user_attrs and trial.number not in known:
            attributes = {AGAIN_OF: trial.number} | {
                key: trial.user_attrs[key] for key in (POINT,) if key in trial.user_attrs
            }
            self.study.enqueue_trial(trial.system_attrs.get("fixed_params") or trial.params, user_attrs=attributes)
        self._trial(trial).set_user_attr(REASON, reason)
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _trial(self, trial: FrozenTrial) -> Trial:
        return Trial(self.study, trial._trial_id)

    def read(self, *, is_complete: bool = True, problems: tuple[str, ...] = ()) -> Searched:
        """Return what has been found so far."""
        asked = self.asked
        return Searched(
            name=asked.name,
            campaign=asked.selection.campaign,
            spec=asked.spec,
            stack=asked.stack.id,
            captures=asked.captures,
            seeds=asked.seeds,
            default=default_point(asked.spec.space, asked.stack.config),
            study=self.study.study_name,
            trials=tuple(self._record(trial) for trial in self.all()),
            importance=find_importance(self._scored(), asked.spec.space),
            exhausted=self.why_exhausted(),
            is_complete=is_complete,
            problems=problems,
        )

    def _scored(self) -> list[FrozenTrial]:
        """Return a trial of every point that has a score."""
        return list(
            {_key(trial): trial for trial in self.all() if _is_visited(trial) and SCORE in trial.user_attrs}.values()
        )

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes, space = trial.user_attrs, self.asked.spec.space
        values = attributes.get(CHANGE) or trial.system_attrs.get("fixed_params") or trial.params
        score = attributes.get(SCORE) if trial.state is TrialState.COMPLETE else None
        return TrialRecord(
            number=trial.number,
            arm=self.arm_of(trial.number),
            change=as_trained(values, space),
            state=self._describe_state(trial),
            score=msgspec.convert(score, Score) if score else None,
            runs=tuple(attributes.get(RUNS, ())),
            sampler="" if _is_given(trial) else attributes.get(SAMPLER, ""),
            reason=attributes.get(REASON, ""),
            again_of=attributes.get(AGAIN_OF),
        )

    def _describe_state(self, trial: FrozenTrial) -> str:
        if trial.state is TrialState.COMPLETE:
            return "done" if SCORE in trial.user_attrs else TOO_SLOW
        if trial.state is TrialState.RUNNING:
            # Optuna knows no better: a trial is under way to it until somebody tells of its end.
            states = {row.state for row in self.runs.store.runs(trial.user_attrs.get(RUNS, ()))}
            if RunState.INTERRUPTED in states and RunState.RUNNING not in states:
                return "interrupted"
            return "waiting" if states == {RunState.QUEUED} else "running"
        return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def runs_of(trial: FrozenTrial) -> tuple[str, ...]:
    """Return the ids of a trial's runs."""
    return tuple(trial.user_attrs[RUNS])


def _is_visited(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.PRUNED or (trial.state is TrialState.COMPLETE and SCORE in trial.user_attrs)


def _key(trial: FrozenTrial) -> frozenset[tuple[str, Any]]:
    return point_key(trial.user_attrs[CHANGE])


def _is_given(trial: FrozenTrial) -> bool:
    """Whether a trial is a point of the file or a second try, which nobody suggested."""
    return "fixed_params" in trial.system_attrs


def _named(process: Process) -> str:
    return f"{process.host}/{process.pid}/{process.born}"


def _lives(owner: str | None) -> bool:
    """Whether a process of this machine still lives; of others the queue's heartbeats tell."""
    host, pid, born = (owner or "/0/").split("/", 2)
    process = Process(host, int(pid), born)
    return process.is_here and process.is_alive
