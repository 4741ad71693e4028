"""The one composition: queue, launch, watch, collect, judge, report."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.branches import BranchName
from orchestrator.checkouts import Code, GitCode, find_code
from orchestrator.errors import CodeError, DataError
from orchestrator.evidence import RunRecord, read_runs
from orchestrator.judgement import Judgement, Verdict
from orchestrator.layout import Layout
from orchestrator.ordering import RunOptions, queue
from orchestrator.orders import read_order
from orchestrator.plan import Plan
from orchestrator.remembering import recall
from orchestrator.report import write_report
from orchestrator.results import finished_results
from orchestrator.store import QueuedRun, open_store
from orchestrator.study import Request, Study, make_plan, missing_captures
from orchestrator.verdicts import judge
from orchestrator.worker import Observer
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


def run(study: Study, options: RunOptions, observer: Observer) -> Outcome:
    """Queue what is missing, train it, judge, and write the report.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    store = open_store(study.layout)
    try:
        queued = queue(study, store, options)
        is_complete = True
        problems: tuple[str, ...] = ()
        if len(queued.finished) < len(queued.plan.runs):
            worker = build_worker(store, study.layout, options.slots, ids=queued.ids)
            is_complete = worker.drain(observer)
            problems = tuple(worker.problems)
    finally:
        store.close()
    code = find_code(study.layout, snapshot=True)
    outcome = _conclude(study, queued.plan, code, queued.notes)
    num_ended = _count_ended(study.layout, queued.plan)
    return msgspec.structs.replace(
        outcome,
        is_complete=is_complete,
        problems=(*problems, *outcome.problems),
        num_trained=num_ended - len(queued.finished),
        num_finished_before=len(queued.finished),
    )


def _conclude(study: Study, plan: Plan, code: Code, notes: tuple[str, ...]) -> Outcome:
    """Read what the runs left, judge it, write the report, and settle the branches."""
    records = read_runs(study.layout, [planned.id for planned in plan.runs])
    judgements = judge(plan, records)
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
    queued = recall(study)
    missing = missing_captures(study)
    if missing and queued is None:
        raise DataError(f"{missing[0]}: this capture is not there, so no run can belong to it; `knockout run` makes it")
    plan = None if missing else make_plan(study, code)
    if queued is not None:
        before = queued.plan(request)
        if plan is None or _count_ended(study.layout, before) > _count_ended(study.layout, plan):
            return _conclude(study, before, code, (queued.sentence(),))
    assert plan is not None
    return _conclude(study, plan, code, (code.note,))


def _count_ended(layout: Layout, plan: Plan) -> int:
    return len(finished_results(layout, plan, forget_failures=False))


def queue_rows(layout: Layout, plan: Plan) -> list[QueuedRun]:
    """Return the plan's rows of the queue."""
    store = open_store(layout)
    try:
        return store.runs([planned.id for planned in plan.runs])
    finally:
        store.close()
