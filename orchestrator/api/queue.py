"""`knockout queue add`: a plan becomes runs that wait, each with its code fixed."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from model.train.run_folder import Result, RunFolder
from orchestrator import wording
from orchestrator.api.plan import find_unmet_need
from orchestrator.campaign.arms import Arm, branch_content
from orchestrator.campaign.captures import make_captures, refuse_shared_bursts
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan, PlannedRun
from orchestrator.campaign.selection import Selection, collect_inputs, make_plan
from orchestrator.campaign.snapshot import save_snapshot
from orchestrator.code.sources import Code, find_code
from orchestrator.errors import DataError, RunError
from orchestrator.files import is_there
from orchestrator.launch.provenance import provenance
from orchestrator.launch.slots import Slot, make_own_slots
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.doubtful import find_doubtful, set_aside
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.order import Order, OrderedCode, place_run, read_order
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord, read_runs
from orchestrator.runs.results import find_second_tries, finished_results, read_results
from orchestrator.runs.states import Failure, RunState
from orchestrator.task.ask import describe_jobs
from orchestrator.verdicts.confounds import find_confounds


def warn_of_confounds(paths: Paths, plan: Plan, finished: Iterable[str], slot: Slot) -> list[str]:
    """Say which experiments would be confounded if their missing runs were trained here and now.

    Args:
        paths: the campaign's folders.
        plan: the campaign; each run that is not finished has its order.
        finished: runs that have their result.
        slot: a slot of the kind that would train the others.

    A run that cannot be read is compared with nothing; a report says what is wrong with it.

    Returns:
        One sentence an experiment, and one that counts those whose runs were never started.
    """
    done = frozenset(finished)
    planned = {run.id: run for run in plan.runs}

    def record(run_id: str) -> RunRecord | None:
        folder = paths.run(run_id)
        if run_id in done or is_there(folder.provenance):
            return read_runs(paths, [run_id]).records.get(run_id)
        run = planned[run_id]
        return RunRecord(
            id=run_id,
            experiment=run.experiment,
            seed=run.seed,
            config=run.config,
            provenance=provenance(read_order(folder), run.seed, paths.root, slot),
            epochs=(),
            result=None,
            bursts={},
        )

    sentences: list[str] = []
    never: list[str] = []
    for arm, reference in _mixed(plan, done):
        ids = {seed: (plan.run_of[arm.id, seed], plan.run_of[reference.id, seed]) for seed in plan.campaign.seeds}
        both = {seed: pair for seed, pair in ids.items() if planned.keys() >= set(pair)}
        read = {seed: (record(ours), record(theirs)) for seed, (ours, theirs) in both.items()}
        pairs = {seed: (ours, theirs) for seed, (ours, theirs) in read.items() if ours and theirs}
        started = {seed: pair for seed, pair in pairs.items() if all(side.provenance for side in pair)}
        if pairs and not started:
            never.append(arm.id)
        sentences += _say_in_a_line(arm, find_confounds(arm, reference, started))
    return [*sentences, *_say_of_never_started(never)]


def _say_in_a_line(arm: Arm, confounds: Sequence[str]) -> list[str]:
    if not confounds:
        return []
    more = f"; and {len(confounds) - 1} more, which the report lists" if len(confounds) > 1 else ""
    return [f"{arm.id} would be confounded: {confounds[0]}{more}"]


def _say_of_never_started(names: Sequence[str]) -> list[str]:
    """Count the experiments that have nothing to compare: their code was refused, or that of their reference."""
    if not names:
        return []
    experiments = wording.counted(len(names), "experiment has", "experiments have")
    return [f"{experiments} no two runs that were both started, so there is nothing to compare: {', '.join(names)}"]


def _mixed(plan: Plan, done: frozenset[str]) -> list[tuple[Arm, Arm]]:
    """Return pairs of which some runs are done and some are not: others cannot differ yet, or any more."""
    pairs = [(arm, plan.arms[arm.reference]) for arm in plan.arms.values() if arm.reference]

    planned = {run.id for run in plan.runs}

    def is_mixed(arm: Arm, reference: Arm) -> bool:
        every = {plan.run_of[name, seed] for name in (arm.id, reference.id) for seed in plan.campaign.seeds}
        runs = every & planned
        return bool(runs & done) and not runs <= done

    return [pair for pair in pairs if is_mixed(*pair)]


class RunOptions(Struct, frozen=True, kw_only=True):
    """How runs are queued, and trained."""

    slots: int | None = None
    snapshot: bool = False
    retry: bool = False


class Queued(Struct, frozen=True, kw_only=True):
    """What came of queueing a plan."""

    plan: Plan
    """Of the runs that were wanted."""
    whole: Plan
    """Of all runs that the campaign may come to."""
    finished: frozenset[str]
    """Runs that had their result already."""
    rejected: dict[str, str]
    """Experiment -> why its code was refused."""
    notes: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """All runs of the plan."""
        return self.plan.run_ids


def queue(selection: Selection, store: Store, options: RunOptions) -> Queued:
    """Queue what is missing.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    queued = add(selection, store, snapshot=options.snapshot, retry=options.retry)
    slot = make_own_slots(options.slots)[0]
    warnings = warn_of_confounds(selection.paths, queued.plan, queued.finished, slot)
    return msgspec.structs.replace(queued, notes=(*queued.notes, *warnings))


def queue_alone(selection: Selection, options: RunOptions) -> tuple[Queued, list[QueuedRun]]:
    """Queue what is missing, for others to train; return what came of it and the plan's rows.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    store = open_store(selection.paths)
    try:
        queued = queue(selection, store, options)
        return queued, store.runs(queued.ids)
    finally:
        store.close()


def add(selection: Selection, store: Store, *, snapshot: bool = False, retry: bool = False) -> Queued:
    """Queue what has no result yet, after what waits already.

    Args:
        selection: the campaign.
        store: the queue.
        snapshot: whether uncommitted changes to the code are taken onto the experiments' branches.
        retry: whether failed runs are queued again. A run that was ruled too slow although another seed was not is
            queued again once in any case.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    code = find_code(selection.paths, snapshot=snapshot)
    notes = (code.note, *make_captures(selection).splitlines())
    inputs = collect_inputs(selection, code)
    whole = make_plan(selection, code, inputs)
    plan = selection.wants(whole)
    reconcile(store, selection.paths, end_jobs=False)
    finished = finished_results(selection.paths, plan.run_ids)
    _, unreadable = read_results(selection.paths, plan.run_ids)
    doubtful = find_doubtful(selection.paths, finished)
    forget = find_second_tries(selection.paths, plan.run_of, finished)
    forget |= {run_id for run_id, result in finished.items() if retry and result.state == RunState.FAILED}
    rejected = {
        arm.id: refusal for arm in selection.arms.values() if (refusal := code.code_of(arm.code).refusal) is not None
    }
    again = forget | doubtful.keys()
    if len(finished) - len(again) < len(plan.runs):
        refuse_impossible(selection)
        placing = Placing(selection.paths, plan, inputs, code)
        orders = placing.orders((finished.keys() - again) | unreadable.keys())
        # Only now: where something is refused, results stay on record.
        notes += tuple(set_aside(selection.paths, doubtful))
        finished = finished_results(selection.paths, plan.run_ids, forget)
        finished |= placing.place(store, orders, rejected)
    _list(store, plan, finished, unreadable)
    notes += tuple(f"{run_id} is left out: {why}" for run_id, why in unreadable.items())
    if forgotten := save_snapshot(selection, code, inputs):
        notes += (forgotten,)
    return Queued(plan=plan, whole=whole, finished=frozenset(finished), rejected=rejected, notes=notes)


class Placing:
    """Gives each run its folder: the configuration, and what the queue needs to start it."""

    def __init__(self, paths: Paths, plan: Plan, inputs: CodeAndData, code: Code) -> None:
        self.paths, self.plan, self.inputs, self.code = paths, plan, inputs, code
        self.now = datetime.now().astimezone()
        self._codes: dict[str, OrderedCode] = {}

    def orders(self, finished: Collection[str]) -> dict[str, Order]:
        """Fix what the runs without a result are to be trained with; return it by run."""
        return {
            run.id: self.order_of(run, number) for number, run in enumerate(self.plan.runs) if run.id not in finished
        }

    def place(self, store: Store, orders: Mapping[str, Order], rejected: Mapping[str, str]) -> dict[str, Result]:
        """Write the folders of runs that are to wait; return the results of those that were rejected."""
        open_rows = {row.id: row for row in store.runs() if not row.state.is_final}
        refused: dict[str, Result] = {}
        for run in self.plan.runs:
            row = open_rows.get(run.id)
            if run.id not in orders or (row and row.state is RunState.RUNNING):
                continue
            folder = self.paths.run(run.id)
            place_run(folder, run.config, _in_its_place(folder, orders[run.id]) if row else orders[run.id])
            if run.experiment in rejected:
                refused[run.id] = rejection(rejected[run.experiment])
                folder.write_result(refused[run.id])
        return refused

    def order_of(self, run: PlannedRun, number: int) -> Order:
        """Fix what a run is to be trained with; `number` is its place among those queued together."""
        if run.experiment not in self._codes:
            self._codes[run.experiment] = self.code.commit(branch_content(self.plan.arms[run.experiment]), self.now)
        return Order(
            run=run.id,
            identity=run.identity,
            # Runs queued together stay in the plan's order.
            queued=f"{self.now.astimezone(UTC).isoformat(timespec='microseconds')}/{number:06d}",
            code=self._codes[run.experiment],
            captures=self.inputs.captures,
            guards=self.plan.campaign.guards,
            references=self._references(run.experiment),
        )

    def _references(self, experiment: str) -> tuple[str, ...]:
        reference = self.plan.arms[experiment].reference
        names = dict.fromkeys((reference, BASELINE)) if reference else ()
        return tuple(self.plan.run_of[name, seed] for name in names for seed in self.plan.campaign.seeds)


def _in_its_place(folder: RunFolder, order: Order) -> Order:
    """Let a run that is in the queue already keep its place in a queue that is made again from the folders."""
    with contextlib.suppress(RunError):
        return msgspec.structs.replace(order, queued=read_order(folder).queued)
    return order


def rejection(reason: str) -> Result:
    """Return the result of a run whose code was refused."""
    return Result(state=RunState.FAILED.value, failure=Failure.REJECTED.value, reason=reason, epochs=0)


def _list(store: Store, plan: Plan, finished: Mapping[str, Result], unreadable: Collection[str]) -> None:
    """Make the queue say what the run folders say, and let the rest wait; what cannot be read stays as it is."""
    rows = store.runs([planned.id for planned in plan.runs])
    # A row that says "ended" about a folder without a result is forgotten: the folders are the truth.
    known = finished.keys() | set(unreadable)
    store.forget([row.id for row in rows if row.state.is_final and row.id not in known])
    store.add(row for row in planned_rows(plan) if row.id not in unreadable)
    for row in store.runs([planned.id for planned in plan.runs]):
        if row.id in finished:
            _record(store, row, finished[row.id])
        elif row.state is RunState.INTERRUPTED and row.id not in unreadable:
            store.move(row.id, row.state, RunState.QUEUED)


def _record(store: Store, row: QueuedRun, result: Result) -> None:
    # A worker that has just written it settles its claim itself.
    if row.state is not RunState.RUNNING and row.state.value != result.state:
        store.record(row.id, result)


def planned_rows(plan: Plan) -> list[QueuedRun]:
    """Return the plan's runs as rows that wait."""
    profile = plan.campaign.profile
    return [
        QueuedRun(id=run.id, experiment=run.experiment, seed=run.seed, profile=profile, state=RunState.QUEUED)
        for run in plan.runs
    ]


def refuse_impossible(selection: Selection) -> None:
    """Ask `model` about every configuration before anything starts.

    Raises:
        DataError: one cannot be trained on this machine or on these captures, or what is scored is not unseen.
    """
    if (problem := find_unmet_need(selection)) is not None:
        raise DataError(problem)
    arms = [arm for arm in selection.arms.values() if not arm.code]
    answers = describe_jobs([arm.config for arm in arms], selection.paths.root, with_data=True)
    for arm, answer in zip(arms, answers, strict=True):
        if answer.problem is not None:
            raise DataError(f"{arm.id}: {answer.problem}")
    refuse_shared_bursts([arm.config.data for arm in selection.arms.values()], selection.paths)
