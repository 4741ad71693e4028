"""Options that a script declares without argparse's calls: dataclasses, flags of absl, click, fire, globals. Pure."""

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orchestrator.scripts.options import Kind, Option, kind_of_value, longest_word
from orchestrator.scripts.syntax import (
    NotPlainError,
    call_name,
    calls,
    executed_file,
    keywords,
    plain_or_text,
    text_of,
    value_of,
)
from orchestrator.task.spelling import Flags, Form

_KINDS: dict[str, Kind] = {
    "bool": "true or false",
    "int": "integer",
    "float": "number",
    "str": "text",
    "list": "list",
    "List": "list",
    "tuple": "list",
    "Sequence": "list",
}
"""Name of a type -> the kind of its values."""
_ABSL: dict[str, tuple[Kind, Form | None]] = {
    "bool": ("true or false", None),
    "boolean": ("true or false", None),
    "integer": ("integer", None),
    "float": ("number", None),
    "string": ("text", None),
    "enum": ("text", None),
    "list": ("list", "comma"),
    "spaceseplist": ("text", None),
    "multi_string": ("list", "append"),
    "multi_integer": ("list", "append"),
    "multi_float": ("list", "append"),
    "multi_enum": ("list", "append"),
}
"""What follows `DEFINE_` -> the kind of the flag's values and how they are spelled; None for absl's own way."""


_WORKED_OUT = (ast.IfExp, ast.BinOp, ast.JoinedStr, ast.BoolOp, ast.Compare, ast.Subscript)
"""Expressions that may be a number, a boolean or a text."""
_DATACLASS_FORMS: dict[Kind, Form] = {"true or false": "text", "list": "nargs"}
"""How `HfArgumentParser` takes the fields of a dataclass."""
_CLICK_KINDS: dict[str, Kind] = {"intrange": "integer", "floatrange": "number"}


def dataclass_options(trees: Iterable[ast.AST], wanted: Callable[[str], bool] = lambda name: True) -> list[Option]:
    """Return the fields of dataclasses, as `HfArgumentParser` takes them.

    Args:
        trees: those of the script and of what it imports.
        wanted: whether a class of this name is taken.
    """
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    taken = [node for node in classes if _is_dataclass(node) and wanted(node.name)]
    return [_field(node) for one in taken for node in one.body if isinstance(node, ast.AnnAssign)]


def dataclasses_parsed(tree: ast.AST) -> tuple[str, ...]:
    """Return the names of the classes that `HfArgumentParser` is given."""
    made = [call for call in calls(tree) if call_name(call).rpartition(".")[2] in ("HfArgumentParser", "TrlParser")]
    nodes = [node for call in made for one in (*call.args, *keywords(call).values()) for node in ast.walk(one)]
    names = (call_name(node).rpartition(".")[2] for node in nodes if isinstance(node, ast.Name | ast.Attribute))
    return tuple(dict.fromkeys(names))


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(call_name(one).rpartition(".")[2] == "dataclass" for one in node.decorator_list)


def _field(node: ast.AnnAssign) -> Option:
    name = call_name(node.target)
    kind = _annotated(node.annotation)
    default, help_text, is_required = node.value, "", node.value is None
    if isinstance(node.value, ast.Call) and call_name(node.value).rpartition(".")[2] == "field":
        given = keywords(node.value)
        default = given.get("default")
        is_required = default is None and "default_factory" not in given
        help_text = _metadata_help(given.get("metadata"))
        # `default_factory=lambda: [1, 2]` is how a list becomes a default.
        if isinstance(factory := given.get("default_factory"), ast.Lambda):
            default = factory.body
    value, expression = plain_or_text(default)
    return Option(
        name=name,
        kind=kind,
        default=_as_kind(value, kind),
        expression=expression,
        form=_DATACLASS_FORMS.get(kind),
        help=help_text,
        is_required=is_required,
        choices=_literal_choices(node.annotation),
    )


def _metadata_help(node: ast.expr | None) -> str:
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next((text_of(value) for key, value in pairs if key is not None and text_of(key) == "help"), "")
    return ""


def _annotated(node: ast.expr | None) -> Kind:
    """Return the kind of a type: `Optional[int]`, `int | None`, `list[str]`."""
    match node:
        case ast.Subscript(value=value, slice=inner) if call_name(value).rpartition(".")[2] in ("Optional", "Final"):
            return _annotated(inner)
        case ast.Subscript(value=value):
            return _annotated(value)
        case ast.BinOp(left=left, right=ast.Constant(value=None)):
            return _annotated(left)
        case ast.Constant(value=str(text)):
            return _KINDS.get(text.removeprefix("Optional[").rstrip("]"), "text")
        case ast.expr():
            return _KINDS.get(call_name(node).rpartition(".")[2], "text")
    return "text"


def _literal_choices(node: ast.expr | None) -> tuple[Any, ...]:
    if isinstance(node, ast.Subscript) and call_name(node.value).rpartition(".")[2] == "Literal":
        found = _plain(node.slice)
        return tuple(found) if isinstance(found, list) else (found,)
    return ()


def _as_kind(value: Any, kind: Kind) -> Any:
    return float(value) if kind == "number" and type(value) is int else value


def _plain(node: ast.expr | None) -> Any:
    try:
        return value_of(node)
    except NotPlainError:
        return None


def _listed(node: ast.expr | None) -> tuple[Any, ...]:
    found = _plain(node)
    return tuple(found) if isinstance(found, list) else ()


def absl_options(tree: ast.AST) -> list[Option]:
    """Return the flags that `flags.DEFINE_...` declares."""
    found = []
    for call in calls(tree):
        _, marked, kind_name = call_name(call).rpartition("DEFINE_")
        if not marked or not call.args or not text_of(call.args[0]):
            continue
        kind, form = _ABSL.get(kind_name, ("text", None))
        default, expression = plain_or_text(_argument(call, 1, "default"))
        is_enum = kind_name in ("enum", "multi_enum")
        found.append(
            Option(
                name=text_of(call.args[0]),
                kind=kind,
                default=_as_kind(default, kind),
                expression=expression,
                form=form if form != "comma" else None,
                choices=_listed(_argument(call, 2, "enum_values")) if is_enum else (),
                help=text_of(_argument(call, 3 if is_enum else 2, "help")),
                problem="" if kind_name in _ABSL else f"it is a flag of kind `{kind_name}`",
            )
        )
    return found


def _argument(call: ast.Call, index: int, name: str) -> ast.expr | None:
    return call.args[index] if len(call.args) > index else keywords(call).get(name)


def click_options(tree: ast.AST) -> list[Option]:
    """Return the options that `@click.option` declares; those of functions come in the order of the lines."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    decorators = [one for node in functions for one in node.decorator_list if isinstance(one, ast.Call)]
    return [
        option
        for one in decorators
        if call_name(one).rpartition(".")[2] in ("option", "argument")
        if (option := _click_option(one)) is not None
    ]


def _click_option(call: ast.Call) -> Option | None:
    words = [text_of(one) for one in call.args if text_of(one)]
    flags = [word for word in words if word.startswith("-")]
    if not words:
        return None
    given = keywords(call)
    default, expression = plain_or_text(given.get("default"))
    is_positional = call_name(call).endswith("argument")
    word = words[0] if is_positional else longest_word(part for flag in flags for part in flag.split("/")[:1])
    kind, form = _click_shape(given, default, flags, word)
    choices = given.get("type")
    return Option(
        name=word.lstrip("-"),
        kind=kind,
        default=_as_kind(False if default is None and kind == "true or false" else default, kind),
        expression=expression,
        form=form,
        choices=_listed(choices.args[0]) if isinstance(choices, ast.Call) and _is_choice(choices) else (),
        help=text_of(given.get("help")),
        word="" if word.startswith("--") else word,
        aliases=tuple(flags) if form != "pair" and not isinstance(form, Flags) else (),
        is_positional=is_positional,
        is_required=_plain(given.get("required")) is True or (is_positional and default is None),
    )


def _is_choice(call: ast.Call) -> bool:
    return call_name(call).endswith("Choice") and bool(call.args)


def _click_shape(given: dict[str, ast.expr], default: Any, flags: list[str], word: str) -> tuple[Kind, Form | None]:
    # `--shout/--no-shout` are two options in one text.
    pair = next((flag.split("/") for flag in flags if "/" in flag), None)
    if pair:
        on, off = (one.strip() for one in pair)
        return "true or false", "pair" if off == f"--no-{on[2:]}" else Flags(if_true=on, if_false=off)
    if _plain(given.get("is_flag")) is True:
        return "true or false", "switch" if word.startswith("--") else Flags(if_true=word)
    if _plain(given.get("multiple")) is True:
        return "list", "append"
    if _plain(given.get("nargs")) not in (None, 1):
        return "list", "nargs"
    name = call_name(given["type"]).rpartition(".")[2].lower() if "type" in given else ""
    of_default = kind_of_value(default) if default is not None else "text"
    kind = _KINDS.get(name) or _CLICK_KINDS.get(name) or of_default
    return kind, "text" if kind == "true or false" else None


def fire_options(tree: ast.AST) -> list[Option]:
    """Return the arguments of the function, or of the class, that `fire.Fire` is given."""
    names = {call_name(one) for call in calls(tree) if call_name(call).endswith("Fire") for one in call.args[:1]}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            return list(_arguments(node.args))
        if isinstance(node, ast.ClassDef) and node.name in names:
            inits = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            return [option for one in inits for option in _arguments(one.args)]
    return []


def _arguments(arguments: ast.arguments) -> Iterator[Option]:
    # Defaults belong to the last arguments.
    plain = [*arguments.posonlyargs, *arguments.args]
    without = len(plain) - len(arguments.defaults)
    pairs: list[tuple[ast.arg, ast.expr | None]] = list(
        zip(plain, [*([None] * without), *arguments.defaults], strict=True)
    )
    for argument, default in [*pairs, *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]:
        if argument.arg in ("self", "cls"):
            continue
        value, expression = plain_or_text(default)
        kind = kind_of_value(value) if value is not None else _annotated(argument.annotation)
        yield Option(name=argument.arg, kind=kind, default=value, expression=expression, is_required=default is None)


def constants(tree: ast.Module) -> list[Option]:
    """Return the constants at a module's head, up to where a configurator overwrites them.

    Only numbers, booleans and texts count, as nanoGPT's configurator has it.
    """
    found: dict[str, Option] = {}
    known: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and executed_file(node.value):
            break
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        name = node.targets[0].id
        value, expression = plain_or_text(node.value, known)
        is_constant = isinstance(node.value, _WORKED_OUT) if expression else isinstance(value, int | float | str)
        if name.startswith("_") or not is_constant:
            continue
        if not expression:
            # `lr_decay_iters = max_iters` is worked out by what stands above it.
            known[name] = value
        found[name] = Option(name=name, kind=kind_of_value(value), default=value, expression=expression)
    return list(found.values())
