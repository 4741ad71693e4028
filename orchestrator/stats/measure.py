"""A metric of items as a function: expressions of columns, an aggregate, and its logarithm where ratios count. Pure.

Example: the median of `norm(x - x_true, y - y_true)` takes four columns of an item table.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.aggregates import AGGREGATES, Aggregate, logarithm
from orchestrator.stats.columns import Expression

Floats = NDArray[np.float64]


class ItemMeasure:
    """Computes one metric from the columns of a run's items."""

    def __init__(self, aggregate: str, columns: Sequence[str], share: float | None = None) -> None:
        """Parse the expressions.

        Args:
            aggregate: its name in `AGGREGATES`.
            columns: an expression for each column that the aggregate takes.
            share: of a quantile, from 0 to 1; None for any other aggregate.

        Raises:
            ColumnError: an expression is none.
        """
        _, self._function = AGGREGATES[aggregate]
        self._expressions = tuple(Expression(text) for text in columns)
        self._shares = () if share is None else (share,)
        self.columns = tuple(dict.fromkeys(name for each in self._expressions for name in each.columns))
        """The columns that it reads."""

    def __call__(self, columns: Mapping[str, Floats]) -> Aggregate:
        """Return the metric with the influence of each item.

        Raises:
            ColumnError: a column is missing, or an item has no finite number.
            AggregateError: the items have no such aggregate.
        """
        return self._function(*(each(columns) for each in self._expressions), *self._shares)

    def logarithm(self, columns: Mapping[str, Floats]) -> Aggregate:
        """Return the logarithm of the metric, so that differences compare by ratio; errors as for a call."""
        return logarithm(self(columns))

    def item_numbers(self, columns: Mapping[str, Floats]) -> Floats:
        """Return the first expression for each item [B]."""
        return self._expressions[0](columns)
