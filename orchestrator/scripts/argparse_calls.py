"""argparse's parser as the syntax tree shows it: the calls of `add_argument`, for each parser and subcommand. Pure."""

import ast
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from orchestrator.scripts.options import Action, longest_word
from orchestrator.scripts.syntax import (
    NotPlainError,
    call_name,
    calls,
    keywords,
    parser_calls,
    plain_or_text,
    text_of,
    value_of,
)

GROUPS = ("add_argument_group", "add_mutually_exclusive_group")
_SKIPPED = ("help", "version")
"""Actions that tell something and end the script."""


class Parsers(Struct, frozen=True, kw_only=True):
    """What a tree, or a run up to the parser, tells of argparse."""

    actions: tuple[Action, ...] = ()
    """Those of the parser with the most options."""
    subcommands: Mapping[str, tuple[Action, ...]] = {}
    loose: tuple[Action, ...] = ()
    """Those of functions that are given a parser by their caller."""
    num_parsers: int = 1
    num_computed: int = 0
    """Calls whose option is no literal text, as in a loop."""


def parsers_of(tree: ast.AST) -> Parsers:
    """Read the calls of `add_argument` in a tree."""
    owners = _owners(tree)
    subcommands: dict[str, list[Action]] = {name: [] for kind, name in owners.values() if kind == "subcommand"}
    parsers: dict[str, list[Action]] = {name: [] for kind, name in owners.values() if kind == "parser"}
    loose: list[Action] = []
    num_computed = 0
    for call in calls(tree):
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"):
            continue
        kind, name = owners.get(call_name(call.func.value), ("", ""))
        # Functions that add options to a parser that they are given belong to no variable that the tree knows.
        place = subcommands[name] if kind == "subcommand" else parsers[name] if kind == "parser" else loose
        action = _action_of(call)
        if action is None:
            num_computed += 1
        elif action.action not in _SKIPPED:
            place.append(action)
    largest = max(parsers.values(), key=len, default=[])
    return Parsers(
        actions=_defaults_set(tree, (*largest, *loose)),
        loose=tuple(loose),
        subcommands={name: tuple(actions) for name, actions in subcommands.items()},
        num_parsers=max(1, sum(bool(actions) for actions in parsers.values())),
        num_computed=num_computed,
    )


def _owners(tree: ast.AST) -> dict[str, tuple[str, str]]:
    """Return variable -> whether it holds a parser or a subcommand, and the name of that."""
    owners: dict[str, tuple[str, str]] = {}
    made = {id(call) for call in parser_calls(tree)}
    # In the order of the lines, so that a group is known after its parser.
    assigned = sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.withitem)),
        key=lambda node: getattr(node, "lineno", 0),
    )
    for node in assigned:
        value, target = _assignment(node)
        name = call_name(target) if target is not None else ""
        if not name or not isinstance(value, ast.Call):
            continue
        method = call_name(value).rpartition(".")
        if id(value) in made:
            owners[name] = ("parser", name)
        elif method[2] == "add_parser" and value.args:
            owners[name] = ("subcommand", text_of(value.args[0]))
        elif method[2] in GROUPS and method[0] in owners:
            owners[name] = owners[method[0]]
    return owners


def _assignment(node: ast.Assign | ast.withitem) -> tuple[ast.expr, ast.expr | None]:
    if isinstance(node, ast.Assign):
        return node.value, node.targets[0]
    return node.context_expr, node.optional_vars


def _action_of(call: ast.Call) -> Action | None:
    """Return what one call adds; None if its option is computed."""
    words = tuple(text_of(one) for one in call.args)
    given = keywords(call)
    if not words or not all(words):
        return None
    # `**shared` may hold anything, also the type.
    default, expression = plain_or_text(given.get("default"))
    flags = words if words[0].startswith("-") else ()
    # argparse itself derives the destination in this way.
    destination = text_of(given.get("dest")) or (longest_word(flags).lstrip("-").replace("-", "_") or words[0])
    nargs, choices = _plain(given.get("nargs")), _plain(given.get("choices"))
    return Action(
        destination=destination,
        words=flags,
        action=_kind_of(given.get("action")),
        type=_type_name(given.get("type")),
        default=default,
        expression=expression,
        choices=tuple(choices) if isinstance(choices, list) else (),
        nargs=nargs if isinstance(nargs, str | int) else None,
        required=_plain(given.get("required")) is True or (not flags and nargs not in ("?", "*")),
        help=text_of(given.get("help")),
    )


def _plain(node: ast.expr | None) -> Any:
    try:
        return value_of(node)
    except NotPlainError:
        return None


def _kind_of(node: ast.expr | None) -> str:
    if node is None:
        return "store"
    name = call_name(node).rpartition(".")[2]
    if name == "BooleanOptionalAction":
        return "boolean_optional"
    # A class of the script's own most often stores a value.
    return text_of(node) or "store"


def _type_name(node: ast.expr | None) -> str:
    if node is None:
        return ""
    return call_name(node).rpartition(".")[2] or "<lambda>"


def _defaults_set(tree: ast.AST, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Apply `parser.set_defaults(lr=0.1)`."""
    found: dict[str, ast.expr] = {}
    for call in calls(tree):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "set_defaults":
            found |= keywords(call)
    return tuple(
        _with_default(action, found[action.destination]) if action.destination in found else action
        for action in actions
    )


def _with_default(action: Action, node: ast.expr) -> Action:
    default, expression = plain_or_text(node)
    return structs.replace(action, default=default, expression=expression)
