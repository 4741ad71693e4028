"""`knockout report`: judges what the runs left, writes the report, and settles branches and keepers."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from orchestrator import wording
from orchestrator.campaign.arms import select_arms
from orchestrator.campaign.looked import look_again
from orchestrator.campaign.plan import Plan, narrow
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.refs import BranchName
from orchestrator.code.sources import Code, GitCode, look_at_code
from orchestrator.errors import CodeError, RunError
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.report.markdown import describe_unread
from orchestrator.report.place import describe_latest
from orchestrator.report.sections import is_compared, marks
from orchestrator.report.write import write_report
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths, require_place, require_places
from orchestrator.runs.record import RunRecord
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judgement import Judgement, Judgements, Verdict
from orchestrator.verdicts.scale import Scale
from orchestrator.verdicts.staged import (
    SeedDecision,
    SeedDecisionState,
    experiments_left_out,
    judge_as_declared,
    plan_to_judge,
)

__all__ = ["Outcome", "SeedDecisionState", "VerdictRow", "conclude", "report"]

PART = (
    "this is a part of the campaign: {experiments} have runs too. Where seeds are given out look by look, verdicts are "
    "corrected over the named experiments alone; branches and keepers change once `knockout report` judges all"
)


class VerdictRow(Struct, frozen=True, kw_only=True):
    """The verdict of one experiment, as a table shows it."""

    experiment: str
    reference: str | None
    score: float | None
    """Mean over seeds."""
    delta_points: float | None
    """Against the reference, mean over seeds, in the unit of the metric; None where nothing is compared."""
    interval_points: tuple[float, float] | None
    words: tuple[str, str, str]
    """Score, difference and interval as a table shows them; empty where there is none."""
    num_seeds: int
    verdict: str
    marks: str
    """Signs behind the verdict, which the report explains."""
    is_open: bool
    """Whether an improvement is not confirmed."""


def verdict_row(metric: MetricSpec, experiment: str, judgement: Judgement) -> VerdictRow:
    """Return what a table shows of a judgement by the main metric."""
    has_delta, scale = is_compared(judgement), Scale(metric)
    delta = judgement.delta_points if has_delta else None
    ends = judgement.interval_points if has_delta else None
    between = "" if ends is None else " to ".join(map(scale.delta, ends))
    told = "" if delta is None else scale.delta(delta)
    return VerdictRow(
        experiment=experiment,
        reference=judgement.reference,
        score=judgement.score,
        delta_points=None if delta is None else scale.shown(delta),
        interval_points=None if ends is None else (scale.shown(ends[0]), scale.shown(ends[1])),
        words=("" if judgement.score is None else scale.number(judgement.score), told, between),
        num_seeds=len(judgement.score_of),
        verdict=judgement.verdict.value if judgement.verdict else "",
        marks=marks(judgement),
        is_open=judgement.is_unconfirmed,
    )


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a run or a report."""

    plan: Plan
    rows: list[QueuedRun]
    """The queue's rows of the plan's runs."""
    judgements: Judgements
    """Experiment -> what is judged of it."""
    report: Path
    """The file `report.md`."""
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()
    """Sentences about runs that could not be trained, or are not believed."""
    is_complete: bool = True
    """Whether all runs have ended that were to be trained."""
    num_finished_before: int = 0
    """Runs that had their result before."""
    num_trained: int = 0
    decisions: dict[str, SeedDecision] | None = None
    """With `until_decided`: experiment -> how far the looks came."""
    num_wanted: int = 0
    """With `until_decided`: runs that the next look still waits for."""
    is_budget_spent: bool = False
    """Whether runs are wanted and the budget of time is spent."""
    default_note: str | None = None
    """Says how many experiments were taken because none was named; None if all of the file were taken."""

    @property
    def scale(self) -> Scale:
        """How the main metric is judged and written."""
        return Scale(self.plan.campaign.judged)

    @property
    def verdict_rows(self) -> list[VerdictRow]:
        """The verdicts as rows of a table, in the order of the file."""
        return [verdict_row(self.scale.metric, name, judgement) for name, judgement in self.judgements.items()]


def report(request: Request) -> Outcome:
    """Judge what the runs left and write the report. Nothing is trained.

    The report is of the campaign as it is now, or as it was queued. The queued one is taken if file, code or captures
    have changed since and more of its runs have ended.

    Raises:
        SpecError: the campaign file is refused.
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
        RunError: the report cannot be written.
    """
    selection = open_campaign(request)
    require_places(selection.paths.reports)
    require_place(selection.paths.reports)
    code = look_at_code(selection.paths, selection.campaign.task.code)
    whole, sentence = choose_plan(selection.widened, code, needed=request.experiments)
    return conclude(selection, whole, code, (sentence,))


def conclude(selection: Selection, whole: Plan, code: Code, notes: tuple[str, ...]) -> Outcome:
    """Judge what the runs left, write the report of what was asked for, and settle the branches.

    Args:
        selection: what was asked for.
        whole: the plan of every experiment of the campaign.
        code: the code that `whole` was made with.
        notes: sentences for the outcome.
    """
    gathered = gather(selection.paths, whole)
    records = gathered.records
    names = [name for name in selection.arms if name in whole.arms]
    judged, found = judge_as_declared(plan_to_judge(whole, names, records), records)
    plan = narrow(judged, select_arms(judged.arms, names))
    findings = judge_all(plan, records, note_looks(selection.paths, judged, found, plan.arms))
    others = _other_experiments(selection, experiments_left_out(whole, judged, records))
    written = write_report(findings, selection.paths, gathered.refused)
    blocked = describe_latest(selection.paths.latest_report, written.parent)
    part = PART.format(experiments=wording.listed(others)) if others else None
    outcome = Outcome(
        plan=plan,
        rows=queue_rows(selection.paths, plan),
        judgements=findings.judgements,
        report=written,
        notes=(*notes, *filter(None, (part, blocked))),
        problems=(*gathered.refused.values(), *describe_unread(plan, records)),
        default_note=selection.default_note,
    )
    # A report of a part says nothing about the other experiments, and a verdict may change once they are judged too.
    if not isinstance(code, GitCode) or others:
        return outcome
    refused = settle_branches(code, records, outcome, selection.paths)
    notes = (*outcome.notes, *outdated_keepers(code.repository.branches.list_keepers(), outcome.judgements))
    return structs.replace(outcome, notes=notes, problems=(*outcome.problems, *refused))


def note_looks(paths: Paths, plan: Plan, judgements: Judgements, shown: Collection[str]) -> dict[str, Judgement]:
    """Return the judgements that are shown, each with the numbers of seeds at which it was shown so far.

    The looks of a campaign with `staging` share the level, so they are not counted.

    Args:
        paths: of the campaign; that these are shown now is noted there.
        plan: of the judgements.
        judgements: of all of the plan.
        shown: the experiments whose judgement a person is about to see.
    """
    found = {name: judgements[name] for name in shown}
    if plan.campaign.staging:
        return found
    # Without a test there is nothing to be wrong about.
    tested = {name: judgement for name, judgement in found.items() if judgement.p_value is not None}
    runs = {name: [plan.run_of[name, seed] for seed in judgement.seeds] for name, judgement in tested.items()}
    looks = look_again(paths, plan.campaign, runs)
    return {name: structs.replace(judgement, looks=looks.get(name, ())) for name, judgement in found.items()}


def _other_experiments(selection: Selection, names: list[str]) -> list[str]:
    """Keep the default experiments of the profile."""
    usual = select_arms(selection.every_arm, selection.campaign.default_experiments)
    return [name for name in names if name in usual]


def settle_branches(code: GitCode, records: Mapping[str, RunRecord], outcome: Outcome, paths: Paths) -> list[str]:
    """Tag every keeper; retire the branch of every other experiment that has a verdict and no open run.

    A keeper whose branch is retired already is tagged too: its commit still exists. The report is written by now, so
    an error of git is returned as a sentence, and the next report tries again.
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
        # An experiment that is no keeper has nothing more to settle once its branch is retired.
        if not judgement.is_keeper and commit not in opened:
            continue
        # A branch of another commit belongs to runs that this plan does not judge.
        if commit.commit in commits and keepers.get(name) != commit.commit:
            verdict = msgspec.json.encode(judgement).decode() if judgement.is_keeper else None
            try:
                code.settle(name, commit, verdict)
            except CodeError as error:
                refused.append(f"the branch of {name} is left as it is: {error}")
    return refused


def outdated_keepers(keepers: Mapping[str, str], judgements: Mapping[str, Judgement]) -> list[str]:
    """Return a sentence for each keeper tag whose experiment is no keeper now. Tags are never deleted here."""
    now = {name: judgements[name] for name in keepers if name in judgements and not judgements[name].is_keeper}
    return [
        f"keeper/{name} is a tag of an earlier verdict, which is {judgement.verdict} now: `git tag -d keeper/{name}`"
        for name, judgement in now.items()
        if judgement.verdict not in (None, Verdict.PENDING, Verdict.NEEDS_SEEDS)
    ]


def ordered_commits(plan: Plan, paths: Paths) -> set[str | None]:
    """Return the commits that the plan's runs were queued with. They count too, as a rejected run has no provenance."""
    commits: set[str | None] = set()
    for run in plan.runs:
        # An order that is missing or broken does not affect the others.
        with contextlib.suppress(RunError):
            commits.add(read_order(paths.run(run.id)).code.commit)
    return commits


def queue_rows(paths: Paths, plan: Plan) -> list[QueuedRun]:
    """Return the plan's rows of the queue."""
    store = open_store(paths, to_read=True)
    try:
        return store.runs([planned.id for planned in plan.runs])
    finally:
        store.close()
