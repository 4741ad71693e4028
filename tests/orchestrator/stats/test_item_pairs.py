"""Runs are compared on the items that all have; with clusters, cluster by cluster."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.errors import RunError
from orchestrator.stats.aggregates import Aggregate, mean, r2, rmse
from orchestrator.stats.estimate import estimate_delta
from orchestrator.stats.item_pairs import RunItems, item_noise, join_items, pair_items
from orchestrator.stats.spread import Spread
from orchestrator.stats.weights import SideVariances

Floats = NDArray[np.float64]
KEYS = ("a", "b", "c", "d")


def run(values: list[float], keys: tuple[str, ...] = KEYS, **groups: list[str]) -> RunItems:
    return RunItems(
        keys_B=np.array(keys),
        stratum_B=np.array(groups.get("strata", [""] * len(keys))),
        cluster_B=np.array(groups["clusters"]) if "clusters" in groups else None,
        columns={"error": np.array(values)},
    )


def without_clusters(side: Mapping[int, RunItems]) -> dict[int, RunItems]:
    return {seed: RunItems(of.keys_B, of.stratum_B, None, of.columns) for seed, of in side.items()}


def mean_error(columns: Mapping[str, Floats]) -> Aggregate:
    return mean(columns["error"])


def root_error(columns: Mapping[str, Floats]) -> Aggregate:
    return rmse(columns["error"])


def test_differences_are_those_of_the_metric_at_each_seed() -> None:
    better = {0: run([1.0, 1.0, 1.0, 1.0]), 1: run([2.0, 0.0, 2.0, 0.0])}
    worse = {0: run([2.0, 2.0, 2.0, 2.0]), 1: run([3.0, 3.0, 3.0, 3.0])}
    pairs = pair_items(better, worse, root_error)
    np.testing.assert_allclose(pairs.delta_points_by_seed, [1.0 - 2.0, 2**0.5 - 3.0])
    assert (pairs.seeds, pairs.num_items, pairs.scale) == ((0, 1), 4, 1.0)


def test_the_order_of_items_in_a_file_does_not_matter() -> None:
    one = {0: run([1.0, 2.0, 3.0, 4.0])}
    turned = {0: run([4.0, 3.0, 2.0, 1.0], keys=KEYS[::-1])}
    assert not pair_items(one, turned, mean_error).difference_SB.any()


def test_items_and_seeds_of_one_side_alone_are_dropped_and_counted() -> None:
    whole = {0: run([1.0, 2.0, 3.0, 4.0]), 1: run([1.0, 2.0, 3.0, 4.0])}
    part = {0: run([1.0, 2.0, 9.0], keys=("a", "b", "x"))}
    pairs = pair_items(whole, part, mean_error)
    assert (pairs.seeds, pairs.dropped_seeds, pairs.num_items, pairs.dropped_items) == ((0,), (1,), 2, 3)
    np.testing.assert_allclose(pairs.delta_points_by_seed, [0.0])


def test_runs_without_a_common_item_are_no_pair() -> None:
    pairs = pair_items({0: run([1.0], keys=("a",))}, {0: run([1.0], keys=("b",))}, mean_error)
    assert (pairs.num_seeds, pairs.num_items, pairs.dropped_seeds) == (0, 0, (0,))


def test_with_clusters_the_units_are_clusters_and_the_difference_is_the_same() -> None:
    clusters = ["t2", "t1", "t2", "t2"]
    sides = [{seed: run([1.0 + seed, 2.0, 3.0, 7.0 * side], clusters=clusters) for seed in (0, 1)} for side in (1, 2)]
    by_items = [
        {seed: RunItems(of.keys_B, of.stratum_B, None, of.columns) for seed, of in side.items()} for side in sides
    ]
    for measure in (mean_error, root_error):
        grouped, plain = pair_items(*sides, measure), pair_items(*by_items, measure)
        assert (grouped.num_items, plain.num_items) == (2, 4)
        np.testing.assert_allclose(grouped.delta_points_by_seed, plain.delta_points_by_seed)


def test_items_of_one_cluster_taken_as_independent_make_the_interval_too_narrow() -> None:
    rng = np.random.default_rng(0)
    clusters = [f"t{number // 10}" for number in range(200)]
    keys = tuple(f"i{number:03}" for number in range(200))
    shift_B = np.repeat(rng.normal(size=20), 10)
    sides: list[dict[int, RunItems]] = [
        {seed: run(list(side * shift_B + rng.normal(0, 0.1, 200)), keys, clusters=clusters) for seed in range(3)}
        for side in (0, 1)
    ]
    by_items = [
        {seed: RunItems(of.keys_B, of.stratum_B, None, of.columns) for seed, of in side.items()} for side in sides
    ]
    grouped, plain = (estimate_delta(pair_items(*of, mean_error), None) for of in (sides, by_items))
    assert grouped.item_error_points > 2.5 * plain.item_error_points


def test_strata_are_taken_from_items_or_from_their_clusters() -> None:
    strata = ["x", "y", "x", "x"]
    assert (
        pair_items(
            {0: run([0.0] * 4, strata=strata)}, {0: run([0.0] * 4, strata=strata)}, mean_error
        ).stratum_B.tolist()
        == strata
    )
    groups: dict[str, Any] = {"strata": strata, "clusters": ["t2", "t1", "t2", "t3"]}
    pairs = pair_items({0: run([0.0] * 4, **groups)}, {0: run([0.0] * 4, **groups)}, mean_error)
    assert pairs.stratum_B.tolist() == ["y", "x", "x"]


def test_equal_runs_differ_by_no_less_than_the_resolution() -> None:
    same = {0: run([1.0, 2.0, 3.0, 4.0]), 1: run([1.0, 2.0, 3.0, 5.0])}
    told = pair_items(same, same, mean_error, item_step=100.0)
    assert told.smallest_step == 25.0
    assert 0 < pair_items(same, same, mean_error).smallest_step < 1e-10
    zeros = {seed: run([0.0] * 4) for seed in (0, 1)}
    assert pair_items(zeros, zeros, mean_error).smallest_step > 0


@pytest.mark.parametrize(
    ("experiment", "reference", "sentence"),
    [
        (
            run([1.0, 2.0], keys=("a", "a")),
            run([1.0, 2.0], keys=("a", "b")),
            "a run holds item `a` more than once; train it again",
        ),
        (
            run([1.0] * 4, strata=["x"] * 4),
            run([1.0] * 4, strata=["x", "x", "y", "x"]),
            "runs disagree on the stratum of item `c`; they were scored on different data",
        ),
        (
            run([1.0] * 4, clusters=["t1"] * 4),
            run([1.0] * 4),
            "some runs name clusters and some do not; name `cluster` for all of them, or for none",
        ),
        (
            run([1.0] * 4, clusters=["t1"] * 4, strata=["x", "x", "x", "y"]),
            run([1.0] * 4, clusters=["t1"] * 4, strata=["x", "x", "x", "y"]),
            "cluster `t1` has items of several strata; a cluster must lie in one",
        ),
    ],
)
def test_items_that_do_not_fit_are_refused(experiment: RunItems, reference: RunItems, sentence: str) -> None:
    with pytest.raises(RunError) as caught:
        pair_items({0: experiment}, {0: reference}, mean_error)
    assert str(caught.value) == sentence


def test_items_without_such_a_metric_are_refused() -> None:
    with pytest.raises(RunError, match="all true values are equal"):
        pair_items({0: run([1.0] * 4)}, {0: run([1.0] * 4)}, lambda columns: r2(columns["error"], columns["error"]))


def test_both_sides_are_told_as_well_as_their_difference() -> None:
    joined = join_items({0: run([1.0, 1.0, 4.0, 4.0])}, {0: run([2.0, 2.0, 2.0, 2.0])}, root_error)
    assert joined.experiment[0].mean() == pytest.approx(8.5**0.5)
    assert joined.reference[0].mean() == pytest.approx(2.0)
    assert (joined.num_items, joined.has_clusters) == (4, False)


class TestNoise:
    """What items explain of one run's variance."""

    def test_is_the_spread_over_items_of_what_each_run_adds(self) -> None:
        # Beside its mean over both runs, an item has 0, 0.5, -0.5 and 0: a variance of 0.5 / 3, and 0.5 / 12 of a mean.
        found = item_noise({0: run([1.0, 1.0, 0.0, 0.0]), 1: run([1.0, 0.0, 1.0, 0.0])}, mean_error)
        assert found == pytest.approx(2 * 0.5 / 12)

    def test_what_a_run_does_to_all_items_alike_is_no_part_of_it(self) -> None:
        found = item_noise({0: run([1.0, 2.0, 0.0, 4.0]), 1: run([3.0, 4.0, 2.0, 6.0])}, mean_error)
        assert found == pytest.approx(0.0, abs=1e-12)

    def test_it_is_the_variance_of_a_run_whose_items_are_independent(self) -> None:
        rng = np.random.default_rng(0)
        keys = tuple(f"{number:04d}" for number in range(4000))
        chance_B = rng.uniform(0, 1, len(keys))
        runs = {seed: run((rng.random(len(keys)) < chance_B).astype(float).tolist(), keys) for seed in range(3)}
        assert item_noise(runs, mean_error) == pytest.approx((chance_B * (1 - chance_B)).mean() / len(keys), rel=0.05)

    def test_of_a_ratio_it_has_the_influence_of_each_item(self) -> None:
        runs = {0: run([1.0, 1.0, 4.0, 4.0]), 1: run([4.0, 1.0, 4.0, 1.0])}
        of_mean_square = item_noise(runs, lambda columns: mean(columns["error"] ** 2))
        assert of_mean_square is not None
        # The root has 1 / (2 root) of the influence of the mean square, which is 8.5 in both runs.
        assert item_noise(runs, root_error) == pytest.approx(of_mean_square / (4 * 8.5))

    def test_one_run_cannot_tell_it(self) -> None:
        assert item_noise({0: run([1.0, 1.0, 0.0, 0.0])}, mean_error) is None
        assert item_noise({}, mean_error) is None

    def test_single_item_cannot_tell_it(self) -> None:
        assert item_noise({seed: run([1.0], ("a",)) for seed in (0, 1)}, mean_error) is None


class TestMoreSeeds:
    """Seeds of one side alone count where the spread of both sides is known."""

    EVEN = SideVariances(Spread(1.0, 5.0), Spread(1.0, 5.0))

    def test_estimate_is_the_weighted_mean_of_all_runs(self) -> None:
        ours = {seed: run([float(seed), 2.0, 3.0, 0.0]) for seed in (0, 1)}
        theirs = {seed: run([1.0, float(seed), 0.0, 1.0]) for seed in range(6)}
        pairs = pair_items(ours, theirs, mean_error, None, self.EVEN)
        means = [[float(of.columns["error"].mean()) for of in side.values()] for side in (ours, theirs)]
        assert pairs.delta_points_by_seed.mean() == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
        assert pairs.at_seed_points == pytest.approx([means[0][seed] - means[1][seed] for seed in (0, 1)])
        assert (pairs.seeds, pairs.dropped_seeds) == ((0, 1), ())
        assert pairs.weights is not None
        assert pairs.weights.extra == (2, 3, 4, 5)

    def test_without_known_spreads_they_are_dropped_and_their_items_do_not_count(self) -> None:
        ours = {0: run([1.0, 2.0, 3.0, 0.0])}
        theirs = {0: run([1.0, 1.0, 1.0, 1.0]), 1: run([1.0, 2.0], ("a", "b"))}
        pairs = pair_items(ours, theirs, mean_error)
        assert (pairs.weights, pairs.dropped_seeds, pairs.num_items, pairs.dropped_items) == (None, (1,), 4, 0)

    def test_items_that_an_extra_run_lacks_do_not_count(self) -> None:
        ours = {0: run([1.0, 2.0, 3.0, 0.0])}
        theirs = {0: run([1.0, 1.0, 1.0, 1.0]), 1: run([1.0, 2.0], ("a", "b"))}
        pairs = pair_items(ours, theirs, mean_error, None, self.EVEN)
        assert (pairs.num_items, pairs.dropped_items) == (2, 2)

    def test_without_a_common_seed_nothing_is_compared(self) -> None:
        pairs = pair_items({0: run([1.0] * 4)}, {1: run([1.0] * 4)}, mean_error, None, self.EVEN)
        assert (pairs.num_seeds, pairs.weights, pairs.dropped_seeds) == (0, None, (0, 1))
