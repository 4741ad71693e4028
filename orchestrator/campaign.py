"""The one composition: load, plan, queue, launch, watch, collect, judge, report."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from model.run_folder import Result
from orchestrator.checkouts import Code, find_code
from orchestrator.errors import DataError, RunError, UsageError
from orchestrator.evidence import read_runs
from orchestrator.fingerprints import fingerprint_files
from orchestrator.identity import CodeAndData
from orchestrator.judgement import Judgement, Verdict
from orchestrator.launchers.forked import Launcher
from orchestrator.launchers.inline import Description, describe_jobs, emulate_captures
from orchestrator.launchers.local import count_gpus, kill_leftover, make_slots
from orchestrator.layout import Layout
from orchestrator.loading import at_profile, load_campaign
from orchestrator.plan import Arm, Plan, plan_runs, resolve_arms, select_arms
from orchestrator.report import write_report
from orchestrator.spec import DataSpec, ProfiledCampaign
from orchestrator.states import RunState
from orchestrator.store import QueuedRun, Store
from orchestrator.verdicts import judge
from orchestrator.worker import Observer, Worker

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


class Request(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    file: Path
    profile: str | None = None
    seeds: tuple[int, ...] | None = None
    experiments: tuple[str, ...] = ()
    everything: bool = False
    """Every experiment of the file, not only the profile's `default_experiments`."""


class RunOptions(Struct, frozen=True, kw_only=True):
    """How `knockout run` goes about it."""

    slots: int | None = None
    snapshot: bool = False
    retry: bool = False


@dataclass(frozen=True)
class Study:
    """A campaign file, loaded, checked, and worked out for one profile."""

    campaign: ProfiledCampaign
    arms: dict[str, Arm]
    layout: Layout


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a run or a report."""

    plan: Plan
    rows: list[QueuedRun]
    judgements: dict[str, Judgement]
    report: Path
    notes: tuple[str, ...]
    is_complete: bool = True
    num_finished_before: int = 0
    num_trained: int = 0


def open_study(request: Request) -> Study:
    """Load and check a campaign; nothing is started and nothing is written.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: an experiment was asked for that is not there, or some by name and all at once.
    """
    if request.experiments and request.everything:
        raise UsageError("name experiments, or say --all, not both")
    spec, source = load_campaign(request.file)
    campaign = at_profile(spec, source, request.profile, request.seeds)
    campaign = msgspec.structs.replace(campaign, data=_expand_paths(campaign.data, os.environ))
    with source.locating():
        arms = resolve_arms(campaign)
    asked = request.experiments or (() if request.everything else campaign.default_experiments)
    selected = select_arms(arms, asked)
    return Study(campaign, selected, Layout(request.file.resolve().parent))


def _expand_paths(data: DataSpec, variables: Mapping[str, str]) -> DataSpec:
    """Put environment variables into capture paths: `${RTL433}` or `${RTL433:-data/file.h5}`; unset ones stay."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found["name"]) or found["default"] or found[0]

    captures = {
        name: msgspec.structs.replace(capture, path=_VARIABLE.sub(value, capture.path))
        for name, capture in data.captures.items()
    }
    return msgspec.structs.replace(data, captures=captures)


def missing_captures(study: Study) -> list[Path]:
    """Return the capture files that are not there."""
    paths = dict.fromkeys(study.layout.root / capture.path for capture in study.campaign.data.captures.values())
    return [path for path in paths if not path.is_file()]


def make_captures(study: Study) -> str:
    """Make missing emulated captures; return what was said about them.

    Raises:
        DataError: captures are missing and the campaign does not say how to emulate them.
    """
    missing = missing_captures(study)
    if not missing:
        return ""
    emulate = study.campaign.data.emulate
    if emulate is None:
        raise DataError(f"profile `{study.campaign.profile}` is skipped: {_explain_missing(missing[0])}")
    folders = sorted({path.parent for path in missing})
    return "".join(emulate_captures(folder, emulate) for folder in folders)


def _explain_missing(path: Path) -> str:
    variable = _VARIABLE.search(path.name)
    if variable is None:
        return f"its capture {path} is not there; correct `path` under `data.captures`"
    name = variable["name"]
    return f"where its captures are is for the variable {name} to say, and it is not set; run again with {name}=PATH"


def make_plan(study: Study, code: Code) -> Plan:
    """Name the runs of a study by what they compute.

    Raises:
        DataError: a capture cannot be read.
    """
    return plan_runs(study.campaign, study.arms, collect_inputs(study, code))


def collect_inputs(study: Study, code: Code) -> CodeAndData:
    """Hash the code and the captures."""
    paths = [capture.path for capture in study.campaign.data.captures.values()]
    captures = fingerprint_files(paths, study.layout.root, study.layout.fingerprints)
    return CodeAndData(code_tree=code.code_hash, captures=captures)


def run(study: Study, options: RunOptions, observer: Observer) -> Outcome:
    """Train what is missing, judge, and write the report.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    code = find_code(study.layout, snapshot=options.snapshot)
    notes = (code.note, *make_captures(study).splitlines())
    inputs = collect_inputs(study, code)
    plan = plan_runs(study.campaign, study.arms, inputs)
    finished = finished_results(study.layout, plan, forget_failures=options.retry)
    if len(finished) < len(plan.runs):
        _refuse_impossible(study)
    store = Store(study.layout.database)
    slots = make_slots(options.slots, count_gpus(), os.cpu_count() or 1)
    launcher = Launcher(study.layout.root)
    worker = Worker(
        plan=plan, store=store, layout=study.layout, code=code, inputs=inputs, slots=slots, launcher=launcher
    )
    try:
        _queue(store, plan, finished)
        is_complete = worker.drain(observer) if len(finished) < len(plan.runs) else True
    finally:
        store.close()
    outcome = _conclude(study, plan, notes)
    _settle_branches(code, worker, outcome.judgements)
    num_trained = len(finished_results(study.layout, plan, forget_failures=False)) - len(finished)
    return msgspec.structs.replace(
        outcome, is_complete=is_complete, num_trained=num_trained, num_finished_before=len(finished)
    )


def _conclude(study: Study, plan: Plan, notes: tuple[str, ...]) -> Outcome:
    """Read what the runs left, judge it, and write the report."""
    records = read_runs(study.layout, [planned.id for planned in plan.runs])
    judgements = judge(plan, records)
    return Outcome(
        plan=plan,
        rows=queue_rows(study.layout, plan),
        judgements=judgements,
        report=write_report(plan, records, judgements, study.layout),
        notes=notes,
    )


def finished_results(layout: Layout, plan: Plan, *, forget_failures: bool) -> dict[str, Result]:
    """Return the results that are there already; with `forget_failures`, failed runs are to be trained again.

    Raises:
        RunError: a result was written by another version.
    """
    finished: dict[str, Result] = {}
    for planned in plan.runs:
        folder = layout.run(planned.id)
        try:
            result = folder.read_result()
        except ValueError as error:
            raise RunError(f"{error}; move {folder.path} away to train it again") from None
        if result is not None and forget_failures and result.state == RunState.FAILED:
            folder.result.unlink()
        elif result is not None:
            finished[planned.id] = result
    return finished


def _refuse_impossible(study: Study) -> None:
    """Ask `model` about every configuration before anything starts."""
    configs = [arm.config for arm in study.arms.values()]
    for config, answer in zip(configs, describe_jobs(configs, study.layout.root, with_data=True), strict=True):
        if answer.problem is not None:
            raise DataError(f"{config.experiment}: {answer.problem}")


def _queue(store: Store, plan: Plan, finished: Mapping[str, Result]) -> None:
    """Put the plan into the queue, and make the queue say what the run folders say."""
    for orphan in store.orphans():
        # Its job may have outlived it; two jobs must never write one folder.
        if orphan.job_pid is not None:
            kill_leftover(orphan.job_pid, orphan.job_started)
        store.move(orphan.id, RunState.RUNNING, RunState.INTERRUPTED, reason="its process is gone")
    # A row that says "finished" about a folder that is gone is forgotten: the folders are the truth.
    rows = store.runs([planned.id for planned in plan.runs])
    store.forget([row.id for row in rows if row.state.is_final and row.id not in finished])
    store.add(planned_rows(plan))
    for row in store.runs([planned.id for planned in plan.runs]):
        if row.id in finished:
            store.settle(row.id, finished[row.id])
        elif row.state is RunState.INTERRUPTED:
            store.move(row.id, row.state, RunState.QUEUED)


def planned_rows(plan: Plan) -> list[QueuedRun]:
    """Return the plan's runs as rows that wait."""
    profile = plan.campaign.profile
    return [
        QueuedRun(
            id=planned.id,
            position=0,
            experiment=planned.experiment,
            seed=planned.seed,
            profile=profile,
            state=RunState.QUEUED,
        )
        for planned in plan.runs
    ]


def _settle_branches(code: Code, worker: Worker, judgements: Mapping[str, Judgement]) -> None:
    """Tag what improved; retire the branch of everything else that has a verdict."""
    for name, commit in worker.commits().items():
        judgement = judgements.get(name)
        if judgement is not None and judgement.verdict is not Verdict.PENDING:
            improved = judgement.verdict is Verdict.IMPROVED
            code.settle(name, commit, msgspec.json.encode(judgement).decode() if improved else None)


def report(study: Study) -> Outcome:
    """Judge what is there and write the report, without training.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
    """
    code = find_code(study.layout, snapshot=True)
    missing = missing_captures(study)
    if missing:
        raise DataError(f"{missing[0]}: this capture is not there, so no run can belong to it; `knockout run` makes it")
    return _conclude(study, make_plan(study, code), (code.note,))


def queue_rows(layout: Layout, plan: Plan) -> list[QueuedRun]:
    """Return the plan's rows of the queue."""
    store = Store(layout.database)
    try:
        return store.runs([planned.id for planned in plan.runs])
    finally:
        store.close()


class PreviewRow(Struct, frozen=True, kw_only=True):
    """What an experiment would train."""

    experiment: str
    reference: str | None
    change: str
    to_train: tuple[int, ...]
    finished: tuple[int, ...]


class Preview(Struct, frozen=True, kw_only=True):
    """What `knockout run` would do."""

    rows: tuple[PreviewRow, ...]
    notes: tuple[str, ...]


def preview(study: Study) -> Preview:
    """Say what would be trained and what is there already; starts nothing."""
    code = find_code(study.layout, snapshot=True)
    missing = missing_captures(study)
    if missing:
        finished: dict[tuple[str, int], bool] = {}
        notes = [f"{len(missing)} captures are not there yet: {missing[0]}"]
    else:
        plan = make_plan(study, code)
        results = finished_results(study.layout, plan, forget_failures=False)
        finished = {key: run_id in results for key, run_id in plan.run_of.items()}
        notes = []
    rows = [_preview_row(arm, study.campaign.seeds, finished) for arm in study.arms.values()]
    count = sum(len(row.to_train) for row in rows)
    return Preview(rows=tuple(rows), notes=(*notes, f"{count} runs to train", code.note))


def _preview_row(arm: Arm, seeds: Sequence[int], finished: Mapping[tuple[str, int], bool]) -> PreviewRow:
    done = tuple(seed for seed in seeds if finished.get((arm.id, seed)))
    change = ", ".join(f"{knob}: {msgspec.json.encode(value).decode()}" for knob, value in arm.change.items())
    return PreviewRow(
        experiment=arm.id,
        reference=arm.reference,
        change=f"the same as {arm.same_as}" if arm.same_as else change,
        to_train=() if arm.same_as else tuple(seed for seed in seeds if seed not in done),
        finished=done,
    )


def status(study: Study) -> list[QueuedRun]:
    """Return the queue's rows of the campaign's experiments at its profile."""
    if not study.layout.database.exists():
        return []
    store = Store(study.layout.database)
    try:
        rows = store.runs()
    finally:
        store.close()
    return [row for row in rows if row.profile == study.campaign.profile and row.experiment in study.arms]


def describe(study: Study, name: str) -> Description:
    """Ask `model` for an experiment's tokens and parameters."""
    return describe_jobs([study.arms[name].config], study.layout.root, with_data=False)[0]
