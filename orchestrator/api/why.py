"""`knockout why`: why a run would be trained again, and how a verdict was reached."""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from orchestrator.api.report import note_looks
from orchestrator.campaign.captures import missing_captures
from orchestrator.campaign.plan import PlannedRun, own_inputs
from orchestrator.campaign.records import gather
from orchestrator.campaign.selection import Request, Selection, collect_inputs, make_plan, open_campaign, select_again
from orchestrator.campaign.snapshot import choose_plan
from orchestrator.code.sources import ArmCode, Code, GitCode, look_at_code
from orchestrator.errors import DataError, RunError, UsageError
from orchestrator.files import UNREADABLE
from orchestrator.report.steps import say_steps
from orchestrator.runs.find import pick_run
from orchestrator.runs.folder import RunConfig
from orchestrator.runs.identity import IDENTITY_FORMAT, CodeAndData
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import require_sizes
from orchestrator.runs.states import RunState
from orchestrator.task.knobs import differing, file_name, leaves, result_knobs
from orchestrator.verdicts.arithmetic import Arithmetic
from orchestrator.verdicts.staged import judge_as_declared, plan_to_judge
from orchestrator.verdicts.steps import work_out

NUM_HEX = 12
"""Digits of a hash in a sentence."""


class PastRun(Struct, frozen=True, kw_only=True):
    """What the numbers of a run came from, as its folder says."""

    id: str
    params: dict[str, Any]
    identity: str
    code_tree: str
    files: dict[str, str]
    """Path of a file that parameters name -> SHA-256 of its bytes."""
    data: dict[str, str] = {}
    """Name of the task's data -> fingerprint."""
    commit: str | None
    state: str | None
    """How the run ended; None while it has no result."""


class Change(Struct, frozen=True, kw_only=True):
    """A value in the run and in the plan; a side without the value leaves its field unset."""

    before: Any | UnsetType = UNSET
    after: Any | UnsetType = UNSET


class Comparison(Struct, frozen=True, kw_only=True):
    """How a run folder differs from the planned run of the same experiment and seed."""

    run: str
    planned: str
    is_same: bool
    state: str | None
    seed: int
    campaign_seeds: tuple[int, ...]
    config: dict[str, Change]
    """Dotted knob -> its values."""
    data: dict[str, Change]
    """Parameter that names a file, or name of the task's data -> hashes."""
    code: Change | None
    """Hashes of the task's code, where they differ."""
    files: tuple[str, ...] | None
    """Files of the code that differ; None if that cannot be known."""
    format: Change | None
    """Version of the identity, where all else is the same. The run's own is not known."""

    def sentences(self) -> list[str]:
        """Return the comparison as sentences."""
        if self.is_same:
            return [f"{self.run}: the same: {self._use()}"]
        lines = [f"{self.run}: not what `knockout run` would train now, which is {self.planned}"]
        lines += [f"config: {knob}: {_show(change)}" for knob, change in self.config.items()]
        lines += [f"data: {capture}: {_show_hash(change)}" for capture, change in self.data.items()]
        if self.code is not None:
            lines += [f"code: it has another hash: {_show_hash(self.code)}", *self._file_lines()]
        if self.format is not None:
            lines.append(
                "format: the identity is hashed in another way: it was written by another version of Knockout, or of "
                "the section `task`"
            )
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
            return ["  its commit is not in this repository, so the files that differ are unknown"]
        return [f"  {file}" for file in self.files]


def compare(
    past: PastRun,
    planned: PlannedRun,
    inputs: CodeAndData,
    campaign_seeds: tuple[int, ...],
    files: tuple[str, ...] | None,
    cosmetic: Collection[str] = (),
) -> Comparison:
    """Compare a run folder with the run that is planned in its place.

    Args:
        past: the run folder.
        planned: what the plan has for the same experiment and seed.
        inputs: code and data as they are now.
        campaign_seeds: the seeds of the campaign file.
        files: files of the code that differ from the run's commit; None where it is not known.
        cosmetic: dotted names of parameters that change no number.
    """
    # Through JSON, as the written configuration went. Otherwise a tuple would differ from a list of the same values.
    new = msgspec.json.decode(msgspec.json.encode(planned.params))
    before, after = (result_knobs(each, cosmetic, {*past.files, *inputs.files}) for each in (past.params, new))
    config = _changes(before, after)
    data = _changes(_hashes(past.params, past.files) | past.data, _hashes(new, inputs.files) | inputs.data)
    code = _changes({"code": past.code_tree}, {"code": inputs.code_tree}).get("code")
    written = None
    is_same = planned.id == past.id
    # All parts agree and the hashes do not. So another version hashed the same parts in another way.
    if past.identity != planned.identity and not (config or data or code):
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


def _hashes(params: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str | None]:
    """Return parameter that names a file -> the hash of that file."""
    return {
        file_name(name): files[value] for name, value in leaves(params) if isinstance(value, str) and value in files
    }


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
"""Part of every run id, and of no experiment id: the seed."""


class _Origin(Struct, frozen=True):
    """What a comparison needs of `provenance.json`."""

    identity: str
    code_tree: str
    files: dict[str, str]
    commit: str | None
    data: dict[str, str] = {}


class Match(Struct, frozen=True, kw_only=True):
    """A run folder, the run that is planned in its place, and how they differ."""

    past: PastRun
    planned: PlannedRun
    code_tree: str
    """Hash of the code that the planned run would train."""
    refusal: str | None
    """Why that code is refused; None if it is not."""
    comparison: Comparison


class Explanation(Struct, frozen=True, kw_only=True):
    """The answer of `why`: for an experiment its verdict step by step, for a run what differs."""

    content: Arithmetic | Comparison
    sentences: list[str]
    """The same, for a person."""


def why(request: Request, word: str) -> Explanation:
    """Work out an experiment's verdict, or compare a run with what would be trained now in its place.

    Args:
        request: the campaign file. Its profile, if it names one, takes the place of a run's own.
        word: an experiment's id, generated ones included; or a run's id, or the beginning of it.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: no experiment and no run is meant, or the run's experiment is gone.
        RunError: a run folder cannot be read.
        DataError: captures are missing, so that nobody can say what would be trained.
    """
    selection = open_campaign(request.widened)
    if word in selection.every_arm:
        steps = explain_verdict(select_again(selection, request), word)
        return Explanation(content=steps, sentences=say_steps(steps))
    comparison = match(selection, request, word).comparison
    return Explanation(content=comparison, sentences=comparison.sentences())


def explain_verdict(selection: Selection, experiment: str) -> Arithmetic:
    """Work a verdict out from the counts, among the experiments that a report is of.

    Args:
        selection: what a report is of; an experiment outside it is judged among all of the file.
        experiment: its id.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
        RunError: a run folder cannot be read.
    """
    # An experiment outside the default ones has no verdict among them, so all of the file are judged.
    if experiment not in selection.arms:
        selection = selection.widened
    code = look_at_code(selection.paths, selection.campaign.task.code)
    whole, _ = choose_plan(selection.widened, code, needed=(*selection.request.experiments, experiment))
    gathered = gather(selection.paths, whole)
    records = gathered.records
    names = [name for name in selection.arms if name in whole.arms]
    judged, judgements = judge_as_declared(plan_to_judge(whole, names, records), records)
    steps = work_out(judged, records, judgements, experiment)
    looked_again = note_looks(selection.paths, judged, judgements, (experiment,))[experiment].looks_sentence
    return msgspec.structs.replace(steps, looked_again=looked_again, left_out=tuple(gathered.refused.values()))


def match(selection: Selection, request: Request, word: str) -> Match:
    """Find the run that is planned in the place of a run folder.

    Args:
        selection: every experiment of the campaign file.
        request: its profile, if it names one, takes the place of the run's own.
        word: the run's id, or the beginning of it.

    Raises:
        UsageError: no run is meant, or its experiment is gone.
        RunError: the run folder cannot be read.
        DataError: a capture is missing, so that nobody can say what would be trained.
    """
    paths = selection.paths
    past, names = read_past_run(paths, _pick(selection, word))
    at_profile = msgspec.structs.replace(request, profile=request.profile or names.profile)
    selection = _select(selection, at_profile, names.experiment, past.id)
    missing = missing_captures(selection)
    if missing:
        raise DataError(f"{missing[0]}: this capture is not there, so nobody can say what would be trained on it")
    code = look_at_code(paths, selection.campaign.task.code)
    arm = selection.arms[names.experiment]
    arm_code, inputs = code.code_of(arm.code), collect_inputs(selection, code)
    # A run folder holds the shifted seed. The plan counts by the campaign's seeds and shifts them itself.
    seed = names.seed - arm.seed_shift
    at_seed = replace(selection, campaign=msgspec.structs.replace(selection.campaign, seeds=(seed,)))
    plan = make_plan(at_seed, code, inputs)
    planned_id = plan.run_of[names.experiment, seed]
    planned = next(run for run in plan.runs if run.id == planned_id)
    own = own_inputs(inputs, arm.reads, arm_code.hash)
    trained_seeds = tuple(each + arm.seed_shift for each in selection.campaign.seeds)
    files = _changed_files(code, arm_code, past)
    comparison = compare(past, planned, own, trained_seeds, files, selection.campaign.task.cosmetic)
    return Match(past=past, planned=planned, code_tree=arm_code.hash, refusal=arm_code.refusal, comparison=comparison)


def _pick(selection: Selection, word: str) -> str:
    """Find the run that is meant. A word without a seed that begins no run id is taken for a misspelt experiment."""
    paths = selection.paths
    there = [path.name for path in paths.runs.iterdir() if path.is_dir()] if paths.runs.is_dir() else []
    if not any(run_id.startswith(word) for run_id in there) and not _WITH_SEED.search(word):
        near = difflib.get_close_matches(word, selection.every_arm, n=1)
        if near:
            raise UsageError(f"there is no experiment or run `{word}`; did you mean the experiment `{near[0]}`?")
    return pick_run(word, there)


def _select(selection: Selection, request: Request, experiment: str, run_id: str) -> Selection:
    """Select the experiment of a run at the run's profile."""
    every = select_again(selection, request.widened)
    if experiment not in every.arms:
        raise UsageError(
            f"{run_id}: {request.file} has no experiment `{experiment}` any more, so nothing would be "
            "trained in this run's place; write the experiment into it again to compare"
        )
    return select_again(every, msgspec.structs.replace(request, experiments=(experiment,), everything=False))


def _changed_files(code: Code, arm_code: ArmCode, past: PastRun) -> tuple[str, ...] | None:
    if past.code_tree == arm_code.hash:
        return ()
    if past.commit is None or not isinstance(code, GitCode) or arm_code.refusal:
        return None
    files = code.repository.code_changes(past.commit, arm_code.tree)
    return None if files is None else tuple(files)


def read_past_run(paths: Paths, run_id: str) -> tuple[PastRun, RunConfig]:
    """Read what a run was made of.

    Raises:
        RunError: a file is missing or broken.
    """
    folder = paths.run(run_id)
    try:
        require_sizes(folder)
        config = folder.read_config()
        origin = msgspec.json.decode(folder.provenance.read_bytes(), type=_Origin)
        result = folder.read_result()
    except UNREADABLE as error:
        raise RunError(
            f"{folder.path}: this run folder cannot be read: {error}; delete it to train the run again"
        ) from None
    past = PastRun(
        id=run_id,
        params=config.params,
        identity=origin.identity,
        code_tree=origin.code_tree,
        files=origin.files,
        data=origin.data,
        commit=origin.commit,
        state=result.state if result else None,
    )
    return past, config
