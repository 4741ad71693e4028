"""The space of a search: its knobs and conditions, and the configuration of a point. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.configs import ABSENT, Configs, look_up
from orchestrator.campaign.fields import Where
from orchestrator.campaign.search_spec import CategoricalSpace, IntSpace, SearchSpec, Space
from orchestrator.errors import SpecError
from orchestrator.task.ask import Answer
from orchestrator.task.knobs import Change
from orchestrator.wording import did_you_mean

Value = str | int | float | bool | None
DIGITS = 6
"""Significant digits of a suggested real number, so that a campaign file can state exactly what was trained."""


def suggest(space: Mapping[str, Space], ask: Callable[[str, Space], Value]) -> Change:
    """Return a point: the value of every knob whose condition is met, in the order of the space.

    Args:
        space: the knobs.
        ask: returns the value of a knob.
    """
    change: Change = {}
    for knob, within in space.items():
        if matches(within.when, change):
            change[knob] = _round(ask(knob, within))
    return change


def matches(when: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """Whether a condition is met: each of its knobs has the wanted value, or one of a list of values."""
    return all(knob in change and change[knob] in _as_list(wanted) for knob, wanted in when.items())


def _as_list(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _round(value: Value) -> Value:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def work_out_point(configs: Configs, stack: Arm, change: Mapping[str, Any], where: Where = ()) -> Answer:
    """Return what a task says of a point on the stack. The stack's own point gives the stack's configuration.

    Raises:
        SpecError: a knob is unknown or out of range, or the knobs do not go together.
    """
    moved = moved_knobs(stack.params, change)
    return configs.vary(stack.params, moved, where) if moved else Answer(params=stack.params, reads=stack.reads)


def moved_knobs(params: Mapping[str, Any], change: Mapping[str, Any]) -> Change:
    """Return the knobs of a point whose values differ from the stack's."""
    return {knob: value for knob, value in change.items() if look_up(params, knob) != value}


def default_point(space: Mapping[str, Space], params: Mapping[str, Any]) -> Change:
    """Return the stack's own point: its values of the knobs whose condition it meets."""
    point = Change()
    for knob, within in space.items():
        value = look_up(params, knob)
        if value is not ABSENT and matches(within.when, point):
            point[knob] = value
    return point


def require_possible(name: str, search: SearchSpec, stack: Arm, configs: Configs) -> None:
    """Check every knob of a space at both ends of its range, and every enqueued point, in one question to the task.

    Raises:
        SpecError: a knob is unknown, an end is out of range, a condition is never met, or a point is outside.
        DataError: the task gave no answer.
    """
    points = list(_points(name, search))
    moved = [(moved_knobs(stack.params, point), where) for point, where in points]
    # One question for all ends: each question starts a process.
    configs.ask(configs.change(stack.params, change, where) for change, where in moved if change)
    for point, where in points:
        work_out_point(configs, stack, point, where)


def _points(name: str, search: SearchSpec) -> Iterator[tuple[Change, Where]]:
    """Yield the points to check, each with its path in the campaign file."""
    where: Where = ("searches", name, "space")
    for knob, within in search.space.items():
        around = _condition(search.space, knob, where)
        for value in _ends(within):
            yield around | {knob: value}, where
    for index, point in enumerate(search.enqueue):
        at: Where = ("searches", name, "enqueue", f"[{index}]", "at")
        _require_inside(search.space, point.at, at)
        yield point.at, at


def _condition(space: Mapping[str, Space], knob: str, where: Where) -> Change:
    """Return values of earlier knobs that meet the condition of a knob."""
    setting: Change = {}
    earlier = list(space)[: list(space).index(knob)]
    for other, wanted in space[knob].when.items():
        here = (*where, knob, "when")
        if other not in earlier:
            hint = did_you_mean(other, earlier) if earlier else ""
            raise SpecError(f"a condition names a knob that stands earlier in the space, found `{other}`{hint}", here)
        for value in _as_list(wanted):
            if not contains(space[other], value):
                raise SpecError(f"`{other}` is never {value} in this space, so `{knob}` would never be searched", here)
        setting |= _condition(space, other, where) | {other: _as_list(wanted)[0]}
    return setting


def _ends(within: Space) -> Iterator[Value]:
    yield from within.choices if isinstance(within, CategoricalSpace) else (within.low, within.high)


def contains(within: Space, value: object) -> bool:
    """Whether a value lies in the space of its knob, and on one of its steps."""
    if isinstance(within, CategoricalSpace):
        # To Python True equals 1, but a knob tells them apart.
        return any(value == choice and type(value) is type(choice) for choice in within.choices)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(within, IntSpace) else int | float):
        return False
    # A step such as 0.1 has no exact binary form: 3 * 0.1 is 0.30000000000000004, and 0.3 must count as the third step.
    steps = 0.0 if within.step is None else (value - within.low) / within.step
    return within.low <= value <= within.high and abs(steps - round(steps)) < 1e-9


def _require_inside(space: Mapping[str, Space], point: Change, where: Where) -> None:
    active = [knob for knob, within in space.items() if matches(within.when, point)]
    for knob in point:
        if knob not in active:
            hint = did_you_mean(knob, active) if knob not in space else "; its condition does not hold at this point"
            raise SpecError(f"`{knob}` is not searched here{hint}", (*where, knob))
    for knob in active:
        if knob not in point:
            raise SpecError(f"`{knob}` is missing; a point has a value for every knob that is searched there", where)
        if not contains(space[knob], point[knob]):
            raise SpecError(f"`{point[knob]!r}` is outside the space of `{knob}`", (*where, knob))
