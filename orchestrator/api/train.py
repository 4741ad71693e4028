"""Training what is missing: once, or look by look until all is decided. And `knockout next`: which run helps most."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from msgspec import Struct, structs

from orchestrator.api.plan import refuse_without_gpu
from orchestrator.api.queue import Queued, RunOptions, queue_missing
from orchestrator.api.report import Outcome, conclude
from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import CurrentPlan, Request, Selection, open_campaign, plan_now
from orchestrator.campaign.spec import StagingSpec
from orchestrator.code.checkouts import Checkouts
from orchestrator.code.sources import find_code
from orchestrator.errors import UsageError
from orchestrator.launch.loop import GivenRuns, Observer, never
from orchestrator.launch.start import clean_checkouts
from orchestrator.launch.worker import build_worker
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import open_store
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.runs.results import run_seconds
from orchestrator.runs.states import RunState
from orchestrator.verdicts.next_run import NextRun
from orchestrator.verdicts.next_run import next_run as choose_next
from orchestrator.verdicts.staged import StagedVerdicts, judge_staged


class Trained(Struct, frozen=True, kw_only=True):
    """What was queued and trained."""

    queued: Queued
    problems: tuple[str, ...] = ()
    is_complete: bool = True
    """Whether all runs have ended that were to be trained."""
    is_idle: bool = False
    """Whether every run had its result already, so that no worker was started."""


def train(
    selection: Selection,
    options: RunOptions,
    observer: Observer,
    is_time_up: Callable[[], bool] = never,
    current: CurrentPlan | None = None,
) -> Trained:
    """Queue the missing runs and train them, until all have ended or the time is up.

    Args:
        selection: what to train.
        options: how.
        observer: who follows the runs.
        is_time_up: whether no training may start any more.
        current: the plan, if this command has just made it.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    store = open_store(selection.paths)
    try:
        queued = queue_missing(selection, store, options, current)
        if len(queued.finished) == len(queued.plan.runs):
            # The last job may have outlived its worker, and ended while this command began.
            reconcile(store, selection.paths, end_jobs=False)
            # No worker starts here, so its cleaning of left-over worktrees is done now.
            refused = clean_checkouts(selection.paths, Checkouts(selection.paths))
            return Trained(queued=queued, problems=tuple(refused), is_idle=True)
        feed = GivenRuns(store, queued.ids, is_time_up)
        worker = build_worker(store, selection.paths, options.slots, feed, selection.campaign.slots_per_gpu)
        is_complete = worker.drain(observer)
        return Trained(queued=queued, problems=tuple(worker.problems), is_complete=is_complete)
    finally:
        store.close()


def plan_again(selection: Selection, before: CurrentPlan) -> CurrentPlan:
    """Plan after a training with the code and captures of now: somebody may have changed them meanwhile."""
    return plan_now(selection, find_code(selection.paths, snapshot=True, code=selection.campaign.task.code), before)


@dataclass
class Budget:
    """How long may be trained, by a clock in seconds."""

    clock: Callable[[], float] = time.monotonic
    seconds: float | None = None
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def is_spent(self) -> bool:
        """Whether no training may start any more."""
        return self.seconds is not None and self.clock() - self.started >= self.seconds


@dataclass(frozen=True)
class _Look:
    """How far a sequential campaign has come, by the plan of that moment."""

    current: CurrentPlan
    staged: StagedVerdicts


def run_until_decided(selection: Selection, options: RunOptions, observer: Observer, budget: Budget) -> Outcome:
    """Train what the looks ask for until every experiment is decided or has had its seeds, or the budget is spent.

    When the budget is spent, runs under way finish their epoch and are kept.

    Raises:
        UsageError: the campaign is not sequential: it has no `staging`.
        KnockoutError: something is refused; nothing has been started then.
    """
    require_staging(selection)
    refuse_without_gpu(selection)
    make_captures(selection)
    rounds: list[Trained] = []
    wanted_before, look = None, _look(selection)
    # If the looks want the same runs after a round, these cannot be trained now. More rounds would never end.
    while (look.staged.wanted or options.retry) and look.staged.wanted != wanted_before and not budget.is_spent():
        asked = replace(selection, cells=frozenset(look.staged.asked))
        rounds.append(train(asked, options, observer, budget.is_spent, look.current))
        # Once is enough: a run that fails in each round would be trained again for ever.
        options = structs.replace(options, retry=False)
        wanted_before, look = look.staged.wanted, _look(selection, look.current)
        if not rounds[-1].is_complete:
            break
    # If all is decided, the end of the budget has cut nothing off.
    is_budget_spent = bool(look.staged.wanted) and budget.is_spent()
    return structs.replace(
        _conclude(selection, rounds, look.current),
        is_complete=is_budget_spent or all(trained.is_complete for trained in rounds),
        decisions=look.staged.decisions,
        num_wanted=len(look.staged.wanted),
        is_budget_spent=is_budget_spent,
    )


def _conclude(selection: Selection, rounds: list[Trained], current: CurrentPlan) -> Outcome:
    notes = dict.fromkeys((current.code.note, *(note for trained in rounds for note in trained.queued.notes)))
    outcome = conclude(selection, current.whole, current.code, tuple(notes))
    trained_now = {
        run.id for trained in rounds for run in trained.queued.plan.runs if run.id not in trained.queued.finished
    }
    num_trained = sum(selection.paths.run(run_id).result.exists() for run_id in trained_now)
    num_ended = sum(selection.paths.run(run.id).result.exists() for run in outcome.plan.runs)
    problems = dict.fromkeys(problem for trained in rounds for problem in trained.problems)
    return structs.replace(
        outcome,
        problems=(*problems, *outcome.problems),
        num_trained=num_trained,
        num_finished_before=num_ended - num_trained,
    )


def next_run(request: Request) -> NextRun | None:
    """Choose the run that would help most; None if no run is wanted. Trains nothing.

    Raises:
        UsageError: the campaign is not sequential: it has no `staging`. Or seeds are named.
        DataError: captures are missing and cannot be made.
    """
    refuse_seeds(request)
    selection = open_campaign(request)
    require_staging(selection)
    make_captures(selection)
    staged = _look(selection).staged
    return choose_next(staged, _measure_seconds(selection.paths, staged))


def refuse_seeds(request: Request) -> None:
    """Refuse a request with seeds, which only the looks choose.

    Raises:
        UsageError: it names seeds.
    """
    if request.seeds is not None:
        raise UsageError("the looks choose the seeds themselves, as `staging` says; leave --seeds out")


def require_staging(selection: Selection) -> StagingSpec:
    """Return how a sequential campaign gives out seeds.

    Raises:
        UsageError: the campaign does not say.
    """
    if selection.campaign.staging is None:
        raise UsageError(
            "the campaign does not say how seeds are given out; add "
            "`staging: {screen_seeds: 2, max_seeds: 10, confirm_seeds: 2}` to its file"
        )
    return selection.campaign.staging


def _look(selection: Selection, before: CurrentPlan | None = None) -> _Look:
    current = plan_now(selection, find_code(selection.paths, snapshot=True, code=selection.campaign.task.code), before)
    plan = current.part(selection)
    return _Look(current, judge_staged(plan, _read(selection.paths, plan), require_staging(selection)))


def _read(paths: Paths, plan: Plan) -> dict[str, RunRecord]:
    return gather(paths, plan).records


def _measure_seconds(paths: Paths, staged: StagedVerdicts) -> Callable[[str], float | None]:
    """Return experiment -> seconds of a run: the median of its own runs, else of all runs that are done."""
    seconds: dict[str, list[float]] = {}
    records = _read(paths, staged.plan)
    for run in staged.plan.runs:
        record = records.get(run.id)
        if record is not None and record.result is not None and record.result.state == RunState.DONE:
            seconds.setdefault(run.experiment, []).append(run_seconds(record.epochs))
    all_seconds = [each for of_experiment in seconds.values() for each in of_experiment]
    typical = median(all_seconds) if all_seconds else None
    return lambda experiment: median(seconds[experiment]) if experiment in seconds else typical
