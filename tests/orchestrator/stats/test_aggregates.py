"""Aggregates against numpy, scikit-learn's definitions and the jackknife; influence values against little changes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from orchestrator.stats.aggregates import (
    AGGREGATES,
    Aggregate,
    AggregateError,
    auc,
    by_cluster,
    logarithm,
    mean,
    median,
    quantile,
    r2,
    ratio,
    rmse,
)

Floats = NDArray[np.float64]
RNG = np.random.default_rng(0)
TRUE_B, ERROR_B = RNG.normal(size=60), RNG.normal(scale=0.5, size=60)
SMOOTH: dict[str, Callable[[Floats], Aggregate]] = {
    "mean": lambda x_BC: mean(x_BC[:, 1]),
    "ratio": lambda x_BC: ratio(np.abs(x_BC[:, 1]), 2.0 + np.abs(x_BC[:, 0])),
    "rmse": lambda x_BC: rmse(x_BC[:, 1]),
    "r2": lambda x_BC: r2(x_BC[:, 0], x_BC[:, 0] + x_BC[:, 1]),
    "auc": lambda x_BC: auc(x_BC[:, 0] + x_BC[:, 1], (x_BC[:, 0] > 0).astype(float)),
    "log of rmse": lambda x_BC: logarithm(rmse(x_BC[:, 1])),
}


def items() -> Floats:
    return np.column_stack([TRUE_B, ERROR_B])


def test_values_are_those_of_the_textbook() -> None:
    x_B, n_B = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 5.0])
    assert mean(x_B).value == 3.0
    assert ratio(x_B, n_B).value == 1.0
    assert rmse(np.array([3.0, 4.0, 0.0, 0.0])).value == 2.5
    assert r2(np.array([0.0, 2.0]), np.array([0.0, 1.0])).value == 0.5
    assert median(x_B).value == 2.0
    assert quantile(np.arange(11.0), 0.9).value == 9.0
    # Of the four pairs one is tied and counts half; two are in order.
    assert auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 1.0, 0.0, 1.0])).value == 0.875


def test_a_perfect_and_a_useless_order_have_an_auc_of_one_and_a_half() -> None:
    label_B = np.array([0.0, 0.0, 1.0, 1.0])
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), label_B).value == 1.0
    assert auc(np.array([4.0, 3.0, 2.0, 1.0]), label_B).value == 0.0
    assert auc(np.ones(4), label_B).value == 0.5


@pytest.mark.parametrize("name", SMOOTH)
def test_influence_is_the_slope_of_the_value_as_an_item_gains_weight(name: str) -> None:
    # A weight is a number of copies: 200 copies of every item, and one more of one item.
    copies, of = 200, SMOOTH[name]
    x_BC = items()
    whole = of(np.repeat(x_BC, copies, axis=0))
    expected = of(x_BC)
    assert math.isclose(whole.value, expected.value, rel_tol=1e-9)
    for item in (0, 7, 31):
        more = of(np.vstack([np.repeat(x_BC, copies, axis=0), x_BC[item]]))
        slope = (more.value - whole.value) * (copies * len(x_BC) + 1)
        assert math.isclose(slope, expected.influence_B[item], rel_tol=0.02, abs_tol=1e-3)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_variance_of_influence_is_that_of_the_jackknife(name: str) -> None:
    x_BC, of = items(), SMOOTH[name]
    size = len(x_BC)
    without_B = np.array([of(np.delete(x_BC, item, axis=0)).value for item in range(size)])
    jackknife = (size - 1) / size * ((without_B - without_B.mean()) ** 2).sum()
    ours = of(x_BC).influence_B.var(ddof=1) / size
    assert math.isclose(ours, jackknife, rel_tol=0.12)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_variance_of_a_quantile_is_that_of_many_samples(share: float) -> None:
    rng = np.random.default_rng(1)
    found = [quantile(rng.normal(size=400), share) for _ in range(400)]
    spread = float(np.var([aggregate.value for aggregate in found]))
    told = float(np.mean([aggregate.influence_B.var(ddof=1) / 400 for aggregate in found]))
    assert math.isclose(told, spread, rel_tol=0.25)


finite = st.floats(-1e3, 1e3).map(lambda number: round(number, 6))


@settings(deadline=None, max_examples=60)
@given(x_B=arrays(np.float64, st.integers(1, 30), elements=finite), share=st.floats(0.01, 0.99), data=st.data())
def test_the_mean_of_item_values_is_the_aggregate_also_by_cluster(
    x_B: Floats, share: float, data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from("abc"), min_size=len(x_B), max_size=len(x_B)))
    cluster_B = np.array(names)
    for aggregate in (mean(x_B), rmse(x_B), quantile(x_B, share), ratio(x_B, np.ones_like(x_B))):
        names_G, value_G = by_cluster(aggregate, cluster_B)
        scale = 1e-9 * (1 + np.abs(aggregate.influence_B).max())
        assert abs(aggregate.item_values.mean() - aggregate.value) < scale
        assert abs(value_G.mean() - aggregate.value) < scale
        assert names_G.tolist() == sorted(set(names))


def test_a_cluster_has_the_sum_of_its_items_influence() -> None:
    names_G, value_G = by_cluster(mean(np.array([0.0, 0.0, 6.0])), np.array(["b", "b", "a"]))
    assert names_G.tolist() == ["a", "b"]
    np.testing.assert_allclose(value_G, [2.0 + 4.0 * 2 / 3, 2.0 - 4.0 * 2 / 3])


def test_items_without_error_or_spread_have_no_influence() -> None:
    for aggregate in (rmse(np.zeros(3)), median(np.full(4, 2.0)), quantile(np.full(4, 2.0), 0.9)):
        assert not aggregate.influence_B.any()


@pytest.mark.parametrize(
    ("aggregate", "sentence"),
    [
        (lambda: mean(np.array([])), "there are no items; at least one is needed"),
        (lambda: ratio(np.ones(2), np.zeros(2)), "the column to divide by sums to 0; it must sum to a number above 0"),
        (lambda: ratio(np.ones(2), np.ones(3)), "columns have 2 and 3 items; they must be as long"),
        (
            lambda: r2(np.ones(3), np.ones(3)),
            "all true values are equal, so R2 has nothing to explain; choose another aggregate",
        ),
        (lambda: quantile(np.ones(3), 1.0), "the quantile is 1; it must lie between 0 and 1, such as 0.9"),
        (lambda: auc(np.ones(2), np.array([0.0, 2.0])), "the label column holds 2; labels must be 0 or 1"),
        (lambda: auc(np.ones(2), np.ones(2)), "every label is 1; the AUC needs items of both labels"),
        (
            lambda: logarithm(mean(np.array([-1.0]))),
            "the value is -1; a comparison in per cent needs values above 0",
        ),
    ],
)
def test_items_without_such_an_aggregate_are_refused(aggregate: Callable[[], Aggregate], sentence: str) -> None:
    with pytest.raises(AggregateError) as caught:
        aggregate()
    assert str(caught.value) == sentence


def test_each_name_has_its_function_and_its_number_of_columns() -> None:
    columns = (np.array([0.3, 0.1, 0.7]), np.array([0.0, 1.0, 1.0]))
    for name, (num_columns, function) in AGGREGATES.items():
        share = (0.5,) if name == "quantile" else ()
        assert math.isfinite(function(*columns[:num_columns], *share).value)
