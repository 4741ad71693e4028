"""What a search looks at, and what it must not."""

from math import sqrt

import pytest

from orchestrator.campaign.scored import Objective
from orchestrator.runs.folder import LocationScore, Result
from orchestrator.search.objective import combine, each_by_epoch, mean_by_epoch, score_run
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
    assert score.standard_error == pytest.approx(2.0 / sqrt(3))


def test_one_seed_has_the_error_of_its_bursts_alone() -> None:
    score = combine([(80.0, 400)])
    assert (score.mean, score.is_across_seeds) == (80.0, False)
    assert score.standard_error == pytest.approx(100 * sqrt(322 * 82 / 404**3))


def test_equal_seeds_have_the_error_of_their_bursts() -> None:
    assert combine([(80.0, 400)] * 4).standard_error == pytest.approx(combine([(80.0, 400)]).standard_error / 2)
    assert combine([(80.0, 400), (0.0, 400)]).standard_error == pytest.approx(40.0)


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
