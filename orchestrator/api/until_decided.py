"""`knockout run --until-decided` and `knockout next`: seeds are given out look by look until all is decided."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from msgspec import Struct, structs

from orchestrator.api.queue import RunOptions
from orchestrator.api.run import Outcome, Trained, conclude, train
from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Selection, make_plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.code.sources import find_code
from orchestrator.errors import UsageError
from orchestrator.launch.loop import Observer
from orchestrator.runs.paths import Paths, require_place
from orchestrator.runs.record import RunRecord
from orchestrator.runs.results import run_seconds
from orchestrator.runs.states import RunState
from orchestrator.verdicts.next_run import NextRun, next_run
from orchestrator.verdicts.staged import SeedDecision, StagedVerdicts, judge_staged


@dataclass
class Budget:
    """How long may be trained, by a clock in seconds."""

    clock: Callable[[], float]
    seconds: float | None = None
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def is_spent(self) -> bool:
        """Whether no training may start any more."""
        return self.seconds is not None and self.clock() - self.started >= self.seconds


class Ended(Struct, frozen=True, kw_only=True):
    """How far the looks came, and the report of it."""

    outcome: Outcome
    decisions: dict[str, SeedDecision]
    num_wanted: int
    """Runs that the next look still waits for."""
    is_budget_spent: bool


def run_until_decided(selection: Selection, options: RunOptions, observer: Observer, budget: Budget) -> Ended:
    """Train what the looks ask for until every experiment is decided or has had its seeds, or the budget is spent.

    What is under way when the budget is spent finishes its epoch and is kept.

    Raises:
        UsageError: the campaign does not say how seeds are given out.
        KnockoutError: something is refused; nothing has been started then.
    """
    staging = require_staging(selection)
    require_place(selection.paths.reports)
    make_captures(selection)
    rounds: list[Trained] = []
    before, staged = None, _judge(selection, staging)
    while (staged.wanted or options.retry) and staged.wanted != before and not budget.is_spent():
        rounds.append(train(replace(selection, cells=frozenset(staged.asked)), options, observer, budget.is_spent))
        options = structs.replace(options, retry=False)
        if not rounds[-1].is_complete:
            break
        before, staged = staged.wanted, _judge(selection, staging)
    staged = _judge(selection, staging)
    return _conclude(selection, rounds, staged, is_budget_spent=bool(staged.wanted) and budget.is_spent())


def _conclude(selection: Selection, rounds: list[Trained], staged: StagedVerdicts, *, is_budget_spent: bool) -> Ended:
    code = find_code(selection.paths, snapshot=True)
    notes = dict.fromkeys((code.note, *(note for trained in rounds for note in trained.queued.notes)))
    outcome = conclude(selection, make_plan(selection.widened, code), code, tuple(notes))
    trained_now = {
        run.id for trained in rounds for run in trained.queued.plan.runs if run.id not in trained.queued.finished
    }
    num_trained = sum(selection.paths.run(run_id).result.exists() for run_id in trained_now)
    num_ended = sum(selection.paths.run(run.id).result.exists() for run in outcome.plan.runs)
    outcome = structs.replace(
        outcome,
        is_complete=is_budget_spent or all(trained.is_complete for trained in rounds),
        problems=(*dict.fromkeys(problem for trained in rounds for problem in trained.problems), *outcome.problems),
        num_trained=num_trained,
        num_finished_before=num_ended - num_trained,
    )
    return Ended(
        outcome=outcome,
        decisions=staged.decisions,
        num_wanted=len(staged.wanted),
        is_budget_spent=is_budget_spent,
    )


def choose_next(selection: Selection) -> NextRun | None:
    """Choose the run that would help most; None where nothing is left to tell. Trains nothing.

    Raises:
        UsageError: the campaign does not say how seeds are given out.
        DataError: captures are missing and cannot be made.
    """
    staging = require_staging(selection)
    make_captures(selection)
    staged = _judge(selection, staging)
    return next_run(staged, _measured(selection.paths, staged))


def require_staging(selection: Selection) -> StagingSpec:
    """Return how the campaign gives out seeds.

    Raises:
        UsageError: it does not say.
    """
    if selection.campaign.staging is None:
        raise UsageError(
            "the campaign does not say how seeds are given out; add "
            "`staging: {screen_seeds: 2, max_seeds: 10, confirm_seeds: 2}` to its file"
        )
    return selection.campaign.staging


def _judge(selection: Selection, staging: StagingSpec) -> StagedVerdicts:
    plan = make_plan(selection, find_code(selection.paths, snapshot=True))
    return judge_staged(plan, _read(selection.paths, plan), staging)


def _read(paths: Paths, plan: Plan) -> dict[str, RunRecord]:
    return gather(paths, plan).records


def _measured(paths: Paths, staged: StagedVerdicts) -> Callable[[str], float | None]:
    """Tell what a run of an experiment takes: the median of its own, else of all that are done."""
    seconds: dict[str, list[float]] = {}
    records = _read(paths, staged.plan)
    for run in staged.plan.runs:
        record = records.get(run.id)
        if record is not None and record.result is not None and record.result.state == RunState.DONE:
            seconds.setdefault(run.experiment, []).append(run_seconds(record.epochs))
    of_all = [each for of in seconds.values() for each in of]
    typical = median(of_all) if of_all else None
    return lambda experiment: median(seconds[experiment]) if experiment in seconds else typical
