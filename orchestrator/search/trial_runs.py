"""The runs of trials: names them, finds those that are there already, queues and reads them."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from orchestrator.campaign.arms import Arm, branch_content
from orchestrator.campaign.plan import PlannedRun, own_inputs
from orchestrator.campaign.records import measures_of
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.selection import Selection
from orchestrator.code.sources import Code, GitCode
from orchestrator.errors import RunError
from orchestrator.queue.rows import waiting_run
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.consistency import why_not_believed
from orchestrator.runs.doubtful import find_doubtful, set_aside
from orchestrator.runs.find import find_same
from orchestrator.runs.folder import Result
from orchestrator.runs.identity import CodeAndData, identity_hash, run_id
from orchestrator.runs.order import Order, OrderedCode, Terms, place_run, queue_place
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import read_run
from orchestrator.runs.results import read_result
from orchestrator.runs.scores import Score
from orchestrator.runs.states import MOVES, OPEN, RunState
from orchestrator.search.best_of import join_splits, pair_points
from orchestrator.search.results import Searched, TrialRecord
from orchestrator.search.space import work_out_point
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.task.ask import Answer
from orchestrator.task.metric_spec import ItemsSource


def base_code(code: Code, stack: Arm, now: datetime) -> OrderedCode:
    """Return the code of all trials: the checkout's commit without a branch, or the stack's own code.

    Raises:
        CodeError: git refuses.
    """
    if not isinstance(code, GitCode) or stack.code or code.tree != "HEAD":
        return code.commit(branch_content(stack), now)
    commit = code.repository.base_commit
    return OrderedCode(tree=code.code_hash, commit=commit, base_commit=commit)


@dataclass(frozen=True)
class TrialRuns:
    """Names, places and reads the runs of trials on one stack."""

    selection: Selection
    store: Store
    stack: Arm
    seeds: tuple[int, ...]
    inputs: CodeAndData
    """Code and captures that are part of a run's identity. The code is the stack's."""
    code: OrderedCode

    @property
    def paths(self) -> Paths:
        """The folders of the results."""
        return self.selection.paths

    def plan(self, name: str, change: Mapping[str, Any]) -> list[PlannedRun]:
        """Return the runs of a trial, one a seed. A run with the same identity that is there already takes its place.

        Args:
            name: name of the trial's experiment.
            change: the point.

        Raises:
            SpecError: the knobs do not go together.
        """
        found = work_out_point(self.selection.configs, self.stack, change)
        return [self._identify(name, found, seed) for seed in self.seeds]

    def _identify(self, name: str, found: Answer, seed: int) -> PlannedRun:
        campaign = self.selection.campaign
        identity = identity_hash(campaign.task, found.params, seed, own_inputs(self.inputs, found.reads))
        there = find_same(self.paths, identity, (path.name for path in self.paths.runs.glob(f"*-{identity[:8]}")))
        # A run is named after an experiment with its identity, so that the campaign does not train it again.
        if there is None:
            name = self._experiments.get((seed, identity), name)
        else:
            name = self.paths.run(there).read_config().experiment
        return PlannedRun(
            id=there or run_id(name, seed, identity),
            experiment=name,
            seed=seed,
            profile=campaign.profile,
            params=found.params,
            identity=identity,
        )

    @cached_property
    def _experiments(self) -> dict[tuple[int, str], str]:
        """(seed, identity) -> the first experiment of the campaign with this configuration and the stack's code."""
        named: dict[tuple[int, str], str] = {}
        for arm in self.selection.every_arm.values():
            for seed in self.seeds if arm.code == self.stack.code and not arm.seed_shift else ():
                inputs = own_inputs(self.inputs, arm.reads)
                identity = identity_hash(self.selection.campaign.task, arm.params, seed, inputs)
                named.setdefault((seed, identity), arm.id)
        return named

    @cached_property
    def _references(self) -> tuple[str, ...]:
        """The stack's own runs. A guard compares a trial's speed with theirs."""
        return tuple(run.id for run in self.plan(self.stack.id, {}))

    def result(self, run: str) -> Result | None:
        """Return how a run ended; None while it goes on."""
        return read_result(self.paths.run(run))

    def scores(self, runs: Sequence[str], metric: str) -> list[Score]:
        """Return a metric of each finished run.

        Raises:
            RunError: a run does not tell it.
        """
        found = []
        for run in runs:
            record = read_run(run, self.paths.run(run), measures_of(self.selection.campaign))
            if metric not in record.scores:
                raise RunError(f"{run}: {record.unread[metric]}")
            found.append(record.scores[metric])
        return found

    def pairs(self, found: Searched) -> dict[int, PairedDifferences]:
        """Return trial -> the best point minus it, item by item, of those that are compared with the best.

        A run whose items cannot be read leaves its trial out: the comparison then has each point's own error.
        """
        pairs: dict[int, PairedDifferences] = {}
        for other in found.compared:
            with contextlib.suppress(RunError):
                joined = self._pair(found.scored[0], other, found.objective)
                pairs |= {other.number: joined} if joined is not None else {}
        return pairs

    def _pair(self, best: TrialRecord, other: TrialRecord, objective: Objective) -> PairedDifferences | None:
        metrics = self.selection.campaign.metrics
        names = (objective.metric,) if objective.metric else objective.splits
        # The splits of validation have no metric of their own, and a printed metric has no items.
        if any(name not in metrics or not isinstance(metrics[name].source, ItemsSource) for name in names):
            return None
        by_split = {trial.number: [self.scores(trial.runs, name) for name in names] for trial in (best, other)}
        sides = {number: [join_splits(of_run) for of_run in zip(*of, strict=True)] for number, of in by_split.items()}
        ours, theirs = ([items for items in sides[trial.number] if items is not None] for trial in (best, other))
        if len(ours) < len(best.runs) or len(theirs) < len(other.runs):
            return None
        is_share = all(score.is_share for of in by_split.values() for scores in of for score in scores)
        return pair_points(metrics[names[0]], ours, theirs, is_share=is_share)

    def is_cancelled(self, run: str) -> bool:
        """Whether somebody has cancelled a run."""
        return any(row.state is RunState.CANCELLED for row in self.store.runs([run]))

    def queue(self, run: PlannedRun, number: int) -> None:
        """Queue a run that has no result. One that waits or runs already stays as it is.

        Args:
            run: the run.
            number: its place among the runs of its trial.
        """
        folder = self.paths.run(run.id)
        rows = self.store.runs([run.id])
        if self.result(run.id) is not None or (rows and rows[0].state in OPEN):
            return
        if not folder.order.exists():
            place_run(folder, run.config, self._order(run, number))
        if rows and RunState.QUEUED in MOVES[rows[0].state]:
            self.store.move(run.id, rows[0].state, RunState.QUEUED)
            return
        # The row says that the run ended, but its folder has no result. The folder is the truth.
        self.store.forget([run.id])
        self.store.add([self._row(run)])

    def why_not_believed(self, run: str) -> str | None:
        """Return why a run's result does not count, as a sentence; None if it counts, or there is none."""
        why = why_not_believed(self.paths.run(run))
        return None if why is None else f"{run} is not believed: {why}"

    def forget_failures(self, runs: Sequence[str]) -> None:
        """Remove the results of a trial's failed runs. The next try goes on from their last checkpoints.

        Results that do not count are set aside. A run that was too slow is tried again if another seed is done.
        """
        doubted = [run for run in runs if self.why_not_believed(run) is not None]
        set_aside(self.paths, find_doubtful(self.paths, doubted))
        states = {run: result.state for run in runs if (result := self.result(run)) is not None}
        forgotten = {RunState.FAILED} | ({RunState.TOO_SLOW} if RunState.DONE in states.values() else set())
        for run, state in states.items():
            if state in forgotten:
                self.paths.run(run).result.unlink(missing_ok=True)

    def cancel(self, runs: Sequence[str], reason: str) -> bool:
        """Cancel the runs that wait; return whether none of the runs is at work either."""
        rows = self.store.runs(runs)
        for row in rows:
            if row.state in (RunState.QUEUED, RunState.INTERRUPTED):
                self.store.move(row.id, row.state, RunState.CANCELLED, reason)
        return all(row.state is not RunState.RUNNING for row in rows)

    def _row(self, run: PlannedRun) -> QueuedRun:
        return waiting_run(run.id, run.experiment, run.seed, self.selection.campaign.profile)

    def _order(self, run: PlannedRun, number: int) -> Order:
        campaign = self.selection.campaign
        terms = Terms(
            code=self.code,
            files=own_inputs(self.inputs, self.stack.reads).files,
            data=self.inputs.data,
            task=campaign.task,
            num_epochs=self.stack.about.epochs,
            needs=self.stack.about.needs,
            guards=campaign.guards,
            references=tuple(name for name in self._references if name != run.id),
        )
        return terms.order(run.id, run.identity, queue_place(datetime.now(UTC), number))
