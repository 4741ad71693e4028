"""A campaign file, loaded, checked and worked out for one profile, with its captures and its code."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from model.config import CapturePlace, DataConfig, variables_of
from model.run_folder import write_atomically
from orchestrator.code.sources import Code
from orchestrator.errors import DataError, UsageError
from orchestrator.loading import at_profile, load_campaign
from orchestrator.plan import Arm, Plan, plan_runs, resolve_arms, select_arms
from orchestrator.runs.fingerprints import fingerprint_files
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.paths import Layout
from orchestrator.same_runs import share_runs
from orchestrator.spec import ProfiledCampaign
from orchestrator.task.ask import Description, EmulateSpec, describe_jobs, emulate_captures, find_shared_bursts

APART_FORMAT = 1
"""Raised when bursts that were found apart must be compared again."""


class Request(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    file: Path
    profile: str | None = None
    seeds: tuple[int, ...] | None = None
    experiments: tuple[str, ...] = ()
    everything: bool = False
    """Every experiment of the file, not only the profile's `default_experiments`."""

    @property
    def widened(self) -> "Request":
        """The same of every experiment."""
        return msgspec.structs.replace(self, experiments=(), everything=True)


@dataclass(frozen=True)
class Study:
    """A campaign at one profile: its experiments, and where its files lie."""

    campaign: ProfiledCampaign
    arms: dict[str, Arm]
    """The experiments that were asked for, and their references."""
    layout: Layout
    every_arm: dict[str, Arm]
    seeds: tuple[int, ...]
    """The seeds asked for; where seeds are given out look by look, those of `campaign` are all that there may be."""
    cells: frozenset[tuple[str, int]] | None = None
    """Of experiments and seeds the only ones that are wanted; None for every experiment at every seed."""

    @property
    def widened(self) -> "Study":
        """The same study of every experiment of the file."""
        return replace(self, arms=self.every_arm)

    def wants(self, plan: Plan) -> Plan:
        """Keep the runs of a plan that are wanted."""
        cells = self.cells if self.cells is not None else {(name, seed) for name in self.arms for seed in self.seeds}
        wanted = {plan.run_of[cell] for cell in cells}
        return msgspec.structs.replace(plan, runs=tuple(run for run in plan.runs if run.id in wanted))


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
    seeds = campaign.seeds
    campaign = msgspec.structs.replace(
        campaign,
        seeds=campaign.staging.all_seeds(seeds) if campaign.staging else seeds,
    )
    with source.locating():
        arms = resolve_arms(campaign)
    asked = request.experiments or (() if request.everything else campaign.default_experiments)
    selected = select_arms(arms, asked)
    return Study(campaign, selected, Layout(request.file.resolve().parent), arms, seeds)


def missing_captures(study: Study) -> list[Path]:
    """Return the capture files that are not there, as the campaign writes their paths.

    A link to a file that is not there, a folder, or a file that cannot be seen is none of these: its place is taken.
    """
    return [Path(str(place)) for place in _missing(study)]


def _missing(study: Study) -> list[CapturePlace]:
    paths = dict.fromkeys(capture.path for capture in study.campaign.data.captures.values())
    places = [CapturePlace(study.layout.root, path) for path in paths]
    return [place for place in places if _is_free(Path(place))]


def _is_free(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        # It may be there; whoever reads it is told why it cannot be read.
        return False
    return False


def make_captures(study: Study) -> str:
    """Make missing emulated captures; return what was said about them.

    Raises:
        DataError: captures are missing and the campaign does not say how to emulate them.
    """
    missing = _missing(study)
    if not missing:
        return ""
    emulate = study.campaign.data.emulate
    if emulate is None:
        raise DataError(f"profile `{study.campaign.profile}` is skipped: {_explain_missing(missing[0])}")
    written = {Path(place).parent: Path(str(place)).parent for place in missing}
    return "".join(_emulate(folder, emulate, written[folder]) for folder in sorted(written))


def _emulate(folder: Path, emulate: EmulateSpec, written: Path) -> str:
    """Make the captures of a folder; it is named as the campaign names it."""
    try:
        return emulate_captures(folder, emulate, keep=True).replace(str(folder), str(written))
    except DataError as error:
        raise DataError(str(error).replace(str(folder), str(written))) from None


def _explain_missing(place: CapturePlace) -> str:
    """Say what to do about a capture that is not there."""
    names = variables_of(place.path)
    unset = [name for name in names if not os.environ.get(name)]
    if unset:
        name = unset[0]
        return (
            f"where its captures are is for the variable {name} to say, and it is not set; run again with {name}=PATH"
        )
    if names:
        return f"its capture {place} is not there; correct the variable {names[0]}, or `path` under `data.captures`"
    return f"its capture {place} is not there; correct `path` under `data.captures`"


def collect_inputs(study: Study, code: Code) -> CodeAndData:
    """Hash the code and the captures.

    Raises:
        DataError: a capture cannot be read.
    """
    paths = [capture.path for capture in study.campaign.data.captures.values()]
    captures = fingerprint_files(paths, study.layout.root, study.layout.fingerprints)
    return CodeAndData(code_tree=code.code_hash, captures=captures)


def make_plan(study: Study, code: Code, inputs: CodeAndData | None = None) -> Plan:
    """Name the runs of a study by what they compute; what is there under another name is the same run.

    Raises:
        DataError: a capture cannot be read.
    """
    trees = {arm.id: code.code_of(arm.code).hash for arm in study.arms.values() if arm.code}
    plan = plan_runs(study.campaign, study.arms, inputs or collect_inputs(study, code), trees)
    return share_runs(plan, study.layout)


def refuse_shared_bursts(configs: Iterable[DataConfig], layout: Layout) -> None:
    """Refuse captures that share bursts which their roles forbid, whatever the files are called.

    Each file is read once. What was found apart is remembered by the content of the files.

    Raises:
        DataError: roles share bursts, or a capture cannot be read.
    """
    for data in configs:
        hashes = fingerprint_files(_paths_of(data), layout.root, layout.fingerprints)
        found_apart = layout.bursts / f"{_content_key(data, hashes)}.apart"
        if found_apart.is_file():
            continue
        shared = find_shared_bursts(data, layout.root, hashes, layout.bursts)
        if shared is not None:
            raise DataError(shared)
        with suppress(OSError):
            write_atomically(found_apart, b"")


def refuse_same_files(configs: Iterable[DataConfig], hashes: Mapping[str, str]) -> None:
    """Refuse captures that name the same bursts of files with the same content, such as copies; reads no burst.

    Raises:
        DataError: roles share bursts.
    """
    for data in configs:
        try:
            _by_content(data, hashes)
        except ValueError as error:
            copies = [path for path in _paths_of(data) if list(hashes.values()).count(hashes[path]) > 1]
            raise DataError(f"{error}; these files have the same content: {', '.join(copies)}") from None


def _paths_of(data: DataConfig) -> list[str]:
    """Return the capture files that any role names, each once."""
    return list(dict.fromkeys(data.captures[name].path for name in data.used))


def _by_content(data: DataConfig, hashes: Mapping[str, str]) -> DataConfig:
    """Put each file's hash in the place of its path.

    Raises:
        ValueError: roles share bursts of a content.
    """
    captures = {
        name: msgspec.structs.replace(capture, path=hashes[capture.path])
        for name, capture in data.captures.items()
        if name in data.used
    }
    return DataConfig(**{**msgspec.structs.asdict(data), "captures": captures})


def _content_key(data: DataConfig, hashes: Mapping[str, str]) -> str:
    """Name the bursts of all roles by what they hold, whatever their files are called."""

    def content(name: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
        capture = data.captures[name]
        return hashes[capture.path], capture.devices, capture.packets

    roles = [list(map(content, names)) for names in (data.train, data.validate, data.choose, data.report)]
    return hashlib.sha256(msgspec.json.encode([APART_FORMAT, roles, data.samples, data.layout])).hexdigest()


def describe(study: Study, name: str) -> Description:
    """Ask `model` for an experiment's tokens and parameters."""
    return describe_jobs([study.arms[name].config], study.layout.root, with_data=False)[0]
