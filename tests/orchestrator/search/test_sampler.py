"""Who suggests points and who gives them up."""

import warnings
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from orchestrator.campaign.search_spec import MedianPruning, SearchSpec, Space, WilcoxonPruning
from orchestrator.search.sampler import (
    MOST_COUNTED,
    MOST_REPEATS,
    count_points,
    find_importance,
    make_pruner,
    make_sampler,
    why_exhausted,
)

REAL = {"kind": "float", "low": 0.0, "high": 1.0}
LETTERS = {"kind": "categorical", "choices": ["a", "b"]}


def a_space(**knobs: Mapping[str, object]) -> dict[str, Space]:
    return msgspec.convert(knobs, dict[str, Space])


def scored(number: int, score: Callable[[float, float], float]) -> list[FrozenTrial]:
    """Points of two knobs drawn evenly, with their scores."""
    drawn_N2 = np.random.default_rng(3).random((number, 2)).tolist()
    within = {"strong": FloatDistribution(0.0, 1.0), "weak": FloatDistribution(0.0, 1.0)}
    return [
        optuna.trial.create_trial(params={"strong": one, "weak": two}, distributions=within, value=score(one, two))
        for one, two in drawn_N2
    ]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_every_sampler_is_made_without_a_warning(sampler: str) -> None:
    spec = SearchSpec(title="t", space={}, sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_sampler(spec, 1), optuna.samplers.BaseSampler)


@pytest.mark.parametrize("spec", [MedianPruning(), WilcoxonPruning()])
def test_every_pruner_is_made_without_a_warning(spec: MedianPruning | WilcoxonPruning) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_pruner(spec, 2), optuna.pruners.BasePruner)


def test_the_knob_that_the_score_depends_on_is_named_first() -> None:
    space = a_space(weak=REAL, strong=REAL)
    shares = find_importance(scored(24, lambda strong, weak: -abs(strong - 0.3) + 0.05 * weak), space)
    assert list(shares) == ["strong", "weak"]
    losses = scored(24, lambda strong, weak: abs(strong - 0.3) - 0.05 * weak)
    assert find_importance(losses, space, "lower") == shares != find_importance(losses, space)
    assert shares["strong"] > 0.7
    assert sum(shares.values()) == pytest.approx(1.0)


def test_from_a_few_points_nothing_is_said_of_what_the_score_depends_on() -> None:
    space = a_space(strong=REAL, weak=REAL)
    assert find_importance(scored(19, lambda strong, weak: strong), space) == {}
    assert find_importance(scored(20, lambda strong, weak: strong), space) != {}
    assert find_importance(scored(20, lambda strong, weak: 50.0), space) == {}


@pytest.mark.parametrize(
    ("knobs", "number"),
    [
        ({"one": LETTERS}, 2),
        ({"one": LETTERS, "two": {"kind": "int", "low": 1, "high": 6, "step": 2}}, 6),
        ({"one": LETTERS, "two": {"kind": "int", "low": 1, "high": 3, "when": {"one": "b"}}}, 4),
        ({"one": {"kind": "float", "low": 0.0, "high": 0.3, "step": 0.1}}, 4),
        ({"one": {"kind": "int", "low": 1, "high": MOST_COUNTED}}, MOST_COUNTED),
        ({"one": {"kind": "int", "low": 0, "high": MOST_COUNTED}}, None),
        ({"one": LETTERS, "two": REAL}, None),
    ],
)
def test_the_points_of_a_space_are_counted_where_they_come_to_an_end(
    knobs: dict[str, Mapping[str, object]], number: int | None
) -> None:
    assert count_points(a_space(**knobs)) == number


def test_a_space_has_no_more_points_once_all_were_asked_for() -> None:
    space = a_space(one=LETTERS)
    assert why_exhausted([("a", True), ("a", True)], space) == ""
    assert why_exhausted([("a", True), ("b", True)], space) == "its space has 2 points, and all were asked for"


def test_a_sampler_that_suggests_nothing_new_has_come_to_its_end() -> None:
    space = a_space(one=REAL)
    again = [("a", True)] * MOST_REPEATS
    assert why_exhausted(again, space) == ""
    said = "the sampler suggested 10 times in a row what was there; `enqueue` can name what it misses"
    assert why_exhausted([*again, ("a", True)], space) == said
    assert why_exhausted([*again, ("a", False)], space) == ""
    assert why_exhausted([*again, ("a", True), ("b", False)], space) == ""
