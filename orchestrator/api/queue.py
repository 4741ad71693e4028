"""`knockout queue add`: the missing runs of a plan are queued, each with its code fixed."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.api.plan import find_compiler_need, refuse_without_gpu
from orchestrator.campaign.arms import Arm, branch_content
from orchestrator.campaign.captures import make_captures, refuse_untrainable
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan, PlannedRun, own_inputs
from orchestrator.campaign.selection import CurrentPlan, Request, Selection, open_campaign, plan_now
from orchestrator.campaign.snapshot import save_snapshot
from orchestrator.code.sources import find_code
from orchestrator.errors import DataError, RunError
from orchestrator.files import is_there
from orchestrator.launch.provenance import provenance
from orchestrator.launch.slots import Slot, make_own_slots
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.rows import waiting_run
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.doubtful import find_doubtful, set_aside
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.order import Order, Terms, place_run, queue_place, read_order
from orchestrator.runs.paths import Paths, require_places
from orchestrator.runs.record import NotBelievedError, RunRecord, read_runs
from orchestrator.runs.results import find_second_tries, finished_results, read_results
from orchestrator.runs.states import Failure, RunState
from orchestrator.verdicts.confounds import find_confounds


def warn_of_confounds(paths: Paths, plan: Plan, finished: Iterable[str], slot: Slot) -> list[str]:
    """Return a warning for each experiment that would be confounded if its missing runs were trained here and now.

    Args:
        paths: the campaign's folders.
        plan: the campaign; each run without a result has its order.
        finished: runs that have their result.
        slot: a slot of the kind that would train the missing runs.

    A run that cannot be read is skipped; the report says what is wrong with it.

    Returns:
        One sentence per confounded experiment, and one that counts the experiments without any started pair.
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
            params=run.params,
            provenance=provenance(read_order(folder), run.seed, paths.root, slot),
            epochs=(),
            result=None,
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
        sentences += _warn_in_a_line(arm, find_confounds(arm, reference, started))
    return [*sentences, *_count_never_started(never)]


def _warn_in_a_line(arm: Arm, confounds: Sequence[str]) -> list[str]:
    if not confounds:
        return []
    more = f"; and {len(confounds) - 1} more, which the report lists" if len(confounds) > 1 else ""
    return [f"{arm.id} would be confounded: {confounds[0]}{more}"]


def _count_never_started(names: Sequence[str]) -> list[str]:
    """Count the experiments with nothing to compare: their code, or that of their reference, was refused."""
    if not names:
        return []
    experiments = wording.counted(len(names), "experiment has", "experiments have")
    return [f"{experiments} no two runs that were both started, so there is nothing to compare: {', '.join(names)}"]


def _mixed(plan: Plan, done: frozenset[str]) -> list[tuple[Arm, Arm]]:
    """Return experiment and reference where some runs are done and some are not. Only these can still be mixed."""
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
    """How many trainings run at a time; None for `slots_per_gpu` on each GPU, or two on a CPU."""
    snapshot: bool = False
    """Whether uncommitted changes to the code go onto the experiments' branches; without it they are refused."""
    retry: bool = False
    """Whether failed runs are queued again."""
    until_decided: bool = False
    """Whether undecided experiments get more seeds, look by look."""
    budget_seconds: float | None = None
    """With `until_decided`: after so many seconds no new training starts."""


class Queued(Struct, frozen=True, kw_only=True):
    """A plan after its missing runs were queued."""

    plan: Plan
    """The runs that are to be trained."""
    current: CurrentPlan
    """The plan of the whole campaign, with the code and the captures that the runs are queued with."""
    finished: frozenset[str]
    """Runs that had their result already."""
    rejected: dict[str, str]
    """Experiment -> why its code was refused."""
    notes: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """All runs of the plan."""
        return self.plan.run_ids


class Added(Struct, frozen=True, kw_only=True):
    """What `knockout queue add` has done."""

    notes: tuple[str, ...]
    rejected: dict[str, str]
    """Experiment -> why its code was refused."""
    rows: list[QueuedRun]
    """The queue's rows of the plan's runs."""
    num_runs: int
    default_note: str | None
    """Says how many experiments were taken because none was named; None if all of the file were taken."""


def queue_add(request: Request, options: RunOptions | None = None) -> Added:
    """Queue the runs that have no result yet, for `work` to train.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    selection = open_campaign(request)
    require_places(selection.paths.runs)
    store = open_store(selection.paths)
    try:
        queued = queue_missing(selection, store, options or RunOptions())
        rows = store.runs(queued.ids)
    finally:
        store.close()
    return Added(
        notes=queued.notes,
        rejected=queued.rejected,
        rows=rows,
        num_runs=len(queued.plan.runs),
        default_note=selection.default_note,
    )


def queue_missing(
    selection: Selection, store: Store, options: RunOptions, current: CurrentPlan | None = None
) -> Queued:
    """Queue the runs that have no result yet, and warn of confounds. The arguments are those of `add`.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    queued = add(selection, store, options, current)
    slot = make_own_slots(options.slots, selection.campaign.slots_per_gpu)[0]
    warnings = warn_of_confounds(selection.paths, queued.plan, queued.finished, slot)
    return structs.replace(queued, notes=(*queued.notes, *warnings))


def add(selection: Selection, store: Store, options: RunOptions, current: CurrentPlan | None = None) -> Queued:
    """Queue the runs that have no result yet, behind the runs that wait already.

    A run that was ruled too slow while another seed was not is queued again once, also without `retry`.

    Args:
        selection: the campaign.
        store: the queue.
        options: `snapshot` and `retry` count here.
        current: the plan, if this command has just made it.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    notes: tuple[str, ...] = ()
    if current is None:
        refuse_without_gpu(selection)
        code = find_code(selection.paths, snapshot=options.snapshot, code=selection.campaign.task.code)
        notes = tuple(make_captures(selection).splitlines())
        current = plan_now(selection, code)
    elif not options.snapshot:
        current.code.require_committed()
    plan = selection.keep_wanted(current.part(selection))
    reconcile(store, selection.paths, end_jobs=False)
    found = _look_at_folders(selection.paths, plan, retry=options.retry)
    rejected = {
        arm.id: refusal
        for arm in selection.arms.values()
        if (refusal := current.code.code_of(arm.code).refusal) is not None
    }
    set_aside_notes: list[str] = []
    finished = found.finished
    if found.is_something_missing(plan):
        refuse_impossible(selection)
        placing = Placing(selection.paths, plan, current)
        orders = placing.orders(found.settled)
        # Only now: if something is refused above, the old results stay on record.
        set_aside_notes = set_aside(selection.paths, found.doubtful)
        finished = finished_results(selection.paths, plan.run_ids, found.to_forget)
        # The folders are written before the rows. If this process dies between the two, `rebuild` finds all runs.
        finished |= placing.place(store, orders, rejected)
    _list(store, plan, finished, found.unreadable)
    left_out = [f"{run_id} is left out: {why}" for run_id, why in found.unreadable.items()]
    not_saved = save_snapshot(selection, current)
    notes = (current.code.note, *notes, *set_aside_notes, *left_out, *([not_saved] if not_saved else []))
    return Queued(plan=plan, current=current, finished=frozenset(finished), rejected=rejected, notes=notes)


class _Folders(Struct, frozen=True, kw_only=True):
    """What the run folders of a plan hold."""

    finished: dict[str, Result]
    unreadable: dict[str, str]
    """Run -> why its folder cannot be read."""
    doubtful: dict[str, NotBelievedError]
    """Run -> why its result is not believed."""
    to_forget: set[str]
    """Runs with a result that are to be trained again."""

    @property
    def settled(self) -> set[str]:
        """Runs that need no order: their result stands, or nobody can read it."""
        return (self.finished.keys() - self.to_forget - self.doubtful.keys()) | self.unreadable.keys()

    def is_something_missing(self, plan: Plan) -> bool:
        """Whether a run of the plan has no result that stands."""
        return len(self.finished) - len(self.to_forget | self.doubtful.keys()) < len(plan.runs)


def _look_at_folders(paths: Paths, plan: Plan, *, retry: bool) -> _Folders:
    finished = finished_results(paths, plan.run_ids)
    failed = {run_id for run_id, result in finished.items() if result.state == RunState.FAILED}
    return _Folders(
        finished=finished,
        unreadable=read_results(paths, plan.run_ids)[1],
        doubtful=find_doubtful(paths, finished),
        to_forget=find_second_tries(paths, plan.run_of, finished) | (failed if retry else set()),
    )


class Placing:
    """Gives each run its folder: the configuration, and what the queue needs to start it."""

    def __init__(self, paths: Paths, plan: Plan, current: CurrentPlan) -> None:
        self.paths, self.plan, self.current = paths, plan, current
        self.now = datetime.now().astimezone()
        self._terms: dict[str, Terms] = {}

    def orders(self, settled: Collection[str]) -> dict[str, Order]:
        """Return the orders of the runs that are not settled, by run."""
        return {
            run.id: self.order_of(run, number) for number, run in enumerate(self.plan.runs) if run.id not in settled
        }

    def place(self, store: Store, orders: Mapping[str, Order], rejected: Mapping[str, str]) -> dict[str, Result]:
        """Write the folders of the runs with an order; return the results of the rejected ones."""
        open_rows = {row.id: row for row in store.runs() if not row.state.is_final}
        refused: dict[str, Result] = {}
        for run in self.plan.runs:
            row = open_rows.get(run.id)
            # A job that runs has read these files already, so they must go on saying what it trains.
            if run.id not in orders or (row and row.state is RunState.RUNNING):
                continue
            folder = self.paths.run(run.id)
            place_run(folder, run.config, _keep_place(folder, orders[run.id]) if row else orders[run.id])
            if run.experiment in rejected:
                refused[run.id] = rejection(rejected[run.experiment])
                folder.write_result(refused[run.id])
        return refused

    def order_of(self, run: PlannedRun, number: int) -> Order:
        """Return the order of a run: its code, captures, guards and references.

        Args:
            run: the run.
            number: its place among the runs that are queued together; they stay in the plan's order.
        """
        if run.experiment not in self._terms:
            self._terms[run.experiment] = self._terms_of(run.experiment)
        return self._terms[run.experiment].order(run.id, run.identity, queue_place(self.now, number))

    def _terms_of(self, experiment: str) -> Terms:
        # The whole campaign: a run may have the name of another experiment with the same code, which was not asked for.
        arm, whole = self.current.whole.arms[experiment], self.current.whole
        names = dict.fromkeys((arm.reference, BASELINE)) if arm.reference else ()
        return Terms(
            code=self.current.code.commit(branch_content(arm), self.now),
            files=own_inputs(self.current.inputs, arm.reads).files,
            data=self.current.inputs.data,
            task=self.current.whole.campaign.task,
            num_epochs=arm.about.epochs,
            needs=arm.about.needs,
            guards=self.plan.campaign.guards,
            references=tuple(whole.run_of[name, seed] for name in names for seed in self.plan.campaign.seeds),
        )


def _keep_place(folder: RunFolder, order: Order) -> Order:
    """Return the order with the place of the run's earlier order. `rebuild` then gives a queued run the same place."""
    with contextlib.suppress(RunError):
        return structs.replace(order, queued=read_order(folder).queued)
    return order


def rejection(reason: str) -> Result:
    """Return the result of a run whose code was refused."""
    return Result(state=RunState.FAILED.value, failure=Failure.REJECTED.value, reason=reason, epochs=0)


def _list(store: Store, plan: Plan, finished: Mapping[str, Result], unreadable: Collection[str]) -> None:
    """Make the rows agree with the run folders, and queue the rest. Rows of unreadable folders stay as they are."""
    rows = store.runs([planned.id for planned in plan.runs])
    # The folders are the truth: a row that has ended, although its folder holds no result, is deleted.
    known = finished.keys() | set(unreadable)
    store.forget([row.id for row in rows if row.state.is_final and row.id not in known])
    store.add(row for row in planned_rows(plan) if row.id not in unreadable)
    for row in store.runs([planned.id for planned in plan.runs]):
        if row.id in finished:
            _record(store, row, finished[row.id])
        elif row.state is RunState.INTERRUPTED and row.id not in unreadable:
            store.move(row.id, row.state, RunState.QUEUED)


def _record(store: Store, row: QueuedRun, result: Result) -> None:
    # A running row is skipped: its worker has just written the result, and records it itself.
    if row.state is not RunState.RUNNING and row.state.value != result.state:
        store.record(row.id, result)


def planned_rows(plan: Plan) -> list[QueuedRun]:
    """Return the plan's runs as rows that wait."""
    profile = plan.campaign.profile
    return [waiting_run(run.id, run.experiment, run.seed, profile) for run in plan.runs]


def refuse_impossible(selection: Selection) -> None:
    """Ask the task about every configuration before a run is queued.

    Raises:
        DataError: a configuration cannot be trained on this machine or these captures, or roles share bursts.
    """
    if (problem := find_compiler_need(selection)) is not None:
        raise DataError(problem)
    refuse_untrainable(selection, list(selection.arms.values()))
