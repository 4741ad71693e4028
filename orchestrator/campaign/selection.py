"""A campaign file, loaded, checked and worked out for one profile; and its plan with the code and captures of now."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from msgspec import Struct, structs

from orchestrator.campaign.arms import Arm, ResolvedArms, configs_of, resolve_arms, select_arms
from orchestrator.campaign.configs import Configs, raw_baseline
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.plan import Plan, PlannedRun, narrow, plan_runs
from orchestrator.campaign.scored import find_objective, scores_splits, with_answer
from orchestrator.campaign.source import Source
from orchestrator.campaign.spec import Campaign, CampaignSpec
from orchestrator.code.sources import Code
from orchestrator.errors import UsageError
from orchestrator.runs.find import find_same
from orchestrator.runs.fingerprints import fingerprint_data, fingerprint_files
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import check_configs

GPU, COMPILER = "gpu", "compiler"
"""What a task may say that a configuration needs."""


class Request(Struct, frozen=True, kw_only=True):
    """What a command asks for."""

    file: Path = Path("experiments.yaml")
    """The campaign file."""
    profile: str | None = None
    """The scale; None for the file's `default_profile`."""
    seeds: tuple[int, ...] | None = None
    """The seeds; None for those of the profile or the file."""
    experiments: tuple[str, ...] = ()
    """Experiments by id, or groups by `tag:GROUP`; empty for the profile's `default_experiments`."""
    everything: bool = False
    """Whether every experiment of the file is meant, not only the profile's `default_experiments`."""

    @property
    def widened(self) -> "Request":
        """The same request for every experiment."""
        return structs.replace(self, experiments=(), everything=True)


@dataclass(frozen=True)
class Selection:
    """A campaign at one profile, and the experiments that a command asks for. The file is read once for it."""

    request: Request
    spec: CampaignSpec
    """What the file says, for all profiles."""
    source: Source
    """The text of the file with its line numbers, for messages."""
    campaign: Campaign
    configs: Configs
    """Works out further configurations."""
    resolved: ResolvedArms
    """Every experiment of the file, worked out."""
    arms: dict[str, Arm]
    """The experiments asked for, and their references."""
    seeds: tuple[int, ...]
    """The seeds asked for. In a sequential campaign `campaign.seeds` holds all seeds that any look may ask for."""
    cells: frozenset[tuple[str, int]] | None = None
    """The only pairs of experiment and seed to train; None for every experiment at every seed."""

    @cached_property
    def paths(self) -> Paths:
        """Where the campaign's files lie."""
        return Paths(self.request.file.resolve().parent)

    @property
    def every_arm(self) -> dict[str, Arm]:
        """Every experiment of the file."""
        return self.resolved.arms

    @property
    def widened(self) -> "Selection":
        """The same campaign with every experiment of the file."""
        return replace(self, request=self.request.widened, arms=self.every_arm)

    @property
    def default_note(self) -> str | None:
        """Says how many experiments are taken because none is named; None if all are taken, or some are named."""
        taken, in_file = len(self.arms) - 1, len(self.campaign.experiments)
        if self.request.experiments or taken >= in_file:
            return None
        return f"{taken} of the file's {in_file} experiments: this profile's default ones; --all takes them all"

    def keep_wanted(self, plan: Plan) -> Plan:
        """Return the plan with only the runs that are to be trained."""
        cells = self.cells if self.cells is not None else {(name, seed) for name in self.arms for seed in self.seeds}
        wanted = {plan.run_of[cell] for cell in cells}
        return structs.replace(plan, runs=tuple(run for run in plan.runs if run.id in wanted))


def open_campaign(request: Request) -> Selection:
    """Load and check a campaign; nothing is started and nothing is written.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: a named experiment does not exist, or experiments are named together with `everything`.
    """
    _refuse_names_with_all(request)
    spec, source = load_campaign(request.file)
    return _select(spec, source, request)


def select_again(selection: Selection, request: Request) -> Selection:
    """Select other experiments, or another profile, from a file that is open already. The file is not read again.

    Raises:
        SpecError: the campaign is refused at the other profile.
        UsageError: a named experiment does not exist, or experiments are named together with `everything`.
    """
    _refuse_names_with_all(request)
    before = selection.request
    profile = request.profile or selection.spec.usual_profile
    if (profile, request.seeds) != (selection.campaign.profile, before.seeds):
        return _select(selection.spec, selection.source, request)
    return replace(selection, request=request, arms=_choose_arms(request, selection.campaign, selection.resolved))


def _refuse_names_with_all(request: Request) -> None:
    if request.experiments and request.everything:
        raise UsageError("name experiments, or say --all, not both")


def _select(spec: CampaignSpec, source: Source, request: Request) -> Selection:
    campaign = at_profile(spec, source, request.profile, request.seeds)
    seeds = campaign.seeds
    if campaign.staging:
        campaign = structs.replace(campaign, seeds=campaign.staging.all_seeds(seeds))
    with source.locating():
        campaign, configs, resolved = work_out(campaign, source.path.resolve().parent)
    return Selection(
        request=request,
        spec=spec,
        source=source,
        campaign=campaign,
        configs=configs,
        resolved=resolved,
        arms=_choose_arms(request, campaign, resolved),
        seeds=seeds,
    )


def work_out(campaign: Campaign, root: Path) -> tuple[Campaign, Configs, ResolvedArms]:
    """Work out every experiment, and what the runs of the campaign are scored on; `root` is its folder.

    Raises:
        SpecError: an experiment or the objective of a search is refused.
        DataError: the task gave no answer.
    """
    configs = configs_of(campaign, root)
    resolved = resolve_arms(campaign, configs)
    campaign = with_answer(campaign, resolved.arms[BASELINE].about)
    for name, search in campaign.searches.items():
        # A profile of a built-in study may have no split to choose on; then only its search is refused.
        if search.objective.captures or not scores_splits(campaign):
            find_objective(search, campaign, ("searches", name))
    return campaign, configs, resolved


def profiles_without_gpu(selection: Selection) -> tuple[str, ...]:
    """Return the profiles of the file whose baseline needs no GPU.

    Raises:
        DataError: the task gave no answer.
    """
    spec, source = selection.spec, selection.source
    chosen = source.profile
    raws = {name: raw_baseline(at_profile(spec, source, name)) for name in spec.profiles}
    source.profile = chosen
    answers = check_configs(spec.task, selection.paths.root, list(raws.values()))
    return tuple(name for name, found in zip(raws, answers, strict=True) if not (found.problem or GPU in found.needs))


def _choose_arms(request: Request, campaign: Campaign, resolved: ResolvedArms) -> dict[str, Arm]:
    named = request.experiments or (() if request.everything else campaign.default_experiments)
    return select_arms(resolved.arms, named)


def collect_inputs(selection: Selection, code: Code) -> CodeAndData:
    """Hash the code, the files that parameters name, and the task's data.

    Raises:
        DataError: a file cannot be read.
    """
    paths, task = selection.paths, selection.campaign.task
    files = fingerprint_files(read_paths(selection), paths.root, paths.fingerprints)
    data = fingerprint_data(task.data, paths.root, paths.fingerprints) if task.data else {}
    return CodeAndData(code_tree=code.code_hash, files=files, data=data)


def read_paths(selection: Selection) -> tuple[str, ...]:
    """Return the files that parameters of any experiment name, as the campaign writes their paths."""
    return tuple(dict.fromkeys(read.path for arm in selection.every_arm.values() for read in arm.reads))


def make_plan(selection: Selection, code: Code, inputs: CodeAndData | None = None) -> Plan:
    """Plan the experiments asked for, and give each run the name of a folder with the same identity.

    Raises:
        DataError: a capture cannot be read.
    """
    resolved = structs.replace(selection.resolved, arms=selection.arms)
    trees = _code_trees(selection.arms, code)
    plan = plan_runs(selection.campaign, resolved, inputs or collect_inputs(selection, code), trees)
    return share_runs(plan, selection.paths)


def _code_trees(arms: dict[str, Arm], code: Code) -> dict[str, str]:
    """Return experiment -> hash of its code, for experiments with a patch or a ref."""
    return {arm.id: code.code_of(arm.code).hash for arm in arms.values() if arm.code}


@dataclass(frozen=True)
class CurrentPlan:
    """The plan of a whole campaign, with the code and the captures as they are on disk at one moment."""

    code: Code
    inputs: CodeAndData
    code_trees: dict[str, str]
    """Experiment -> hash of its code, for experiments with a patch or a ref."""
    named: Plan
    """The plan of every experiment, in which each run has the name of a new run."""
    whole: Plan
    """The same plan, but a run has the name of a folder with its identity, if there is such a folder."""

    def part(self, selection: Selection) -> Plan:
        """Return the plan of the experiments asked for."""
        return narrow(self.whole, selection.arms)


def plan_now(selection: Selection, code: Code, before: CurrentPlan | None = None) -> CurrentPlan:
    """Plan every experiment of a campaign with the code and the captures of now.

    Call it again after a training: somebody may have edited the code or replaced a capture meanwhile, and another
    worker may have made folders. The runs are worked out again only where code or captures have changed.

    Args:
        selection: the campaign.
        code: the code of now.
        before: the plan of an earlier moment of the same command.

    Raises:
        DataError: a capture cannot be read.
    """
    inputs, trees = collect_inputs(selection, code), _code_trees(selection.every_arm, code)
    if before is not None and (inputs, trees) == (before.inputs, before.code_trees):
        named = before.named
    else:
        named = plan_runs(selection.campaign, selection.resolved, inputs, trees)
    return CurrentPlan(code, inputs, trees, named, share_runs(named, selection.paths))


def share_runs(plan: Plan, paths: Paths) -> Plan:
    """Give each run that has no folder the id of a folder with the same identity, where there is one."""
    # A folder's name ends in the first eight digits of its identity. So only folders with the same digits are read.
    names: dict[str, list[str]] = defaultdict(list)
    for path in paths.runs.iterdir() if paths.runs.is_dir() else ():
        names[path.name.rpartition("-")[2]].append(path.name)
    found = {run.id: _find_folder(paths, run, names[run.identity[:8]]) for run in plan.runs}
    return structs.replace(
        plan,
        runs=tuple(structs.replace(run, id=found[run.id]) for run in plan.runs),
        run_of={cell: found[run_id] for cell, run_id in plan.run_of.items()},
    )


def _find_folder(paths: Paths, run: PlannedRun, names: Sequence[str]) -> str:
    """Return the name of the run's folder: its own id, unless another folder has the same identity."""
    return run.id if run.id in names else find_same(paths, run.identity, names) or run.id
