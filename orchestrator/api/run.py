"""`knockout run`: queue what is missing, train it, judge, and write the report."""

from msgspec import structs

from orchestrator.api.queue import RunOptions
from orchestrator.api.report import Outcome, conclude
from orchestrator.api.train import Budget, Trained, plan_again, refuse_seeds, require_staging, run_until_decided, train
from orchestrator.api.work import SILENT
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.errors import UsageError
from orchestrator.launch.contention import refuse_crowded
from orchestrator.launch.loop import Observer
from orchestrator.runs.paths import Paths, require_place, require_places
from orchestrator.runs.results import count_ended, find_second_tries, finished_results

__all__ = ["Outcome", "Request", "RunOptions", "run"]


def run(request: Request, options: RunOptions | None = None, observer: Observer = SILENT) -> Outcome:
    """Queue what is missing, train it, judge, and write the report.

    With `until_decided` undecided experiments get more seeds, look by look, until nothing is undecided.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    options = options or RunOptions()
    _refuse_contradiction(request, options)
    selection = open_campaign(request)
    refuse_crowded(options.slots, [selection.campaign.guards])
    if options.until_decided:
        require_staging(selection)
    require_places(selection.paths.runs, selection.paths.reports)
    require_place(selection.paths.reports)
    if options.until_decided:
        return run_until_decided(selection, options, observer, Budget(seconds=options.budget_seconds))
    return run_once(selection, options, observer)


def _refuse_contradiction(request: Request, options: RunOptions) -> None:
    if options.budget_seconds is not None and not options.until_decided:
        raise UsageError("--budget is for --until-decided; say both")
    if options.until_decided:
        refuse_seeds(request)


def run_once(selection: Selection, options: RunOptions, observer: Observer) -> Outcome:
    """Train every missing run of the seeds asked for, judge, and write the report."""
    trained = train(selection, options, observer)
    queued, current = trained.queued, trained.queued.current
    if not trained.is_idle:
        current = plan_again(selection, current)
    # Only now is it known whether all seeds were too slow. If some were not, the slow ones get one more try.
    if trained.is_complete and _has_second_tries(selection.paths, queued.plan):
        again = train(selection, structs.replace(options, retry=False), observer, current=current)
        problems = tuple(dict.fromkeys((*trained.problems, *again.problems)))
        trained = Trained(queued=queued, problems=problems, is_complete=again.is_complete)
        current = plan_again(selection, current)
    outcome = conclude(selection, current.whole, current.code, queued.notes)
    num_ended = count_ended(selection.paths, queued.plan.run_ids)
    return structs.replace(
        outcome,
        is_complete=trained.is_complete,
        problems=(*trained.problems, *outcome.problems),
        num_trained=num_ended - len(queued.finished),
        num_finished_before=len(queued.finished),
    )


def _has_second_tries(paths: Paths, plan: Plan) -> bool:
    return bool(find_second_tries(paths, plan.run_of, finished_results(paths, plan.run_ids)))
