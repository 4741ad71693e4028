"""Arithmetic on the columns of an item table, such as `norm(x - x_true, y - y_true)`. Pure.

The text is parsed into a tree, and only the operations of this page are computed. It is never run as Python.
"""

import ast
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Formula = Callable[[Mapping[str, Floats]], Floats]
"""Columns by name, each [B] -> numbers [B], or one number for all items."""

MAX_LETTERS = 400
"""Longest text of an expression; it bounds how deep one can lie in another."""
OPERATORS: dict[type[ast.AST], Callable[..., Floats]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Eq: np.equal,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
}
FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "abs": np.abs,
    "log": np.log,
    "norm": lambda *columns: np.sqrt(sum(column**2 for column in columns)),
}
"""Name -> function of columns. `norm` takes any number of columns, the others take one."""
WANTED = "columns, numbers, + - * / ==, abs(), log() and norm()"


class ColumnError(ValueError):
    """An expression that is not one, or that items have no value for; the text is a sentence for the user."""


class Expression:
    """An expression over columns, parsed once."""

    def __init__(self, text: str) -> None:
        """Parse an expression.

        Raises:
            ColumnError: it holds anything but columns, numbers and the operations of this page.
        """
        self.text = text
        if len(text) > MAX_LETTERS:
            raise ColumnError(f"the expression has {len(text)} letters; at most {MAX_LETTERS} are read")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ColumnError(f"`{text}` is no expression; wanted are {WANTED}") from None
        named: list[str] = []
        self._formula = _build(tree, text, named)
        self.columns = tuple(dict.fromkeys(named))
        """The columns that it names, in their order."""

    def __call__(self, columns: Mapping[str, Floats]) -> Floats:
        """Compute one number an item [B].

        Raises:
            ColumnError: a column is missing, or the result of an item is not finite.
        """
        for name in self.columns:
            if name not in columns:
                raise ColumnError(f"`{self.text}` names the column `{name}`; there are {', '.join(sorted(columns))}")
        size = len(next(iter(columns.values())))
        # A division by zero is told below, with its item. So numpy's own warning is left out.
        with np.errstate(all="ignore"):
            value_B = np.broadcast_to(self._formula(columns), (size,)).astype(np.float64)
        if not (is_finite_B := np.isfinite(value_B)).all():
            item = int(np.flatnonzero(~is_finite_B)[0])
            raise ColumnError(f"`{self.text}` is {value_B[item]} at item {item + 1}; every item needs a finite number")
        return value_B


def _build(node: ast.expr, text: str, named: list[str]) -> Formula:
    """Return the formula of a tree, and add the columns that it names; refuse every other kind of node."""
    match node:
        case ast.Name(id=name):
            named.append(name)
            return lambda columns: columns[name]
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return lambda _: np.array(float(number))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return _apply(OPERATORS[type(op)], [_build(operand, text, named)])
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]) if (
            type(op) in OPERATORS
        ):
            return _apply(OPERATORS[type(op)], [_build(side, text, named) for side in (left, right)])
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            _require_number(name, len(arguments), text)
            return _apply(FUNCTIONS[name], [_build(argument, text, named) for argument in arguments])
    raise ColumnError(f"`{text}` holds `{ast.unparse(node)}`; wanted are {WANTED}")


def _apply(operation: Callable[..., Floats], parts: Sequence[Formula]) -> Formula:
    # As numbers: a comparison gives 0 and 1, which can be added.
    return lambda columns: operation(*(part(columns) for part in parts)).astype(np.float64)


def _require_number(name: str, count: int, text: str) -> None:
    if count != 1 and (name != "norm" or count == 0):
        takes = "one or more" if name == "norm" else "one"
        raise ColumnError(f"`{text}` gives {name}() {count} columns; it takes {takes}")
