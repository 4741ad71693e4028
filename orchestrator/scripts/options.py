"""What a script can be told, as values: argparse's actions and the options that they make. Pure."""

import re
from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct, structs

from orchestrator.task.spelling import Flags, Form

Kind = Literal["true or false", "integer", "number", "text", "list"]
"""What values an option takes."""
FIXED = "it cannot be turned off"
"""Why a `store_true` whose default is True is no parameter."""


class Option(Struct, frozen=True, kw_only=True):
    """One thing that a script can be told."""

    name: str
    """What follows the dashes, or the dotted key of a configuration."""
    kind: Kind = "text"
    default: Any = None
    """A plain value; the default, or what the usual arguments say."""
    expression: str = ""
    """The default as the script writes it, where no plain value is known."""
    form: Form | None = None
    choices: tuple[Any, ...] = ()
    help: str = ""
    word: str = ""
    """The option itself where it has no double dash: `-b`."""
    aliases: tuple[str, ...] = ()
    """All ways to write it; empty where its name and its form tell them."""
    is_positional: bool = False
    is_required: bool = False
    is_guess: bool = False
    """Whether form or type is a guess."""
    problem: str = ""
    """Why it cannot be a parameter; empty if it can."""


class Action(Struct, frozen=True, kw_only=True):
    """One call of argparse's `add_argument`, from the tree or from the parser itself."""

    destination: str
    words: tuple[str, ...] = ()
    """As it is written, `--lr` and `-l`; empty for a positional argument."""
    action: str = "store"
    type: str = ""
    """The name of its `type`; empty for none."""
    default: Any = None
    expression: str = ""
    choices: tuple[Any, ...] = ()
    nargs: str | int | None = None
    required: bool = False
    help: str = ""


_SWITCHES = ("store_true", "store_false")
_LISTS = ("append", "extend")
_LIST_NARGS = re.compile(r"[+*]|\d+")


def options_of(actions: Iterable[Action]) -> tuple[Option, ...]:
    """Return the options that argparse's actions make; actions that share a destination are one option."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        groups.setdefault(action.destination, []).append(action)
    return tuple(_option_of(group) for group in groups.values())


def _option_of(group: list[Action]) -> Option:
    values = [action for action in group if action.action not in _SWITCHES]
    if not values:
        return _switch(group)
    option = _value(values[0], tuple(word for one in values for word in one.words))
    # `--x VALUE` beside `--no_x`: the first one alone can say both.
    return option if option.problem or values[0] is group[0] else structs.replace(option, default=group[0].default)


def _switch(group: list[Action]) -> Option:
    first = group[0]
    # The first action of a kind is the one that `--help` shows first.
    words = {action.action: longest_word(action.words) for action in reversed(group)}
    on, off = words.get("store_true", ""), words.get("store_false", "")
    default = first.default if isinstance(first.default, bool) else first.action == "store_false"
    made = Option(
        name=first.destination, kind="true or false", default=default, expression=first.expression, help=first.help
    )
    if on and off:
        is_pair = on == f"--{on[2:]}" and off == f"--no-{on[2:]}"
        form: Form = "pair" if is_pair else Flags(if_true=on, if_false=off)
        return structs.replace(made, name=on[2:] if is_pair else made.name, form=form)
    # One flag alone can only move the value away from its default.
    if default is bool(on):
        return structs.replace(made, problem=FIXED if on else "it cannot be turned on")
    if on.startswith("--"):
        return structs.replace(made, name=on[2:], form="switch")
    return structs.replace(made, form=Flags(if_true=on, if_false=off))


def longest_word(words: Iterable[str]) -> str:
    """Return the longest way to write an option, with two dashes if one has them; empty for a positional."""
    return max(tuple(words), key=lambda word: (word.startswith("--"), len(word)), default="")


def _value(action: Action, aliases: tuple[str, ...]) -> Option:
    # `BooleanOptionalAction` adds `--no-x` to `--x` by itself.
    is_pair = action.action == "boolean_optional"
    word = longest_word(one for one in action.words if not (is_pair and one.startswith("--no-")))
    kind, form, is_guess = _shape(action)
    option = Option(
        name=word.lstrip("-") or action.destination,
        kind=kind,
        default=_fit(action.default, action, kind),
        expression=action.expression,
        form=form,
        choices=action.choices,
        help=action.help.replace("%%", "%"),
        word="" if word.startswith("--") else word,
        aliases=aliases,
        is_positional=not action.words,
        is_required=action.required and action.default is None and not action.expression,
        is_guess=is_guess,
    )
    if action.action not in ("store", "boolean_optional", *_LISTS):
        return structs.replace(option, problem=f"its action is `{action.action}`, which takes no value")
    if option.word and kind in ("list", "true or false"):
        return structs.replace(option, problem="a list or a boolean needs an option with two dashes")
    return option


def _shape(action: Action) -> tuple[Kind, Form | None, bool]:
    """Return what values an action takes, how they are spelled, and whether that is a guess."""
    if action.action == "boolean_optional":
        return "true or false", "pair", False
    if action.action in _LISTS:
        return "list", "nargs" if action.nargs and action.action == "extend" else "append", False
    if _LIST_NARGS.fullmatch(str(action.nargs)):
        return "list", "nargs", False
    if isinstance(action.default, list):
        return "list", "comma", True
    return _boolean_shape(action) or (_scalar(action), None, False)


def _boolean_shape(action: Action) -> tuple[Kind, Form | None, bool] | None:
    if action.type == "bool":
        return "true or false", "type_bool", False
    if "bool" in action.type.lower():
        return "true or false", "text", False
    if isinstance(action.default, bool):
        # Without a type, argparse hands the text over, and every text but the empty one counts as true.
        return "true or false", "text" if action.type else "type_bool", True
    return None


def _scalar(action: Action) -> Kind:
    if action.type in ("int", "float"):
        return "integer" if action.type == "int" else "number"
    if isinstance(action.default, int | float) and action.type not in ("", "str"):
        return kind_of_value(action.default)
    return "text"


def kind_of_value(value: Any) -> Kind:
    """Return the kind of a plain value."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) else "number"
    return "list" if isinstance(value, list | tuple) else "text"


def _fit(default: Any, action: Action, kind: Kind) -> Any:
    """Return a default as argparse would hand it over: it converts texts, and a whole number counts as a float."""
    if isinstance(default, list):
        return [_fit_one(one, action.type) for one in default]
    if kind == "list" and isinstance(default, str):
        return [_fit_one(default, action.type)]
    return _fit_one(default, action.type)


def _fit_one(value: Any, type_name: str) -> Any:
    convert = {"int": int, "float": float}.get(type_name)
    if convert is None or value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        # `type=int` with the default 0.5 hands 0.5 over: only texts are converted.
        return convert(value) if isinstance(value, str) or type_name == "float" else value
    except ValueError:
        return value
