"""A campaign file, loaded, checked and worked out for one profile, with its captures and its code."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from orchestrator.campaign.arms import Arm, resolve_arms, select_arms
from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.plan import Plan, PlannedRun, plan_runs
from orchestrator.campaign.spec import Campaign
from orchestrator.code.sources import Code
from orchestrator.errors import UsageError
from orchestrator.runs.find import find_same
from orchestrator.runs.fingerprints import fingerprint_files
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import Description, describe_jobs


def share_runs(plan: Plan, paths: Paths) -> Plan:
    """Give the runs of a plan that have no folder the id of one that is the same, where there is one."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in paths.runs.iterdir() if paths.runs.is_dir() else ():
        names[path.name.rpartition("-")[2]].append(path.name)
    there = {run.id: _place(paths, run, names[run.identity[:8]]) for run in plan.runs}
    return structs.replace(
        plan,
        runs=tuple(structs.replace(run, id=there[run.id]) for run in plan.runs),
        run_of={cell: there[run_id] for cell, run_id in plan.run_of.items()},
    )


def _place(paths: Paths, run: PlannedRun, names: Sequence[str]) -> str:
    """Return the run's own id, where it has a folder or no other one will do."""
    return run.id if run.id in names else find_same(paths, run.identity, names) or run.id


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
class Selection:
    """A campaign at one profile: its experiments, and where its files lie."""

    campaign: Campaign
    arms: dict[str, Arm]
    """The experiments that were asked for, and their references."""
    paths: Paths
    every_arm: dict[str, Arm]
    seeds: tuple[int, ...]
    """The seeds asked for; where seeds are given out look by look, those of `campaign` are all that there may be."""
    cells: frozenset[tuple[str, int]] | None = None
    """Of experiments and seeds the only ones that are wanted; None for every experiment at every seed."""

    @property
    def widened(self) -> "Selection":
        """The same study of every experiment of the file."""
        return replace(self, arms=self.every_arm)

    def wants(self, plan: Plan) -> Plan:
        """Keep the runs of a plan that are wanted."""
        cells = self.cells if self.cells is not None else {(name, seed) for name in self.arms for seed in self.seeds}
        wanted = {plan.run_of[cell] for cell in cells}
        return msgspec.structs.replace(plan, runs=tuple(run for run in plan.runs if run.id in wanted))


def open_campaign(request: Request) -> Selection:
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
    return Selection(campaign, selected, Paths(request.file.resolve().parent), arms, seeds)


def collect_inputs(selection: Selection, code: Code) -> CodeAndData:
    """Hash the code and the captures.

    Raises:
        DataError: a capture cannot be read.
    """
    paths = [capture.path for capture in selection.campaign.data.captures.values()]
    captures = fingerprint_files(paths, selection.paths.root, selection.paths.fingerprints)
    return CodeAndData(code_tree=code.code_hash, captures=captures)


def make_plan(selection: Selection, code: Code, inputs: CodeAndData | None = None) -> Plan:
    """Name the runs of a study by what they compute; what is there under another name is the same run.

    Raises:
        DataError: a capture cannot be read.
    """
    trees = {arm.id: code.code_of(arm.code).hash for arm in selection.arms.values() if arm.code}
    plan = plan_runs(selection.campaign, selection.arms, inputs or collect_inputs(selection, code), trees)
    return share_runs(plan, selection.paths)


def describe(selection: Selection, name: str) -> Description:
    """Ask `model` for an experiment's tokens and parameters."""
    return describe_jobs([selection.arms[name].config], selection.paths.root, with_data=False)[0]
