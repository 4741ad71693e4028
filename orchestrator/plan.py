"""A campaign at one profile -> its arms and the ordered list of runs. Pure.

An arm is an experiment with its configuration worked out: the baseline, then the changes of the stack it stands on,
then its own. Two arms that come out the same (K1 takes H2 back and so is E5) share their runs.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from model.config import COSMETIC, JobConfig, job_from_builtins
from orchestrator.errors import SpecError, UsageError
from orchestrator.identity import CodeAndData, identity_hash, run_id
from orchestrator.knobs import apply_change, describe_validation_error, did_you_mean, knob_names
from orchestrator.spec import BASELINE, Change, DataSpec, ExperimentSpec, ProfiledCampaign, Reported

TAG = "tag:"
"""Before the name of a group, where experiments are named."""


class CodeStep(Struct, frozen=True, kw_only=True):
    """One change to the code of `model/`: a diff that is applied, or a ref whose code is taken."""

    patch: str | None = None
    """A path beside the campaign file."""
    ref: str | None = None
    """A branch, tag or commit."""


class Arm(Struct, frozen=True, kw_only=True):
    """An experiment worked out for one profile."""

    id: str
    title: str
    group: str
    hypothesis: str
    reference: str | None
    """The arm it is compared with; None for the baseline."""
    stack: tuple[str, ...]
    """The experiments whose changes it carries, its own last."""
    change: Change
    reported: Reported | None
    config: JobConfig
    """With the campaign's first seed."""
    patch: str | None = None
    """A diff that its own change applies to the code of its reference; a path beside the campaign file."""
    ref: str | None = None
    """The branch, tag or commit whose `model/` its own change runs."""
    code: tuple[CodeStep, ...] = ()
    """All that its stack does to the code, its own step last."""
    same_as: str | None = None
    """The earlier arm with the same configuration, whose runs it shares."""


class PlannedRun(Struct, frozen=True, kw_only=True):
    """One training to be done or already done."""

    id: str
    experiment: str
    seed: int
    config: JobConfig
    identity: str


class Plan(Struct, frozen=True, kw_only=True):
    """What a campaign comes to at one profile."""

    campaign: ProfiledCampaign
    arms: dict[str, Arm]
    runs: tuple[PlannedRun, ...]
    run_of: dict[tuple[str, int], str]
    """(experiment, seed) -> run id; arms that are the same configuration share it."""


def resolve_arms(campaign: ProfiledCampaign) -> dict[str, Arm]:
    """Work out every experiment's stack, configuration and reference, in the order of the file.

    Raises:
        SpecError: an unknown reference, a cycle, an unknown knob, a value out of range, or a change without effect.
    """
    plain: dict[str, dict[str, Any]] = {BASELINE: _baseline_builtins(campaign)}
    config = _typed(plain[BASELINE], (BASELINE,))
    arms = {
        BASELINE: Arm(
            id=BASELINE,
            title=campaign.baseline.title,
            group=BASELINE,
            hypothesis=campaign.baseline.hypothesis,
            reference=None,
            stack=(),
            change={},
            reported=campaign.baseline.reported,
            config=config,
        )
    }
    for experiment_id in order_by_reference(campaign.experiments):
        experiment = campaign.experiments[experiment_id]
        arm, values = _resolve_arm(campaign, experiment_id, arms, plain[experiment.on])
        arms[experiment_id], plain[experiment_id] = arm, values
    in_file_order = {name: arms[name] for name in (BASELINE, *campaign.experiments)}
    return _mark_same(in_file_order)


def _baseline_builtins(campaign: ProfiledCampaign) -> dict[str, Any]:
    baseline = campaign.baseline
    sections = {name: getattr(baseline, name) for name in ("model", "loss", "augment", "optim", "runtime")}
    values: dict[str, Any] = {
        "experiment": BASELINE,
        "profile": campaign.profile,
        "seed": campaign.seeds[0],
        "data": _job_data(campaign.data),
    }
    values |= {name: deepcopy(dict(section)) for name, section in sections.items() if section}
    # Defaults are filled in now, so that a change can be compared with what it changes.
    complete: dict[str, Any] = msgspec.to_builtins(_typed(values, (BASELINE,)))
    return complete


def _job_data(data: DataSpec) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(data)
    del values["emulate"]
    return values


def _typed(values: dict[str, Any], where: tuple[str, ...]) -> JobConfig:
    try:
        return job_from_builtins(values)
    except msgspec.ValidationError as error:
        message, path = describe_validation_error(error, JobConfig)
        raise SpecError(message, (*where, *path)) from None


def order_by_reference(experiments: Mapping[str, ExperimentSpec]) -> list[str]:
    """Sort experiments so that each comes after the one it stands on, else as in the file.

    Raises:
        SpecError: an experiment stands on one that is not declared, or on itself by a detour.
    """
    ordered: list[str] = []
    for experiment_id in experiments:
        chain = [experiment_id]
        while (reference := experiments[chain[-1]].on) not in (BASELINE, *ordered):
            where = ("experiments", chain[-1], "on")
            if reference not in experiments:
                hint = did_you_mean(reference, (BASELINE, *experiments))
                raise SpecError(f"`{chain[-1]}` stands on `{reference}`, which is no experiment here{hint}", where)
            if reference in chain:
                circle = " on ".join([*chain, reference])
                raise SpecError(f"experiments stand on each other in a circle: {circle}", where)
            chain.append(reference)
        ordered += [name for name in reversed(chain) if name not in ordered]
    return ordered


def _resolve_arm(
    campaign: ProfiledCampaign, experiment_id: str, arms: Mapping[str, Arm], stack: dict[str, Any]
) -> tuple[Arm, dict[str, Any]]:
    experiment = campaign.experiments[experiment_id]
    where: tuple[str, ...] = ("experiments", experiment_id, "change")
    change = experiment.change
    if campaign.profile in experiment.change_in:
        change = experiment.change_in[campaign.profile]
        where = ("experiments", experiment_id, "change_in", campaign.profile)
    values = deepcopy(stack)
    values["experiment"] = experiment_id
    for knob, value in change.items():
        _refuse_unknown_knob(knob, value, stack, (*where, knob))
    apply_change(values, change)
    config = _typed_change(values, where, change)
    _refuse_without_effect(change, stack, msgspec.to_builtins(config), where)
    reference = arms[experiment.on]
    own_step = (CodeStep(patch=experiment.patch, ref=experiment.ref),) if experiment.patch or experiment.ref else ()
    arm = Arm(
        id=experiment_id,
        title=experiment.title,
        group=experiment.group,
        hypothesis=experiment.hypothesis,
        reference=reference.id,
        stack=(*reference.stack, experiment_id),
        change=change,
        reported=experiment.reported,
        config=config,
        patch=experiment.patch,
        ref=experiment.ref,
        code=(*reference.code, *own_step),
    )
    return arm, msgspec.to_builtins(config)


def _typed_change(values: dict[str, Any], where: tuple[str, ...], change: Change) -> JobConfig:
    try:
        return _typed(values, ())
    except SpecError as error:
        # The mistake sits below one of the dotted knobs, or follows from all of them together.
        dotted = ".".join(error.where)
        knob = next((k for k in change if dotted == k or dotted.startswith(f"{k}.")), None)
        raise SpecError(str(error), (*where, knob) if knob else where) from None


def _refuse_unknown_knob(knob: str, value: object, stack: dict[str, Any], where: tuple[str, ...]) -> None:
    names = knob_names(JobConfig)
    if knob not in names:
        raise SpecError(f"there is no knob `{knob}`{did_you_mean(knob, names)}", where)
    if knob in ("experiment", "profile", "seed", "format"):
        raise SpecError(f"`{knob}` is not for an experiment to change", where)
    if value == _look_up(stack, knob):
        raise SpecError(f"`{knob}: {value}` changes nothing: the stack it is put on has that value already", where)


def _look_up(values: dict[str, Any], knob: str) -> object:
    node: Any = values
    for part in knob.split("."):
        if not isinstance(node, dict) or part not in node:
            return _ABSENT
        node = node[part]
    return node


_ABSENT = object()


def _refuse_without_effect(
    change: Change, before: dict[str, Any], after: dict[str, Any], where: tuple[str, ...]
) -> None:
    for knob in change:
        if knob in COSMETIC or _look_up(before, knob) == _look_up(after, knob):
            raise SpecError(f"`{knob}` changes nothing in the resolved configuration", (*where, knob))


def _mark_same(arms: dict[str, Arm]) -> dict[str, Arm]:
    seen: list[tuple[JobConfig, tuple[CodeStep, ...], str]] = []
    marked: dict[str, Arm] = {}
    for name, arm in arms.items():
        nameless = msgspec.structs.replace(arm.config, experiment="")
        twin = next((earlier for config, code, earlier in seen if (config, code) == (nameless, arm.code)), None)
        marked[name] = msgspec.structs.replace(arm, same_as=twin) if twin else arm
        seen.append((nameless, arm.code, name))
    return marked


def select_arms(arms: Mapping[str, Arm], asked: Sequence[str]) -> dict[str, Arm]:
    """Keep the arms asked for (all, when none is named) and the references their verdicts need.

    Raises:
        UsageError: a name is no experiment of the campaign.
    """
    wanted: set[str] = set()
    for word in asked or arms:
        for name in _named_by(word, arms):
            wanted |= {name, *_references(arms, name)}
    return {name: arm for name, arm in arms.items() if name in wanted}


def _named_by(word: str, arms: Mapping[str, Arm]) -> list[str]:
    """Return the experiments that a word means: one by its id, or with `tag:` in front all of a group."""
    if word in arms:
        return [word]
    if not word.startswith(TAG):
        raise UsageError(f"there is no experiment `{word}`{did_you_mean(word, tuple(arms))}")
    group = word.removeprefix(TAG)
    named = [name for name, arm in arms.items() if arm.group == group]
    if not named:
        groups = tuple(dict.fromkeys(arm.group for arm in arms.values()))
        raise UsageError(f"no experiment is of the group `{group}`{did_you_mean(group, groups)}")
    return named


def _references(arms: Mapping[str, Arm], name: str) -> list[str]:
    reference = arms[name].reference
    return [reference, *_references(arms, reference)] if reference else []


def plan_runs(
    campaign: ProfiledCampaign,
    arms: Mapping[str, Arm],
    inputs: CodeAndData,
    code_trees: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Lay out the trainings: seed by seed, references before what is compared with them.

    Going seed by seed interleaves an experiment with its reference, so that a drift of the machine hits both.

    Args:
        campaign: the campaign at its profile.
        arms: the experiments that are wanted.
        inputs: code and captures.
        code_trees: experiment -> hash of its code, for those whose code is not that of `inputs`.
    """
    runs: dict[str, PlannedRun] = {}
    ids: dict[str, str] = {}
    run_of: dict[tuple[str, int], str] = {}
    for seed in campaign.seeds:
        for arm in arms.values():
            config = msgspec.structs.replace(arm.config, seed=seed)
            own = msgspec.structs.replace(inputs, code_tree=code_trees.get(arm.id, inputs.code_tree))
            identity = identity_hash(config, own)
            known = ids.get(identity)
            run_of[arm.id, seed] = known or run_id(arm.id, seed, identity)
            if known is None:
                new = PlannedRun(
                    id=run_of[arm.id, seed], experiment=arm.id, seed=seed, config=config, identity=identity
                )
                runs[new.id], ids[identity] = new, new.id
    return Plan(campaign=campaign, arms=dict(arms), runs=tuple(runs.values()), run_of=run_of)
