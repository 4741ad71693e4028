"""Full configurations: that of the baseline, and what a change makes of another configuration. Pure."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import msgspec

from model.config import COSMETIC, JobConfig, job_from_builtins
from orchestrator.campaign.fields import BASELINE, SHUFFLED_LABELS, Where
from orchestrator.campaign.spec import Campaign, ExperimentSpec
from orchestrator.errors import SpecError
from orchestrator.task.knobs import Change, apply_change, describe_validation_error, knob_names
from orchestrator.wording import did_you_mean

ABSENT = object()
"""The value of a knob that a configuration does not have."""


def baseline_config(campaign: Campaign) -> JobConfig:
    """Return the configuration of the baseline with the campaign's first seed and all defaults.

    Raises:
        SpecError: a knob is unknown or out of range.
    """
    baseline = campaign.baseline
    sections = {name: getattr(baseline, name) for name in ("model", "loss", "augment", "optim", "runtime")}
    data: dict[str, Any] = msgspec.to_builtins(campaign.data)
    del data["emulate"]
    values = {"experiment": BASELINE, "profile": campaign.profile, "seed": campaign.seeds[0], "data": data}
    values |= {name: deepcopy(dict(section)) for name, section in sections.items() if section}
    return _typed(values, (BASELINE,))


def _typed(values: dict[str, Any], where: Where) -> JobConfig:
    try:
        return job_from_builtins(values)
    except msgspec.ValidationError as error:
        message, path = describe_validation_error(error, JobConfig)
        raise SpecError(message, (*where, *path)) from None


def order_by_reference(experiments: Mapping[str, ExperimentSpec]) -> list[str]:
    """Sort experiments so that each comes after the one it stands on, and otherwise as in the file.

    Raises:
        SpecError: an experiment stands on an unknown one, or experiments stand on each other in a circle.
    """
    ordered: list[str] = []
    for experiment_id in experiments:
        # Follow the references down to an arm that is placed already.
        # Then place the arms on the way, the deepest first.
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


def declared_change(campaign: Campaign, experiment_id: str) -> tuple[Change, Where]:
    """Return what an experiment changes at the campaign's profile, and the path of that in the file."""
    experiment = campaign.experiments[experiment_id]
    where: Where = ("experiments", experiment_id)
    change, where = experiment.change, (*where, "change")
    if campaign.profile in experiment.change_in:
        change, where = experiment.change_in[campaign.profile], (*where[:2], "change_in", campaign.profile)
    if experiment.control == "shuffled_labels":
        return change | {SHUFFLED_LABELS: True}, where if change else (*where[:2], "control")
    return change, where


def put_on(stack: JobConfig, change: Change, name: str, where: Where) -> JobConfig:
    """Return the configuration of a stack with a change applied, under another name.

    Raises:
        SpecError: a knob of the change is unknown, out of range, or changes nothing.
    """
    before = msgspec.to_builtins(stack)
    values = deepcopy(before) | {"experiment": name}
    for knob, value in change.items():
        _refuse_unknown_knob(knob, value, before, (*where, knob))
    apply_change(values, change)
    config = _typed_change(values, where, change)
    _refuse_without_effect(change, before, msgspec.to_builtins(config), where)
    return config


def _typed_change(values: dict[str, Any], where: Where, change: Change) -> JobConfig:
    try:
        return _typed(values, ())
    except SpecError as error:
        # Name the dotted knob at fault; if all knobs together are at fault, name the whole change.
        dotted = ".".join(error.where)
        knob = next((k for k in change if dotted == k or dotted.startswith(f"{k}.")), None)
        raise SpecError(str(error), (*where, knob) if knob else where) from None


def _refuse_unknown_knob(knob: str, value: object, stack: dict[str, Any], where: Where) -> None:
    names = _job_knobs()
    if knob not in names:
        raise SpecError(f"there is no knob `{knob}`{did_you_mean(knob, names)}", where)
    if knob in ("experiment", "profile", "seed", "format"):
        raise SpecError(f"`{knob}` is not for an experiment to change", where)
    if value == look_up(stack, knob):
        raise SpecError(f"`{knob}: {value}` changes nothing: the stack it is put on has that value already", where)


@cache
def _job_knobs() -> tuple[str, ...]:
    return knob_names(JobConfig)


def look_up(values: dict[str, Any], knob: str) -> object:
    """Return the value of a dotted knob in a plain configuration; ABSENT where it has none."""
    node: Any = values
    for part in knob.split("."):
        if not isinstance(node, dict) or part not in node:
            return ABSENT
        node = node[part]
    return node


def _refuse_without_effect(change: Change, before: dict[str, Any], after: dict[str, Any], where: Where) -> None:
    for knob in change:
        # Compared once more after validation.
        # A section that is written without its defaults looks new, and may be the old one.
        if knob in COSMETIC or look_up(before, knob) == look_up(after, knob):
            raise SpecError(f"`{knob}` changes nothing in the resolved configuration", (*where, knob))
