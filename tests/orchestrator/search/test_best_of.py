"""The best of several points against another: by the items of both and the spread of all, with one seed or several."""

import numpy as np
import pytest
from scipy.stats import norm

from orchestrator.campaign.scored import Objective
from orchestrator.runs.scores import Score as RunScore
from orchestrator.search.best_of import Points, compare, join_splits, pair_points, pool_points
from orchestrator.search.objective import combine
from orchestrator.search.results import TrialRecord
from orchestrator.stats.item_pairs import RunItems
from orchestrator.task.metric_spec import parse_metrics

SOURCE = {"items": "LocC", "mean": "100 * correct"}
RIGHT = parse_metrics({"right": {"better": "higher", "unit": "%", "margin": 1.0, "from": SOURCE}})["right"]


def items_of(right_B: np.ndarray, first: int = 0, clusters: list[str] | None = None) -> RunItems:
    keys_B = np.array([f"{first + number}" for number in range(len(right_B))])
    cluster_B = None if clusters is None else np.array(clusters)
    return RunItems(keys_B, np.full(len(right_B), "device"), cluster_B, {"correct": right_B.astype(np.float64)})


def a_trial(number: int, right_SB: np.ndarray) -> TrialRecord:
    score = combine([(100.0 * float(right_B.mean()), len(right_B)) for right_B in right_SB])
    return TrialRecord(number=number, arm=f"t{number}", change={}, state="done", score=score, runs=())


def compared(right_NSB: np.ndarray, best: int, number: int) -> tuple[float, float]:
    """Return both ends of the best point's interval against the first, paired by items."""
    trials = [a_trial(place, right_SB) for place, right_SB in enumerate(right_NSB)]
    ours, theirs = ([items_of(right_B) for right_B in right_NSB[place]] for place in (best, 0))
    pairs = pair_points(RIGHT, ours, theirs, is_share=True)
    found = compare(
        trials[best], trials[0], Points(number, Objective(), pool_points(trials, Objective()).spreads), pairs
    )
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_what_an_item_does_to_both_points_cancels() -> None:
    random = np.random.default_rng(3)
    hard_B = random.random(400) < 0.3
    right_NSB = np.array([[~hard_B ^ (random.random(400) < 0.02) for _ in range(3)] for _ in range(2)])
    low, high = compared(right_NSB, 1, 2)
    alone = compare(a_trial(1, right_NSB[1]), a_trial(0, right_NSB[0]), Points(2))
    assert high - low < 0.5 * ((alone.high or 0.0) - (alone.low or 0.0))


def test_more_seeds_do_not_take_away_the_items_part() -> None:
    random = np.random.default_rng(4)
    lasting_NB = random.random((2, 300)) < 0.8
    widths = []
    for num_seeds in (2, 50):
        right_NSB = np.repeat(lasting_NB[:, None], num_seeds, axis=1)
        low, high = compared(right_NSB, 1, 2)
        widths.append(high - low)
    # Two independent shares of 0.8 on 300 items: 1.96 standard errors of 3.3 points, to both sides.
    assert min(widths) > 2 * 1.96 * 2.9
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_the_spread_over_seeds_is_that_of_all_points() -> None:
    trials = [
        TrialRecord(
            number=number, arm="t", change={}, state="done", runs=(), score=combine([(value, 0) for value in values])
        )
        for number, values in enumerate([(80.0, 81.0), (80.0, 82.0), (79.0, 82.0), (81.0, 80.0), (80.0, 80.5)])
    ]
    points = pool_points(trials, Objective())
    assert points.number == 5
    assert points.spreads.keys() == set(range(5))
    # Two seeds alone have one degree of freedom.
    assert all(spread.degrees_of_freedom > 1 for spread in points.spreads.values())
    assert pool_points(trials[:3], Objective()).spreads == {}


def test_equal_points_at_one_seed_seldom_score_higher_and_without_an_adjustment_often() -> None:
    random = np.random.default_rng(8)
    called = {30: 0, 2: 0}
    for _ in range(200):
        right_NSB = random.random((30, 1, 300)) < 0.9
        best = int(right_NSB.sum(axis=(1, 2)).argmax())
        for number in called:
            called[number] += best != 0 and compared(right_NSB, best, number)[0] > 0
    assert called[30] <= 0.05 * 200
    assert called[2] > 0.07 * 200


def test_few_items_that_differ_are_less_sure_far_out_than_a_normal_error_says() -> None:
    right_NSB = np.ones((2, 1, 300), dtype=bool)
    right_NSB[0, 0, :5] = False
    few, many = (high - low for low, high in (compared(right_NSB, 1, number) for number in (2, 30)))
    assert many > 1.15 * few * norm.isf(0.025 / 29) / norm.isf(0.025)


def test_points_whose_runs_have_other_items_are_not_paired() -> None:
    right_B = np.array([True, False, True])
    assert pair_points(RIGHT, [items_of(right_B)], [items_of(right_B, first=1)], is_share=True) is None
    same = pair_points(RIGHT, [items_of(right_B)], [items_of(~right_B)], is_share=True)
    assert same is not None
    assert same.delta_points_by_seed.tolist() == pytest.approx([100 / 3])


def test_items_of_two_splits_are_one_table_in_which_equal_names_stay_apart() -> None:
    right_B = np.array([True, False])
    score = RunScore(50.0, items=items_of(right_B, clusters=["a", "b"]))
    joined = join_splits([score, score])
    assert joined is not None
    assert joined.keys_B.tolist() == ["0/0", "0/1", "1/0", "1/1"]
    assert (len(set(joined.stratum_B)), joined.cluster_B.tolist()) == (2, ["0/a", "0/b", "1/a", "1/b"])
    assert joined.columns["correct"].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("second", [RunScore(0.5), RunScore(50.0, items=items_of(np.array([True])))])
def test_splits_without_items_or_with_clusters_in_one_alone_give_no_table(second: RunScore) -> None:
    first = RunScore(50.0, items=items_of(np.array([True, False]), clusters=["a", "b"]))
    assert join_splits([first, second]) is None
