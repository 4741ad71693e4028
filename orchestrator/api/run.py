"""The one composition: queue, launch, watch, collect, judge, report."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator import wording
from orchestrator.api.queue import Queued, RunOptions, queue
from orchestrator.campaign.arms import select_arms
from orchestrator.campaign.plan import Plan, narrow
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Request, Selection, make_plan
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.checkouts import Checkouts
from orchestrator.code.refs import BranchName
from orchestrator.code.sources import Code, GitCode, find_code, look_at_code
from orchestrator.errors import CodeError, RunError
from orchestrator.launch.loop import GivenRuns, Observer, never
from orchestrator.launch.worker import build_worker
from orchestrator.queue.reconcile import reconcile
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.report.place import describe_latest
from orchestrator.report.write import write_report
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths, require_place
from orchestrator.runs.record import RunRecord
from orchestrator.runs.results import count_ended, find_second_tries, finished_results
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judgement import Judgement, Judgements, Verdict
from orchestrator.verdicts.staged import experiments_left_out, judge_as_declared, plan_to_judge

PART = (
    "this is a part of the campaign, of which {experiments} have runs too: where seeds are given out look by look, "
    "verdicts are among what is named alone; branches and keepers stay as they are until `knockout report` judges all"
)


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a run or a report."""

    plan: Plan
    rows: list[QueuedRun]
    judgements: Judgements
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


def run(selection: Selection, options: RunOptions, observer: Observer) -> Outcome:
    """Queue what is missing, train it, judge, and write the report.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    require_place(selection.paths.reports)
    trained = train(selection, options, observer)
    queued = trained.queued
    if trained.is_complete and _has_second_tries(selection.paths, queued.plan):
        again = train(selection, msgspec.structs.replace(options, retry=False), observer)
        problems = tuple(dict.fromkeys((*trained.problems, *again.problems)))
        trained = Trained(queued=queued, problems=problems, is_complete=again.is_complete)
    code = find_code(selection.paths, snapshot=True)
    outcome = conclude(selection, make_plan(selection.widened, code), code, queued.notes)
    num_ended = count_ended(selection.paths, queued.plan.run_ids)
    return msgspec.structs.replace(
        outcome,
        is_complete=trained.is_complete,
        problems=(*trained.problems, *outcome.problems),
        num_trained=num_ended - len(queued.finished),
        num_finished_before=len(queued.finished),
    )


def _has_second_tries(paths: Paths, plan: Plan) -> bool:
    return bool(find_second_tries(paths, plan.run_of, finished_results(paths, plan.run_ids)))


def train(
    selection: Selection, options: RunOptions, observer: Observer, is_time_up: Callable[[], bool] = never
) -> Trained:
    """Queue what is missing and train it, until all has ended or the time is up.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    store = open_store(selection.paths)
    try:
        queued = queue(selection, store, options)
        if len(queued.finished) == len(queued.plan.runs):
            # The last job may have outlived its orchestrator, and ended while this command began.
            reconcile(store, selection.paths, end_jobs=False)
            return Trained(queued=queued, problems=tuple(Checkouts(selection.paths).remove_leftovers()))
        feed = GivenRuns(store, queued.ids, is_time_up)
        worker = build_worker(store, selection.paths, options.slots, feed)
        is_complete = worker.drain(observer)
        return Trained(queued=queued, problems=tuple(worker.problems), is_complete=is_complete)
    finally:
        store.close()


def conclude(selection: Selection, whole: Plan, code: Code, notes: tuple[str, ...]) -> Outcome:
    """Read what the runs left, judge it, write the report of what was asked for, and settle the branches."""
    gathered = gather(selection.paths, whole)
    records = gathered.records
    names = [name for name in selection.arms if name in whole.arms]
    judged, found = judge_as_declared(plan_to_judge(whole, names, records), records)
    plan = narrow(judged, select_arms(judged.arms, names))
    findings = judge_all(plan, records, {name: found[name] for name in plan.arms})
    usual = select_arms(selection.every_arm, selection.campaign.default_experiments)
    others = [name for name in experiments_left_out(whole, judged, records) if name in usual]
    if others:
        notes = (*notes, PART.format(experiments=wording.listed(others)))
    written = write_report(findings, selection.paths, gathered.refused)
    blocked = describe_latest(selection.paths.latest_report, written.parent)
    outcome = Outcome(
        plan=plan,
        rows=queue_rows(selection.paths, plan),
        judgements=findings.judgements,
        report=written,
        notes=(*notes, blocked) if blocked else notes,
        problems=tuple(gathered.refused.values()),
    )
    if not isinstance(code, GitCode) or others:
        return outcome
    refused = settle_branches(code, records, outcome, selection.paths)
    notes = (*outcome.notes, *outdated_keepers(code.repository.branches.list_keepers(), outcome.judgements))
    return msgspec.structs.replace(outcome, notes=notes, problems=(*outcome.problems, *refused))


def settle_branches(code: GitCode, records: Mapping[str, RunRecord], outcome: Outcome, paths: Paths) -> list[str]:
    """Tag what improved; retire the branch of everything else that has a verdict and waits for no run.

    What improved only later is tagged although its branch is retired: its commit is still there. The report is written
    by then: what git refuses is returned in sentences, and done at the next report.
    """
    waits = {row.experiment for row in outcome.rows if not row.state.is_final}
    commits = {record.provenance.get("commit") for record in records.values()} | ordered_commits(outcome.plan, paths)
    keepers = code.repository.branches.list_keepers()
    refused = []
    opened = code.repository.branches.list_open()
    for commit in (*opened, *code.repository.branches.list_retired()):
        name = BranchName.parse(commit.branch).experiment
        judgement = outcome.judgements.get(name)
        if judgement is None or judgement.verdict is Verdict.PENDING or name in waits:
            continue
        if not judgement.is_keeper and commit not in opened:
            continue
        if commit.commit in commits and keepers.get(name) != commit.commit:
            verdict = msgspec.json.encode(judgement).decode() if judgement.is_keeper else None
            try:
                code.settle(name, commit, verdict)
            except CodeError as error:
                refused.append(f"the branch of {name} is left as it is: {error}")
    return refused


def outdated_keepers(keepers: Mapping[str, str], judgements: Mapping[str, Judgement]) -> list[str]:
    """Name the tags of experiments that are judged otherwise by now; whoever set them by hand may want them."""
    now = {name: judgements[name] for name in keepers if name in judgements and not judgements[name].is_keeper}
    return [
        f"keeper/{name} is a tag of an earlier verdict, which is {judgement.verdict} now: `git tag -d keeper/{name}`"
        for name, judgement in now.items()
        if judgement.verdict not in (None, Verdict.PENDING, Verdict.NEEDS_SEEDS)
    ]


def ordered_commits(plan: Plan, paths: Paths) -> set[str | None]:
    """Return the commits that the plan's runs were queued with: one that was rejected has no provenance."""
    commits: set[str | None] = set()
    for run in plan.runs:
        # One order that cannot be read, or is not there, keeps no other out.
        with contextlib.suppress(RunError):
            commits.add(read_order(paths.run(run.id)).code.commit)
    return commits


def report(selection: Selection, request: Request) -> Outcome:
    """Judge what is there and write the report, without training.

    Where the file, the code or the captures have changed since runs were queued, it is of what was queued, unless more
    of what they are now has ended.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
        RunError: the report cannot be written.
    """
    require_place(selection.paths.reports)
    code = look_at_code(selection.paths)
    whole, sentence = choose_plan(selection.widened, request.widened, code, needed=request.experiments)
    return conclude(selection, whole, code, (sentence,))


def queue_rows(paths: Paths, plan: Plan) -> list[QueuedRun]:
    """Return the plan's rows of the queue."""
    store = open_store(paths, to_read=True)
    try:
        return store.runs([planned.id for planned in plan.runs])
    finally:
        store.close()
