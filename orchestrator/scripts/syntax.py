"""A script's syntax tree: which framework it uses, what its calls are, and the values of its literals. Pure."""

import ast
import operator as operators
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

Framework = Literal["hydra", "lightning", "jsonargparse", "hf", "argparse", "absl", "click", "fire", "globals", "none"]
"""How a script takes its parameters; `globals` are constants that a configurator overwrites."""
MAX_POWER = 64
"""Largest exponent that is worked out."""


class NotPlainError(Exception):
    """An expression has no value that the tree alone tells."""


def call_name(node: ast.expr) -> str:
    """Return the dotted name that is called or used as a decorator: `hydra.main`; empty where it has none."""
    if isinstance(node, ast.Call):
        return call_name(node.func)
    if isinstance(node, ast.Attribute):
        return f"{call_name(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of a tree in the order of the lines."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


def keywords(call: ast.Call) -> dict[str, ast.expr]:
    """Return the named arguments of a call."""
    return {one.arg: one.value for one in call.keywords if one.arg}


def value_of(node: ast.expr | None, known: Mapping[str, Any] | None = None) -> Any:
    """Work out an expression of literals, arithmetic and known names.

    Raises:
        NotPlainError: it is none.
    """
    match node:
        case None | ast.Constant(value=None):
            return None
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.Name(id=name) if known and name in known:
            return known[name]
        # A campaign file knows lists alone.
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value_of(item, known) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, known)
        case ast.BinOp(left=left, op=operator, right=right):
            return _arithmetic(_number(left, known), operator, _number(right, known))
    raise NotPlainError


def _number(node: ast.expr, known: Mapping[str, Any] | None) -> int | float:
    value = value_of(node, known)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise NotPlainError


def _arithmetic(left: int | float, operator: ast.operator, right: int | float) -> Any:
    # `9 ** 9 ** 9` would take for ever.
    if isinstance(operator, ast.Pow) and not (abs(right) <= MAX_POWER and abs(left) <= 2**MAX_POWER):
        raise NotPlainError
    try:
        return _OPERATORS[type(operator)](left, right)
    except (KeyError, ArithmeticError):
        raise NotPlainError from None


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operators.add,
    ast.Sub: operators.sub,
    ast.Mult: operators.mul,
    ast.Div: operators.truediv,
    ast.FloorDiv: operators.floordiv,
    ast.Pow: operators.pow,
}


def plain_or_text(node: ast.expr | None, known: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """Return the value of an expression and an empty text, or None and the expression as it is written."""
    try:
        return value_of(node, known), ""
    except NotPlainError:
        assert node is not None
        return None, ast.unparse(node)


def text_of(node: ast.expr | None) -> str:
    """Return a text that the tree tells; empty for everything else. Texts that stand side by side are joined."""
    match node:
        case ast.Constant(value=str(text)):
            return " ".join(text.split())
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{text_of(left)} {text_of(right)}".strip()
    return ""


def framework_of(tree: ast.AST) -> Framework:
    """Return how a script takes its parameters, by its own tree."""
    uses = _Uses(tree)
    return next((name for name, is_used in _FRAMEWORKS.items() if is_used(uses)), "none")


class _Uses:
    """What a tree calls, decorates with and imports."""

    def __init__(self, tree: ast.AST) -> None:
        self.tree = tree
        self.called = {call_name(node).rpartition(".")[2] for node in calls(tree)}
        self.decorators = {call_name(one) for node in ast.walk(tree) for one in getattr(node, "decorator_list", ())}
        self.modules = imported_names(tree)


_FRAMEWORKS: dict[Framework, Callable[[_Uses], bool]] = {
    "hydra": lambda uses: "hydra" in uses.modules and bool(uses.decorators & {"hydra.main", "main"}),
    "lightning": lambda uses: any(name.endswith("LightningCLI") for name in uses.called),
    "jsonargparse": lambda uses: "jsonargparse" in uses.modules,
    "hf": lambda uses: bool(uses.called & {"HfArgumentParser", "TrlParser"}),
    "absl": lambda uses: "absl" in uses.modules and any(name.startswith("DEFINE_") for name in uses.called),
    "click": lambda uses: "click" in uses.modules and any("option" in name for name in uses.decorators),
    "fire": lambda uses: "fire" in uses.modules and "Fire" in uses.called,
    "argparse": lambda uses: "add_argument" in uses.called,
    "globals": lambda uses: any(executed_file(call) for call in calls(uses.tree)),
}
"""Framework -> whether a tree uses it; the first that is used counts."""


def imported_names(tree: ast.AST) -> set[str]:
    """Return the first parts of all modules that a tree imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def executed_file(call: ast.Call) -> str:
    """Return the file that `exec(open("configurator.py").read())` runs; empty for other calls."""
    if call_name(call) != "exec" or not call.args:
        return ""
    opened = [node for node in calls(call.args[0]) if call_name(node) in ("open", "Path") and node.args]
    return next((text for node in opened if (text := text_of(node.args[0]))), "")


def parser_calls(tree: ast.AST) -> list[ast.Call]:
    """Return the calls that make a parser of argparse, or one of its kind."""
    return [call for call in calls(tree) if call_name(call).rpartition(".")[2].endswith("ArgumentParser")]
