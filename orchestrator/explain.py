"""`knockout why`: a run folder beside the campaign as it is now, or how an experiment's verdict came about."""

import difflib
import re
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.campaign.captures import missing_captures
from orchestrator.campaign.plan import PlannedRun
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Request, Study, collect_inputs, make_plan, open_study
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.sources import ArmCode, Code, GitCode, look_at_code
from orchestrator.errors import DataError, RunError, UsageError
from orchestrator.runs.find import pick_run
from orchestrator.runs.paths import Layout
from orchestrator.runs.record import require_sizes
from orchestrator.runs.results import UNREADABLE
from orchestrator.verdicts.staged import among, judge_as_declared
from orchestrator.verdicts.steps import Arithmetic, work_out
from orchestrator.why import Comparison, PastRun, compare

_WITH_SEED = re.compile(r"-s\d")
"""What a run's id has and an experiment's has not."""


class _Capture(Struct, frozen=True):
    path: str


class _Data(Struct, frozen=True):
    captures: dict[str, _Capture]


class _Config(Struct, frozen=True):
    """What a comparison needs of `config.json`, whatever version wrote the rest."""

    experiment: str
    profile: str
    seed: int
    data: _Data


class _Origin(Struct, frozen=True):
    """What a comparison needs of `provenance.json`."""

    identity: str
    code_tree: str
    captures: dict[str, str]
    commit: str | None


class Match(Struct, frozen=True, kw_only=True):
    """A run folder, the run that is planned in its place, and how they differ."""

    past: PastRun
    planned: PlannedRun
    code_tree: str
    """Hash of the code that the planned run would train."""
    refusal: str | None
    """Why that code is refused, if it is."""
    comparison: Comparison


def is_experiment(request: Request, word: str) -> bool:
    """Say whether a word is exactly the id of an experiment, generated ones included; a run's id never is.

    Raises:
        SpecError: the campaign file is refused.
    """
    return word in open_study(msgspec.structs.replace(request, everything=True)).every_arm


def explain_verdict(request: Request, experiment: str) -> Arithmetic:
    """Work a verdict out from the counts, among the experiments that a report is of.

    Args:
        request: the campaign file and profile; an experiment that it does not cover is judged among all of the file.
        experiment: its id.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
        RunError: a run folder cannot be read.
    """
    study = open_study(request)
    if experiment not in study.arms:
        request = msgspec.structs.replace(request, everything=True)
        study = open_study(request)
    code = look_at_code(study.layout)
    whole, _ = choose_plan(study.widened, request.widened, code, needed=(*request.experiments, experiment))
    gathered = gather(study.layout, whole)
    records = gathered.records
    names = [name for name in study.arms if name in whole.arms]
    judged, judgements = judge_as_declared(among(whole, names, records), records)
    steps = work_out(judged, records, judgements, experiment)
    return msgspec.structs.replace(steps, left_out=tuple(gathered.refused.values()))


def why(layout: Layout, request: Request, word: str) -> Comparison:
    """Compare a run folder with what the plan would train now for its experiment, seed and profile.

    Args:
        layout: the campaign's folders.
        request: the campaign file; its profile, if it names one, takes the place of the run's.
        word: the run's id, or the beginning of it.

    Raises:
        UsageError: no run is meant, or its experiment is gone.
        RunError: the run folder cannot be read.
        DataError: a capture is missing, so that nobody can say what would be trained.
    """
    return match(layout, request, word).comparison


def match(layout: Layout, request: Request, word: str) -> Match:
    """Find the run that is planned in the place of a run folder; the arguments and errors are those of `why`."""
    past, names = read_past_run(layout, _pick(layout, request, word))
    study = _open(msgspec.structs.replace(request, profile=request.profile or names.profile), names.experiment, past.id)
    missing = missing_captures(study)
    if missing:
        raise DataError(f"{missing[0]}: this capture is not there, so nobody can say what would be trained on it")
    code = look_at_code(layout)
    arm_code = code.code_of(study.arms[names.experiment].code)
    inputs = msgspec.structs.replace(collect_inputs(study, code), code_tree=arm_code.hash)
    shift = study.arms[names.experiment].seed_shift
    seed = names.seed - shift
    at_seed = replace(study, campaign=msgspec.structs.replace(study.campaign, seeds=(seed,)))
    plan = make_plan(at_seed, code)
    planned_id = plan.run_of[names.experiment, seed]
    planned = next(run for run in plan.runs if run.id == planned_id)
    files = _changed_files(code, arm_code, past)
    trained_seeds = tuple(seed + shift for seed in study.campaign.seeds)
    comparison = compare(past, planned, inputs, trained_seeds, files)
    return Match(past=past, planned=planned, code_tree=arm_code.hash, refusal=arm_code.refusal, comparison=comparison)


def _pick(layout: Layout, request: Request, word: str) -> str:
    """Find the run that is meant; a word that begins none and has no seed in it is an experiment's, misspelt."""
    there = [path.name for path in layout.runs.iterdir() if path.is_dir()] if layout.runs.is_dir() else []
    if not any(run_id.startswith(word) for run_id in there) and not _WITH_SEED.search(word):
        near = difflib.get_close_matches(word, open_study(request.widened).every_arm, n=1)
        if near:
            raise UsageError(f"there is no experiment or run `{word}`; did you mean the experiment `{near[0]}`?")
    return pick_run(word, there)


def _open(request: Request, experiment: str, run_id: str) -> Study:
    everything = open_study(msgspec.structs.replace(request, everything=True))
    if experiment not in everything.arms:
        raise UsageError(
            f"{run_id}: {request.file} has no experiment `{experiment}` any more, so nothing would be trained in "
            "this run's place; write the experiment into it again to compare"
        )
    return open_study(msgspec.structs.replace(request, experiments=(experiment,)))


def _changed_files(code: Code, arm_code: ArmCode, past: PastRun) -> tuple[str, ...] | None:
    if past.code_tree == arm_code.hash:
        return ()
    if past.commit is None or not isinstance(code, GitCode) or arm_code.refusal:
        return None
    files = code.repository.code_changes(past.commit, arm_code.tree)
    return None if files is None else tuple(files)


def read_past_run(layout: Layout, run_id: str) -> tuple[PastRun, _Config]:
    """Read what a run was made of, also where another version of Knockout wrote it.

    Raises:
        RunError: a file is missing or broken.
    """
    folder = layout.run(run_id)
    try:
        require_sizes(folder)
        content = folder.config.read_bytes()
        names = msgspec.json.decode(content, type=_Config)
        config = msgspec.json.decode(content, type=dict[str, Any])
        origin = msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin)
        result = folder.read_result()
    except (*UNREADABLE, RecursionError) as error:
        raise RunError(
            f"{folder.path}: this run folder cannot be read: {error}; delete it to train the run again"
        ) from None
    past = PastRun(
        id=run_id,
        config=config,
        identity=origin.identity,
        code_tree=origin.code_tree,
        captures=origin.captures,
        commit=origin.commit,
        state=result.state if result else None,
    )
    return past, names
