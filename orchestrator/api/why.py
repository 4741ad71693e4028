"""`knockout why`: why a run would be trained again, and how a verdict was reached."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from orchestrator.campaign.captures import missing_captures
from orchestrator.campaign.plan import PlannedRun
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Request, Selection, collect_inputs, make_plan, open_campaign
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.sources import ArmCode, Code, GitCode, look_at_code
from orchestrator.errors import DataError, RunError, UsageError
from orchestrator.files import UNREADABLE
from orchestrator.runs.find import pick_run
from orchestrator.runs.identity import IDENTITY_FORMAT, CodeAndData
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import require_sizes
from orchestrator.runs.states import RunState
from orchestrator.task.knobs import differing, result_knobs
from orchestrator.verdicts.staged import judge_as_declared, plan_to_judge
from orchestrator.verdicts.steps import Arithmetic, work_out

NUM_HEX = 12
"""Of a hash, in a sentence."""


class PastRun(Struct, frozen=True, kw_only=True):
    """What a run folder says its numbers came from."""

    id: str
    config: dict[str, Any]
    """`config.json` as it was written, maybe by another version."""
    identity: str
    code_tree: str
    captures: dict[str, str]
    """Path of a capture file -> SHA-256 of its bytes."""
    commit: str | None
    state: str | None
    """How the run ended; None while it has no result."""


class Change(Struct, frozen=True, kw_only=True):
    """A value on both sides; a side that does not have it does not have the field."""

    before: Any | UnsetType = UNSET
    after: Any | UnsetType = UNSET


class Comparison(Struct, frozen=True, kw_only=True):
    """A run folder beside what the plan would train for the same experiment and seed."""

    run: str
    planned: str
    is_same: bool
    state: str | None
    seed: int
    campaign_seeds: tuple[int, ...]
    config: dict[str, Change]
    """Dotted knob -> its values."""
    data: dict[str, Change]
    """Capture -> hashes of its file."""
    code: Change | None
    """Hashes of `model/`, where they differ."""
    files: tuple[str, ...] | None
    """Files under `model/` that differ; None where nobody can say."""
    format: Change | None
    """Version of the configuration; or, without `before`, of the identity, since a run folder does not say its own."""

    def sentences(self) -> list[str]:
        """Say it to a person."""
        if self.is_same:
            return [f"{self.run}: the same: {self._use()}"]
        lines = [f"{self.run}: not what `knockout run` would train now, which is {self.planned}"]
        lines += [f"config: {knob}: {_show(change)}" for knob, change in self.config.items()]
        lines += [f"data: {capture}: {_show_hash(change)}" for capture, change in self.data.items()]
        if self.code is not None:
            lines += [f"code: model/ has another hash: {_show_hash(self.code)}", *self._file_lines()]
        if self.format is not None:
            how = "the identity is hashed in another way" if self.format.before is UNSET else _show(self.format)
            lines.append(f"format: {how}: it was written by another version of Knockout")
        if len(lines) == 1:
            lines.append(f"identity: the same, but the plan counts it as {self.planned}, whose configuration it shares")
        return lines

    def _use(self) -> str:
        seeds = "" if self.seed in self.campaign_seeds else f" --seeds {self.seed}-{self.seed}"
        if self.state is None:
            return f"`knockout run{seeds}` goes on with it, since it has no result yet"
        again = f", and `knockout run{seeds} --retry` trains it again" if self.state == RunState.FAILED else ""
        return f"`knockout run{seeds}` takes this result{again}"

    def _file_lines(self) -> list[str]:
        if self.files is None:
            return ["  its commit is not in this repository, so nobody can say which files differ"]
        return [f"  {file}" for file in self.files]


def compare(
    past: PastRun,
    planned: PlannedRun,
    inputs: CodeAndData,
    campaign_seeds: tuple[int, ...],
    files: tuple[str, ...] | None,
) -> Comparison:
    """Compare a run folder with the run that is planned in its place.

    Args:
        past: the run folder.
        planned: what the plan has for the same experiment and seed.
        inputs: code and captures as they are now.
        campaign_seeds: the seeds of the campaign file.
        files: files under `model/` that differ from the run's commit; None where it is not known.
    """
    new = msgspec.json.decode(msgspec.json.encode(planned.config))
    before, after = (result_knobs(config) for config in (past.config, new))
    config = _changes(before, after)
    data = _changes(_hashes(past.config, past.captures), _hashes(new, inputs.captures))
    code = _changes({"code": past.code_tree}, {"code": inputs.code_tree}).get("code")
    written = config.pop("format", None)
    is_same = planned.id == past.id
    if written is None and past.identity != planned.identity and not (config or data or code):
        written = Change(after=IDENTITY_FORMAT)
    return Comparison(
        run=past.id,
        planned=planned.id,
        is_same=is_same,
        state=past.state,
        seed=planned.seed,
        campaign_seeds=campaign_seeds,
        config=config,
        data=data,
        code=code,
        files=files,
        format=written,
    )


def _hashes(config: Mapping[str, Any], captures: Mapping[str, str]) -> dict[str, str | None]:
    return {name: captures.get(capture["path"]) for name, capture in config["data"]["captures"].items()}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    pairs = differing(before, after, absent=UNSET)
    return {name: Change(before=old, after=new) for name, (old, new) in pairs.items()}


def _show(change: Change) -> str:
    before, after = ("absent" if value is UNSET else json.dumps(value) for value in (change.before, change.after))
    return f"{before} -> {after}"


def _show_hash(change: Change) -> str:
    before, after = (str(value)[:NUM_HEX] if value else "absent" for value in (change.before, change.after))
    return f"{before} -> {after}"


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
    return word in open_campaign(msgspec.structs.replace(request, everything=True)).every_arm


def explain_verdict(request: Request, experiment: str) -> Arithmetic:
    """Work a verdict out from the counts, among the experiments that a report is of.

    Args:
        request: the campaign file and profile; an experiment that it does not cover is judged among all of the file.
        experiment: its id.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
        RunError: a run folder cannot be read.
    """
    selection = open_campaign(request)
    if experiment not in selection.arms:
        request = msgspec.structs.replace(request, everything=True)
        selection = open_campaign(request)
    code = look_at_code(selection.paths)
    whole, _ = choose_plan(selection.widened, request.widened, code, needed=(*request.experiments, experiment))
    gathered = gather(selection.paths, whole)
    records = gathered.records
    names = [name for name in selection.arms if name in whole.arms]
    judged, judgements = judge_as_declared(plan_to_judge(whole, names, records), records)
    steps = work_out(judged, records, judgements, experiment)
    return msgspec.structs.replace(steps, left_out=tuple(gathered.refused.values()))


def why(paths: Paths, request: Request, word: str) -> Comparison:
    """Compare a run folder with what the plan would train now for its experiment, seed and profile.

    Args:
        paths: the campaign's folders.
        request: the campaign file; its profile, if it names one, takes the place of the run's.
        word: the run's id, or the beginning of it.

    Raises:
        UsageError: no run is meant, or its experiment is gone.
        RunError: the run folder cannot be read.
        DataError: a capture is missing, so that nobody can say what would be trained.
    """
    return match(paths, request, word).comparison


def match(paths: Paths, request: Request, word: str) -> Match:
    """Find the run that is planned in the place of a run folder; the arguments and errors are those of `why`."""
    past, names = read_past_run(paths, _pick(paths, request, word))
    selection = _open(
        msgspec.structs.replace(request, profile=request.profile or names.profile), names.experiment, past.id
    )
    missing = missing_captures(selection)
    if missing:
        raise DataError(f"{missing[0]}: this capture is not there, so nobody can say what would be trained on it")
    code = look_at_code(paths)
    arm_code = code.code_of(selection.arms[names.experiment].code)
    inputs = msgspec.structs.replace(collect_inputs(selection, code), code_tree=arm_code.hash)
    shift = selection.arms[names.experiment].seed_shift
    seed = names.seed - shift
    at_seed = replace(selection, campaign=msgspec.structs.replace(selection.campaign, seeds=(seed,)))
    plan = make_plan(at_seed, code)
    planned_id = plan.run_of[names.experiment, seed]
    planned = next(run for run in plan.runs if run.id == planned_id)
    files = _changed_files(code, arm_code, past)
    trained_seeds = tuple(seed + shift for seed in selection.campaign.seeds)
    comparison = compare(past, planned, inputs, trained_seeds, files)
    return Match(past=past, planned=planned, code_tree=arm_code.hash, refusal=arm_code.refusal, comparison=comparison)


def _pick(paths: Paths, request: Request, word: str) -> str:
    """Find the run that is meant; a word that begins none and has no seed in it is an experiment's, misspelt."""
    there = [path.name for path in paths.runs.iterdir() if path.is_dir()] if paths.runs.is_dir() else []
    if not any(run_id.startswith(word) for run_id in there) and not _WITH_SEED.search(word):
        near = difflib.get_close_matches(word, open_campaign(request.widened).every_arm, n=1)
        if near:
            raise UsageError(f"there is no experiment or run `{word}`; did you mean the experiment `{near[0]}`?")
    return pick_run(word, there)


def _open(request: Request, experiment: str, run_id: str) -> Selection:
    everything = open_campaign(msgspec.structs.replace(request, everything=True))
    if experiment not in everything.arms:
        raise UsageError(
            f"{run_id}: {request.file} has no experiment `{experiment}` any more, so nothing would be trained in "
            "this run's place; write the experiment into it again to compare"
        )
    return open_campaign(msgspec.structs.replace(request, experiments=(experiment,)))


def _changed_files(code: Code, arm_code: ArmCode, past: PastRun) -> tuple[str, ...] | None:
    if past.code_tree == arm_code.hash:
        return ()
    if past.commit is None or not isinstance(code, GitCode) or arm_code.refusal:
        return None
    files = code.repository.code_changes(past.commit, arm_code.tree)
    return None if files is None else tuple(files)


def read_past_run(paths: Paths, run_id: str) -> tuple[PastRun, _Config]:
    """Read what a run was made of, also where another version of Knockout wrote it.

    Raises:
        RunError: a file is missing or broken.
    """
    folder = paths.run(run_id)
    try:
        require_sizes(folder)
        content = folder.config.read_bytes()
        names = msgspec.json.decode(content, type=_Config)
        config = msgspec.json.decode(content, type=dict[str, Any])
        origin = msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin)
        result = folder.read_result()
    except UNREADABLE as error:
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
