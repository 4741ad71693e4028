"""A metric of items is an aggregate of expressions of columns."""

import numpy as np
import pytest

from orchestrator.stats.aggregates import AggregateError
from orchestrator.stats.columns import ColumnError
from orchestrator.stats.measure import ItemMeasure

COLUMNS = {"x": np.array([1.0, 4.0, 4.0]), "y": np.array([0.0, 0.0, 3.0])}


def test_aggregate_takes_its_expressions() -> None:
    measure = ItemMeasure("ratio", ["abs(x - y)", "x"])
    assert measure(COLUMNS).value == pytest.approx(6 / 9)
    assert measure.columns == ("x", "y")
    np.testing.assert_allclose(measure.item_numbers(COLUMNS), [1.0, 4.0, 1.0])


def test_quantile_takes_its_share() -> None:
    assert ItemMeasure("quantile", ["x"], 0.5)(COLUMNS).value == 4.0


def test_logarithm_is_that_of_the_value() -> None:
    assert ItemMeasure("mean", ["x"]).logarithm(COLUMNS).value == pytest.approx(np.log(3.0))
    with pytest.raises(AggregateError, match="values above 0"):
        ItemMeasure("mean", ["x - 4"]).logarithm(COLUMNS)


def test_what_is_no_expression_is_refused_before_any_run_is_read() -> None:
    with pytest.raises(ColumnError, match="is no expression"):
        ItemMeasure("mean", ["x +"])
