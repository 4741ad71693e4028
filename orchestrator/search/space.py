"""The space of a search: what may be suggested, and the configuration that a suggestion makes of the stack. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from model.config import JobConfig
from orchestrator.campaign.configs import ABSENT, look_up, put_on
from orchestrator.campaign.fields import Where
from orchestrator.campaign.search_spec import CategoricalSpace, IntSpace, SearchSpec, Space
from orchestrator.errors import SpecError
from orchestrator.task.knobs import Change, did_you_mean

Value = str | int | float | bool | None
DIGITS = 6
"""Significant digits of a suggested real number: what is trained is what can be written into a campaign file."""


def suggest(space: Mapping[str, Space], ask: Callable[[str, Space], Value]) -> Change:
    """Ask for the value of every knob whose condition holds, in the order of the space."""
    change: Change = {}
    for knob, within in space.items():
        if holds(within.when, change):
            change[knob] = _neat(ask(knob, within))
    return change


def holds(when: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """Say whether a condition is met: its knobs have these values, or one of a list of values."""
    return all(knob in change and change[knob] in _listed(wanted) for knob, wanted in when.items())


def _listed(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _neat(value: Value) -> Value:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def trial_config(stack: JobConfig, change: Mapping[str, Any], name: str, where: Where = ()) -> JobConfig:
    """Return the configuration that a suggestion makes of the stack; where it asks for nothing else, the stack's own.

    Raises:
        SpecError: a knob is unknown or out of range, or the knobs do not go together.
    """
    moved = what_moves(stack, change)
    return put_on(stack, moved, name, where) if moved else structs.replace(stack, experiment=name)


def what_moves(stack: JobConfig, change: Mapping[str, Any]) -> Change:
    """Return the knobs of a suggestion that the stack has other values of."""
    values = msgspec.to_builtins(stack)
    return {knob: value for knob, value in change.items() if look_up(values, knob) != value}


def default_point(space: Mapping[str, Space], stack: JobConfig) -> Change:
    """Return the values that the stack itself has of the knobs of a space whose condition holds there."""
    values, point = msgspec.to_builtins(stack), Change()
    for knob, within in space.items():
        value = look_up(values, knob)
        if value is not ABSENT and holds(within.when, point):
            point[knob] = value
    return point


def require_possible(name: str, search: SearchSpec, stack: JobConfig) -> None:
    """Try every knob of a space at its ends, and every point that is tried first.

    Raises:
        SpecError: a knob is unknown, an end is out of its range, a condition can never hold, or a point is not in the
            space.
    """
    where: Where = ("searches", name, "space")
    for knob, within in search.space.items():
        around = _condition(search.space, knob, where)
        for value in _ends(within):
            trial_config(stack, around | {knob: value}, name, where)
    for index, point in enumerate(search.enqueue):
        at: Where = ("searches", name, "enqueue", f"[{index}]", "at")
        _require_inside(search.space, point.at, at)
        trial_config(stack, point.at, name, at)


def _condition(space: Mapping[str, Space], knob: str, where: Where) -> Change:
    """Return a setting of earlier knobs under which this one is searched."""
    setting: Change = {}
    earlier = list(space)[: list(space).index(knob)]
    for other, wanted in space[knob].when.items():
        here = (*where, knob, "when")
        if other not in earlier:
            hint = did_you_mean(other, earlier) if earlier else ""
            raise SpecError(f"a condition names a knob that stands earlier in the space, found `{other}`{hint}", here)
        for value in _listed(wanted):
            if not contains(space[other], value):
                raise SpecError(f"`{other}` is never {value} in this space, so `{knob}` would never be searched", here)
        setting |= _condition(space, other, where) | {other: _listed(wanted)[0]}
    return setting


def _ends(within: Space) -> Iterator[Value]:
    yield from within.choices if isinstance(within, CategoricalSpace) else (within.low, within.high)


def contains(within: Space, value: object) -> bool:
    """Say whether a value lies in the space of its knob, steps and all."""
    if isinstance(within, CategoricalSpace):
        return any(value == choice and type(value) is type(choice) for choice in within.choices)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(within, IntSpace) else int | float):
        return False
    steps = 0.0 if within.step is None else (value - within.low) / within.step
    return within.low <= value <= within.high and abs(steps - round(steps)) < 1e-9


def _require_inside(space: Mapping[str, Space], point: Change, where: Where) -> None:
    active = [knob for knob, within in space.items() if holds(within.when, point)]
    for knob in point:
        if knob not in active:
            hint = did_you_mean(knob, active) if knob not in space else "; its condition does not hold at this point"
            raise SpecError(f"`{knob}` is not searched here{hint}", (*where, knob))
    for knob in active:
        if knob not in point:
            raise SpecError(f"`{knob}` is missing; a point has a value for every knob that is searched there", where)
        if not contains(space[knob], point[knob]):
            raise SpecError(f"`{point[knob]!r}` is outside the space of `{knob}`", (*where, knob))
