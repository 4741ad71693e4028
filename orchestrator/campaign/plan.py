"""Arms -> the ordered list of runs. The name of a run holds a hash of what it computes. Pure."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct, structs

from orchestrator.campaign.arms import Arm, ResolvedArms
from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.spec import Campaign
from orchestrator.runs.folder import RunConfig
from orchestrator.runs.identity import CodeAndData, identity_hash, run_id
from orchestrator.task.ask import Read


class PlannedRun(Struct, frozen=True, kw_only=True):
    """One training, which may be done already."""

    id: str
    experiment: str
    seed: int
    profile: str
    params: dict[str, Any]
    """Every parameter, nested and resolved."""
    identity: str

    @property
    def config(self) -> RunConfig:
        """What the run's `config.json` holds."""
        return RunConfig(experiment=self.experiment, profile=self.profile, seed=self.seed, params=self.params)


class Plan(Struct, frozen=True, kw_only=True):
    """The arms and the runs of a campaign at one profile."""

    campaign: Campaign
    arms: dict[str, Arm]
    runs: tuple[PlannedRun, ...]
    run_of: dict[tuple[str, int], str]
    """(experiment, seed of the campaign) -> run id; arms with the same configuration share runs."""
    interactions: tuple[Interaction, ...] = ()
    """The pairs of experiments of which all four arms are in the plan."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of its runs, in the order of training."""
        return tuple(run.id for run in self.runs)


def narrow(plan: Plan, names: Collection[str]) -> Plan:
    """Return the plan with only some experiments and their runs."""
    run_of = {(name, seed): run_id for (name, seed), run_id in plan.run_of.items() if name in names}
    kept = set(run_of.values())
    return structs.replace(
        plan,
        arms={name: arm for name, arm in plan.arms.items() if name in names},
        runs=tuple(run for run in plan.runs if run.id in kept),
        run_of=run_of,
        interactions=tuple(each for each in plan.interactions if set(each.cells) <= set(names)),
    )


def plan_runs(
    campaign: Campaign,
    resolved: ResolvedArms,
    inputs: CodeAndData,
    code_trees: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """List the trainings: seed by seed, each reference before what is compared with it.

    Going seed by seed interleaves an experiment with its reference, so that a drift of the machine affects both.

    Args:
        campaign: the campaign at its profile.
        resolved: the experiments to plan. An interaction counts only where its arms are among them.
        inputs: code and captures.
        code_trees: experiment -> hash of its code, where it is not the code of `inputs`.
    """
    runs: dict[str, PlannedRun] = {}
    ids: dict[str, str] = {}
    run_of: dict[tuple[str, int], str] = {}
    # Seed by seed, so that a campaign that is stopped early has pairs of runs.
    # Experiment by experiment, the last ones would have none.
    for seed in campaign.seeds:
        for arm in resolved.arms.values():
            trained_at = seed + arm.seed_shift
            own = own_inputs(inputs, arm.reads, code_trees.get(arm.id))
            identity = identity_hash(campaign.task, arm.params, trained_at, own)
            # K1 takes H2 back, so K1 has the identity of E5 at each seed. The first of them gives the run its name.
            known = ids.get(identity)
            run_of[arm.id, seed] = known or run_id(arm.id, trained_at, identity)
            if known is None:
                new = PlannedRun(
                    id=run_of[arm.id, seed],
                    experiment=arm.id,
                    seed=trained_at,
                    profile=campaign.profile,
                    params=arm.params,
                    identity=identity,
                )
                runs[new.id], ids[identity] = new, new.id
    return Plan(
        campaign=campaign,
        arms=resolved.arms,
        runs=tuple(runs.values()),
        run_of=run_of,
        interactions=tuple(each for each in resolved.interactions if resolved.arms.keys() >= each.arms),
    )


def own_inputs(inputs: CodeAndData, reads: Iterable[Read], code_tree: str | None = None) -> CodeAndData:
    """Return the inputs of one arm: the files that its own parameters name, and its own code where it has some."""
    files = {read.path: inputs.files[read.path] for read in reads}
    return structs.replace(inputs, files=files, code_tree=code_tree or inputs.code_tree)
