"""What the figures of a search show, and what is said under them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.search_spec import SearchSpec
from orchestrator.report.search_figures import _interpolate, describe_history, describe_surface, draw_surface
from orchestrator.search.objective import combine
from orchestrator.search.results import Searched, TrialRecord
from orchestrator.task.knobs import Change

RATE = {"kind": "float", "low": 1e-5, "high": 1e-1, "log": True}
DEPTH = {"kind": "int", "low": 1, "high": 9}
KIND = {"kind": "categorical", "choices": ["focal", "plain"]}
Found = Callable[..., Searched]


@pytest.fixture(scope="module")
def found(a_plan: Callable[..., Plan]) -> Found:
    def finding(space: Any, points: Sequence[Change], seeds: tuple[int, ...] = (0,)) -> Searched:
        trials = (
            TrialRecord(
                number=number,
                arm=f"focal-t{number:03d}",
                change=point,
                state="done",
                score=combine([(60.0 + number, 100)]),
                runs=(f"focal-t{number:03d}-s0",),
            )
            for number, point in enumerate(points)
        )
        return Searched(
            name="focal",
            campaign=a_plan({}).campaign,
            spec=msgspec.convert({"title": "Focus", "space": space, "trials": 5}, SearchSpec),
            stack="H2",
            objective=Objective(splits=("LocC",)),
            seeds=seeds,
            default={},
            study="tiny/quick/focal/0a1b",
            trials=tuple(trials),
        )

    return finding


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Searched], Figure]:
    """The figure of a surface before it becomes a picture."""

    def drawing(searched: Searched) -> Figure:
        figures: list[Figure] = []
        monkeypatch.setattr("orchestrator.report.search_figures.to_png", lambda figure: figures.append(figure) or b"")
        draw_surface(searched)
        return figures[0]

    return drawing


def points_of(rates: Sequence[float]) -> list[Change]:
    return [{"optim.learning_rate": rate, "model.depth": 1 + 2 * number} for number, rate in enumerate(rates)]


def test_a_knob_whose_logarithm_is_searched_has_a_logarithmic_axis(found: Found, drawn: Any) -> None:
    space = {"optim.learning_rate": RATE, "model.depth": DEPTH}
    axes = drawn(found(space, points_of([1e-5, 1e-4, 1e-3, 1e-2, 1e-1]))).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert axes.get_xlim() == pytest.approx((1e-5, 1e-1))
    assert axes.get_ylim() == pytest.approx((1, 9))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(1e-5, 1e-1, ["1e-05", "0.0001", "0.001", "0.01", "0.1"]), (1e-3, 6e-3, ["0.001", "0.002", "0.005"])],
)
def test_a_logarithmic_axis_is_labelled_in_plain_numbers(
    low: float, high: float, labels: list[str], found: Found, drawn: Any
) -> None:
    space = {"optim.learning_rate": RATE | {"low": low, "high": high}, "model.depth": DEPTH}
    axis = drawn(found(space, points_of([low, low * 2, low * 3, low * 4]))).axes[0].xaxis
    places = [place for place in axis.get_majorticklocs() if low * 0.999 <= place <= high * 1.001]
    assert axis.get_major_formatter().format_ticks(places) == labels
    assert set(axis.get_minor_formatter().format_ticks(axis.get_minorticklocs())) == {""}


def test_a_point_at_the_edge_is_drawn_whole(found: Found, drawn: Any) -> None:
    space = {"optim.learning_rate": RATE, "model.depth": DEPTH}
    axes = drawn(found(space, points_of([1e-5, 1e-4, 1e-3, 1e-1]))).axes[0]
    points, best = [each for each in axes.collections if isinstance(each, PathCollection)]
    assert (points.get_clip_on(), best.get_clip_on()) == (False, False)
    assert best.get_offsets().tolist() == [[1e-1, 7]]


def test_a_best_point_without_the_knobs_has_no_star_on_the_surface(found: Found, drawn: Any) -> None:
    space = {"optim.learning_rate": RATE, "model.depth": DEPTH}
    best = {"optim.learning_rate": 1e-3}
    axes = drawn(found(space, [*points_of([1e-5, 1e-4, 1e-3, 1e-1]), best])).axes[0]
    assert len([each for each in axes.collections if isinstance(each, PathCollection)]) == 1


def test_points_that_differ_in_other_knobs_count_with_their_mean() -> None:
    points_N2 = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    at = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    once = _interpolate(points_N2, np.array([60.0, 61.0, 62.0, 70.0]), at)
    twice = _interpolate(np.vstack([points_N2, [[1.0, 1.0]]]), np.array([60.0, 61.0, 62.0, 65.0, 75.0]), at)
    assert twice == pytest.approx(once)


def test_the_caption_says_which_knobs_are_shown_and_that_nothing_is_claimed_between_the_points(found: Found) -> None:
    space = {"loss.kind": KIND, "optim.learning_rate": RATE, "model.depth": DEPTH, "model.heads": DEPTH}
    whole = {"optim.learning_rate": 1e-3, "model.depth": 2}
    assert describe_surface(found(space, [whole, {"optim.learning_rate": 1e-4}])) == (
        "The score over optim.learning_rate and model.depth. The surface is smoothed through noisy scores: it guides "
        "the eye and measures nothing between the points. The points also differ in loss.kind and model.heads, which "
        "is not shown. Left out: 1 point without a value of both."
    )
    alone = describe_surface(found({"optim.learning_rate": RATE, "model.depth": DEPTH}, [whole]))
    assert alone.endswith("measures nothing between the points.")


def test_the_caption_of_the_history_says_what_its_bars_are(found: Found) -> None:
    space = {"model.depth": DEPTH}
    assert describe_history(found(space, [])).endswith("each with its standard error: from sampling error alone.")
    assert "the larger of seed noise and sampling error" in describe_history(found(space, [], seeds=(0, 1)))
