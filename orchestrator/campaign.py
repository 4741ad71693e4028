"""The one composition: queue, launch, watch, collect, judge, report."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.branches import BranchName
from orchestrator.checkouts import Checkouts, Code, GitCode, find_code
from orchestrator.deciding import judge_as_declared
from orchestrator.errors import CodeError
from orchestrator.evidence import RunRecord, read_runs
from orchestrator.judgement import Judgement, Verdict
from orchestrator.layout import Layout
from orchestrator.ordering import RunOptions, queue
from orchestrator.orders import read_order
from orchestrator.plan import Plan
from orchestrator.queueing import Queued
from orchestrator.reconcile import reconcile
from orchestrator.remembering import choose_plan
from orchestrator.report import write_report
from orchestrator.results import count_ended
from orchestrator.store import QueuedRun, open_store
from orchestrator.study import Request, Study
from orchestrator.worker import Observer, never
from orchestrator.working import build_worker


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a run or a report."""

    plan: Plan
    rows: list[QueuedRun]
    judgements: dict[str, Judgement]
    report: Path
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()
    """What kept runs from being trained, in sentences."""
    is_complete: bool = True
    num_finished_before: int = 0
    num_trained: int = 0


class Trained(Struct, frozen=True, kw_only=True):
    """What came of training what was missing."""

    queued: Queued
    problems: tuple[str, ...] = ()
    is_complete: bool = True


def run(study: Study, options: RunOptions, observer: Observer) -> Outcome:
    """Queue what is missing, train it, judge, and write the report.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    trained = train(study, options, observer)
    queued = trained.queued
    outcome = conclude(study, queued.whole, find_code(study.layout, snapshot=True), queued.notes)
    num_ended = count_ended(study.layout, queued.plan)
    return msgspec.structs.replace(
        outcome,
        is_complete=trained.is_complete,
        problems=(*trained.problems, *outcome.problems),
        num_trained=num_ended - len(queued.finished),
        num_finished_before=len(queued.finished),
    )


def train(study: Study, options: RunOptions, observer: Observer, is_time_up: Callable[[], bool] = never) -> Trained:
    """Queue what is missing and train it, until all has ended or the time is up.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    store = open_store(study.layout)
    try:
        queued = queue(study, store, options)
        if len(queued.finished) == len(queued.plan.runs):
            # The last job may have outlived its orchestrator, and ended while this command began.
            reconcile(store, study.layout, end_jobs=False)
            return Trained(queued=queued, problems=tuple(Checkouts(study.layout).remove_leftovers()))
        worker = build_worker(store, study.layout, options.slots, ids=queued.ids, is_time_up=is_time_up)
        is_complete = worker.drain(observer)
        return Trained(queued=queued, problems=tuple(worker.problems), is_complete=is_complete)
    finally:
        store.close()


def conclude(study: Study, plan: Plan, code: Code, notes: tuple[str, ...]) -> Outcome:
    """Read what the runs left, judge it, write the report, and settle the branches."""
    records = read_runs(study.layout, [planned.id for planned in plan.runs])
    plan, judgements = judge_as_declared(plan, records)
    outcome = Outcome(
        plan=plan,
        rows=queue_rows(study.layout, plan),
        judgements=judgements,
        report=write_report(plan, records, judgements, study.layout),
        notes=notes,
    )
    if not isinstance(code, GitCode):
        return outcome
    return msgspec.structs.replace(outcome, problems=tuple(settle_branches(code, records, outcome, study.layout)))


def settle_branches(code: GitCode, records: Mapping[str, RunRecord], outcome: Outcome, layout: Layout) -> list[str]:
    """Tag what improved; retire the branch of everything else that has a verdict and waits for no run.

    The report is written by then: what git refuses is returned in sentences, and done at the next report.
    """
    waits = {row.experiment for row in outcome.rows if not row.state.is_final}
    commits = {record.provenance.get("commit") for record in records.values()} | ordered_commits(outcome.plan, layout)
    keepers = code.repository.keepers()
    refused = []
    for commit in code.repository.open_branches():
        name = BranchName.parse(commit.branch).experiment
        judgement = outcome.judgements.get(name)
        if judgement is None or judgement.verdict is Verdict.PENDING or name in waits:
            continue
        if commit.commit in commits and keepers.get(name) != commit.commit:
            verdict = msgspec.json.encode(judgement).decode() if judgement.is_keeper else None
            try:
                code.settle(name, commit, verdict)
            except CodeError as error:
                refused.append(f"the branch of {name} is left as it is: {error}")
    return refused


def ordered_commits(plan: Plan, layout: Layout) -> set[str | None]:
    """Return the commits that the plan's runs were queued with: one that was rejected has no provenance."""
    folders = (layout.run(run.id) for run in plan.runs)
    return {read_order(folder).code.commit for folder in folders if folder.order.exists()}


def report(study: Study, request: Request) -> Outcome:
    """Judge what is there and write the report, without training.

    Where the file, the code or the captures have changed since runs were queued, it is of what was queued, unless more
    of what they are now has ended.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
    """
    code = find_code(study.layout, snapshot=True)
    plan, sentence = choose_plan(study, request, code)
    return conclude(study, plan, code, (sentence,))


def queue_rows(layout: Layout, plan: Plan) -> list[QueuedRun]:
    """Return the plan's rows of the queue."""
    store = open_store(layout)
    try:
        return store.runs([planned.id for planned in plan.runs])
    finally:
        store.close()
