"""What is said of two searches beside each other is what they did."""

from pathlib import Path

import pytest

from benchmarks.overhead import ROOT
from benchmarks.search import BEGIN, END, NAME, PROFILE, Found, Visit, compare, main
from orchestrator.campaign.selection import Request
from orchestrator.search.open import Search, open_search


@pytest.fixture(scope="module")
def search() -> Search:
    return open_search(Request(file=ROOT / "experiments.yaml", profile=PROFILE), NAME)


def a_found(search: Search, seconds: float, scores: tuple[float, ...], last: dict[str, float]) -> Found:
    points = [*(point.at for point in search.spec.enqueue), last]
    visits = [Visit(at, score) for at, score in zip(points, scores, strict=True)]
    return Found(seconds, len(visits), visits)


def test_a_score_that_differs_in_its_last_bit_is_not_equal(search: Search) -> None:
    scores = tuple(60.0 + 0.2 * number for number in range(len(search.spec.enqueue) + 1))
    ours = a_found(search, 30.0, scores, {"loss.gamma": 1.0, "loss.label_smoothing": 0.2})
    nearly = (scores[0] + 1e-14, *scores[1:])
    time, equal, _ = compare(search, ours, a_found(search, 60.0, nearly, ours.visits[-1].at))
    first = len(search.spec.enqueue)
    assert (time.figure, equal.figure) == ("0.50", f"{first - 1} of {first}")
    assert f"30 s, {first + 1} trainings" in time.what


def test_best_points_are_as_far_apart_as_their_shares_of_the_ranges(search: Search) -> None:
    scores = tuple(60.0 + number for number in range(len(search.spec.enqueue) + 1))
    ours = a_found(search, 30.0, scores, {"loss.gamma": 0.01, "loss.label_smoothing": 0.0})
    plain = a_found(search, 30.0, scores, {"loss.gamma": 0.01 + 0.3 * 4.99, "loss.label_smoothing": 0.4 * 0.2})
    *_, best = compare(search, ours, plain)
    assert best.figure == "0.50 of 1.41"
    assert f"loss.gamma 0.01, loss.label_smoothing 0 with {scores[-1]:.1f} %" in best.what


def test_both_searches_train_the_same_points_to_the_same_scores(tmp_path: Path) -> None:
    page = tmp_path / "search.md"
    page.write_text(f"before\n{BEGIN}\nyesterday\n{END}\nafter\n")
    assert main(["--quick", "--write", str(page)]) == 0
    text = page.read_text()
    assert "yesterday" not in text
    assert text.count("2 trainings") == 2
    assert "| 2 of 2 |" in text
    assert "| 0.00 of 1.41 |" in text
