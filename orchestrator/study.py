"""A campaign file, loaded, checked and worked out for one profile, with its captures and its code."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.checkouts import Code
from orchestrator.errors import DataError, UsageError
from orchestrator.fingerprints import fingerprint_files
from orchestrator.identity import CodeAndData
from orchestrator.launchers.compilers import find_compiler_problem
from orchestrator.launchers.inline import Description, describe_jobs, emulate_captures
from orchestrator.layout import Layout
from orchestrator.loading import at_profile, load_campaign
from orchestrator.plan import Arm, Plan, plan_runs, resolve_arms, select_arms
from orchestrator.same_runs import share_runs
from orchestrator.spec import DataSpec, ProfiledCampaign

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


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
        data=_expand_paths(campaign.data, os.environ),
        seeds=campaign.staging.all_seeds(seeds) if campaign.staging else seeds,
    )
    with source.locating():
        arms = resolve_arms(campaign)
    asked = request.experiments or (() if request.everything else campaign.default_experiments)
    selected = select_arms(arms, asked)
    return Study(campaign, selected, Layout(request.file.resolve().parent), arms, seeds)


def _expand_paths(data: DataSpec, variables: Mapping[str, str]) -> DataSpec:
    """Put environment variables into capture paths: `${RTL433}` or `${RTL433:-data/file.h5}`; unset ones stay."""

    def value(found: re.Match[str]) -> str:
        default = found[0] if found["default"] is None else found["default"]
        return variables.get(found["name"]) or default

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
    trees = {arm.id: code.code_of(arm).hash for arm in study.arms.values() if arm.code}
    plan = plan_runs(study.campaign, study.arms, inputs or collect_inputs(study, code), trees)
    return share_runs(plan, study.layout)


def refuse_impossible(study: Study) -> None:
    """Ask `model` about every configuration before anything starts.

    Raises:
        DataError: one cannot be trained on this machine or on these captures.
    """
    if (problem := find_unmet_need(study)) is not None:
        raise DataError(problem)
    arms = [arm for arm in study.arms.values() if not arm.code]
    answers = describe_jobs([arm.config for arm in arms], study.layout.root, with_data=True)
    for arm, answer in zip(arms, answers, strict=True):
        if answer.problem is not None:
            raise DataError(f"{arm.id}: {answer.problem}")


def find_unmet_need(study: Study) -> str | None:
    """Say what this machine lacks for the study's configurations; None if it has all."""
    compiled = [arm.id for arm in study.arms.values() if arm.config.runtime.compile]
    problem = find_compiler_problem() if compiled else None
    return None if problem is None else f"{', '.join(compiled)}: {problem}"


def describe(study: Study, name: str) -> Description:
    """Ask `model` for an experiment's tokens and parameters."""
    return describe_jobs([study.arms[name].config], study.layout.root, with_data=False)[0]
