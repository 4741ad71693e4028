"""What a search looks at, and what it must not."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from orchestrator.campaign.scored import Objective
from orchestrator.runs.folder import EpochRecord, LocationScore, Result
from orchestrator.runs.scores import Score as RunScore
from orchestrator.search.objective import combine, combine_metric, each_by_epoch, mean_by_epoch, score_run, watched
from orchestrator.stats.item_pairs import RunItems
from orchestrator.task.metric_spec import MetricSpec, parse_metrics
from tests.builders.epochs import epochs_of

ACCURACY = Objective()


def a_result(**correct: int) -> Result:
    scores = {
        name: LocationScore(bursts=50, correct=number, accuracy=number / 50, loss=1.0)
        for name, number in correct.items()
    }
    return Result(state="done", reason="trained", best_epoch=2, epochs=3, scores=scores)


def test_a_run_scores_by_the_bursts_of_its_captures_whatever_it_does_elsewhere() -> None:
    assert score_run(a_result(LocC=40, LocC2=20, LocD=0), [], ["LocC", "LocC2"]) == (60.0, 100)
    assert score_run(a_result(LocC=40, LocC2=20, LocD=50), [], ["LocC", "LocC2"]) == (60.0, 100)


def test_validation_scores_by_the_epoch_that_was_kept() -> None:
    epochs = epochs_of(0.1, 0.2, 0.3)
    assert score_run(a_result(LocC=40), epochs, ["LocB"]) == (pytest.approx(20.0), 0)


def test_seeds_give_a_mean_with_its_standard_error() -> None:
    score = combine([(60.0, 10_000), (64.0, 10_000), (62.0, 10_000)])
    assert (score.mean, score.per_seed, score.is_across_seeds) == (62.0, (60.0, 64.0, 62.0), True)
    of_bursts = combine([(62.0, 10_000)]).standard_error
    assert score.standard_error == pytest.approx(sqrt(4.0 / 3 + of_bursts**2), rel=1e-4)


def test_one_seed_has_the_error_of_its_bursts_alone() -> None:
    score = combine([(80.0, 400)])
    assert (score.mean, score.is_across_seeds) == (80.0, False)
    assert score.standard_error == pytest.approx(100 * sqrt(322 * 82 / 404**3))


def test_the_error_of_the_bursts_does_not_fade_with_seeds_that_share_them() -> None:
    assert combine([(80.0, 400)] * 4).standard_error == pytest.approx(combine([(80.0, 400)]).standard_error)
    assert combine([(80.0, 400), (0.0, 400)]).standard_error > 40.0


def test_neither_no_burst_nor_every_burst_is_certain() -> None:
    none, every = combine([(0.0, 100)]), combine([(100.0, 100)])
    assert none.standard_error == pytest.approx(every.standard_error) == pytest.approx(100 * sqrt(2 * 102 / 104**3))


def test_bursts_that_nobody_counted_have_no_error() -> None:
    assert combine([(80.0, 0)]).standard_error == 0.0


def test_epochs_are_matched_where_all_seeds_have_come_to_them() -> None:
    assert list(mean_by_epoch([epochs_of(0.25, 0.5, 0.75), epochs_of(0.75, 0.5)], ACCURACY)) == [(0, 50.0), (1, 50.0)]
    assert list(mean_by_epoch([epochs_of(0.25), []], ACCURACY)) == []


def test_each_seed_has_steps_of_its_own_whichever_of_them_is_ahead() -> None:
    ahead, behind = epochs_of(0.25, 0.5), epochs_of(0.75)
    assert dict(each_by_epoch([ahead, behind], ACCURACY)) == {0: 25.0, 2: 50.0, 1: 75.0}
    assert dict(each_by_epoch([ahead], ACCURACY)) == {0: 25.0, 1: 50.0}


LOSS = Objective(metric="loss", better="lower", unit="", watch="loss", watch_better="lower")


def a_metric(**source: Any) -> MetricSpec:
    return parse_metrics({"loss": {"better": "lower", "margin": 0.1} | source})["loss"]


def of_items(*values: float, clusters: Sequence[str] | None = None, first: int = 0) -> RunScore:
    keys_B = np.array([f"{first + number}" for number in range(len(values))])
    cluster_B = None if clusters is None else np.array(clusters)
    items = RunItems(keys_B, np.full(len(values), ""), cluster_B, {"loss": np.array(values)})
    return RunScore(value=float(np.mean(values)), items=items, num_items=len(values))


ITEMS = a_metric(**{"from": {"items": "test", "mean": "loss"}})


def test_a_metric_without_items_has_the_error_of_its_seeds_alone() -> None:
    score = combine_metric(a_metric(), [RunScore(0.5), RunScore(0.7)])
    assert (score.mean, score.per_seed, score.sampling_error) == (0.6, (0.5, 0.7), 0.0)
    assert score.standard_error == pytest.approx(0.1)
    assert combine_metric(a_metric(), [RunScore(0.5)]).standard_error == 0.0


def test_a_metric_of_items_has_at_least_the_error_of_their_influence() -> None:
    values = (0.1, 0.4, 0.2, 0.9)
    one = combine_metric(ITEMS, [of_items(*values)])
    assert one.standard_error == one.sampling_error == pytest.approx(np.std(values, ddof=1) / 2)
    same = combine_metric(ITEMS, [of_items(*values)] * 3)
    assert same.standard_error == pytest.approx(one.standard_error)
    apart = combine_metric(ITEMS, [of_items(*values), of_items(*values, first=4)])
    assert combine_metric(
        ITEMS, [of_items(*values), of_items(*(v + 1 for v in values))]
    ).standard_error == pytest.approx(sqrt(one.standard_error**2 + 0.5**2))
    assert apart.standard_error == pytest.approx(one.standard_error * sqrt(3 / 7))


def test_items_of_a_cluster_count_as_one() -> None:
    score = combine_metric(ITEMS, [of_items(0.2, 0.2, 0.6, 0.6, clusters=["a", "a", "b", "b"])])
    assert score.standard_error == pytest.approx(np.std([0.2, 0.6], ddof=1) / sqrt(2))
    assert combine_metric(ITEMS, [of_items(0.2, 0.6, clusters=["a", "a"])]).standard_error == 0.0


def test_a_share_of_right_items_is_never_certain() -> None:
    score = combine_metric(a_metric(unit="%"), [RunScore(100.0, num_right=100, num_items=100)])
    assert score == combine([(100.0, 100)])


def test_a_watched_value_points_in_the_direction_of_the_score() -> None:
    record = EpochRecord(epoch=1, seconds=1.0, values={"loss": 0.5, "reward": 2.0})
    assert watched(record, LOSS) == 0.5
    assert watched(record, structs.replace(LOSS, watch="reward", watch_better="higher")) == -2.0


def test_an_epoch_that_does_not_tell_the_watched_value_is_no_step() -> None:
    told, untold = (EpochRecord(epoch=1, seconds=1.0, values=values) for values in ({"loss": 0.5}, {"other": 1.0}))
    assert list(mean_by_epoch([[told], [untold]], LOSS)) == []
    assert list(each_by_epoch([[told], [untold]], LOSS)) == [(0, 0.5)]
