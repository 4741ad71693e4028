"""Expressions over columns compute what they say, and nothing else is run."""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.columns import ColumnError, Expression

COLUMNS = {"x": np.array([1.0, -2.0]), "x_true": np.array([4.0, -2.0]), "y": np.array([4.0, 1.0])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", [1.0, -2.0]),
        ("abs(x - x_true)", [3.0, 0.0]),
        ("norm(x - x_true, y)", [5.0, 1.0]),
        ("norm(y)", [4.0, 1.0]),
        ("x == x_true", [0.0, 1.0]),
        ("-x / 2 + 1", [0.5, 2.0]),
        ("log(y) * 3", [3 * math.log(4), 0.0]),
        ("1", [1.0, 1.0]),
        (" +x ", [1.0, -2.0]),
        ("(x + y) * (x - y)", [-15.0, 3.0]),
    ],
)
def test_an_expression_is_computed_item_by_item(text: str, expected: list[float]) -> None:
    np.testing.assert_allclose(Expression(text)(COLUMNS), expected)


def test_an_expression_names_its_columns_once_in_their_order() -> None:
    assert Expression("norm(y - x, x - y) + 2").columns == ("y", "x")


WANTED = "wanted are columns, numbers, + - * / ==, abs(), log() and norm()"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f"`` is no expression; {WANTED}"),
        ("x +", f"`x +` is no expression; {WANTED}"),
        ("x ** 2", f"`x ** 2` holds `x ** 2`; {WANTED}"),
        ("__import__('os').getcwd()", f"`__import__('os').getcwd()` holds `__import__('os').getcwd()`; {WANTED}"),
        ("exp(x)", f"`exp(x)` holds `exp(x)`; {WANTED}"),
        ("x.real", f"`x.real` holds `x.real`; {WANTED}"),
        ("x[0]", f"`x[0]` holds `x[0]`; {WANTED}"),
        ("x if y else 1", f"`x if y else 1` holds `x if y else 1`; {WANTED}"),
        ("True + x", f"`True + x` holds `True`; {WANTED}"),
        ("'x'", f"`'x'` holds `'x'`; {WANTED}"),
        ("x < y", f"`x < y` holds `x < y`; {WANTED}"),
        ("x == y == x", f"`x == y == x` holds `x == y == x`; {WANTED}"),
        ("abs(x, y)", "`abs(x, y)` gives abs() 2 columns; it takes one"),
        ("norm()", "`norm()` gives norm() 0 columns; it takes one or more"),
        ("x" * 401, "the expression has 401 letters; at most 400 are read"),
    ],
)
def test_anything_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ColumnError) as caught:
        Expression(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("z + x", "`z + x` names the column `z`; there are x, x_true, y"),
        ("log(x)", "`log(x)` is nan at item 2; every item needs a finite number"),
        ("1 / (y - 1)", "`1 / (y - 1)` is inf at item 2; every item needs a finite number"),
    ],
)
def test_items_without_a_value_are_told(text: str, sentence: str) -> None:
    with pytest.raises(ColumnError) as caught:
        Expression(text)(COLUMNS)
    assert str(caught.value) == sentence


def test_an_expression_as_deep_as_its_letters_allow_is_computed() -> None:
    assert Expression("-" * 398 + "x")(COLUMNS).tolist() == [1.0, -2.0]
    assert Expression("(" * 150 + "x" + ")" * 150)(COLUMNS).tolist() == [1.0, -2.0]


@given(st.text(alphabet="xy01+-*/=() .,normabslg", max_size=40))
def test_a_text_has_a_number_an_item_or_is_refused(text: str) -> None:
    with contextlib.suppress(ColumnError):
        assert Expression(text)(COLUMNS).shape == (2,)
