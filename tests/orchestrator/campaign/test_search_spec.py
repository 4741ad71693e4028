"""What a search may say: its spaces, its objective, its pruner."""

from typing import Any

import msgspec
import pytest

from orchestrator.campaign.search_spec import IntSpace, MedianPruning, SearchSpec, WilcoxonPruning

GAMMA = {"kind": "float", "low": 0.1, "high": 5.0}


def a_search(**fields: Any) -> SearchSpec:
    return msgspec.convert({"title": "Focus", "space": {"loss.gamma": GAMMA}} | fields, SearchSpec)


def test_a_title_and_a_space_are_enough() -> None:
    spec = a_search()
    assert (spec.on, spec.sampler, spec.trials, spec.seeds) == ("baseline", "tpe", 50, 1)
    assert (spec.pruner, spec.objective.captures, spec.enqueue) == (None, (), ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 4, "high": 4}, "low 4 must be below high 4"),
        ({"low": 0, "high": 4, "log": True}, "with log, low must be above 0, found 0"),
        ({"low": 1, "high": 4, "log": True, "step": 1}, "log and step exclude each other"),
    ],
)
def test_whole_numbers_need_a_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntSpace(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": {}}, "Expected `object` of length >= 1"),
        ({"space": {"loss.gamma": GAMMA | {"kind": "complex"}}}, "Invalid value 'complex'"),
        ({"space": {"loss.gamma": GAMMA | {"step": 0}}}, "Expected `float` > 0"),
        ({"space": {"loss.kind": {"kind": "categorical", "choices": ["focal"]}}}, "of length >= 2"),
        ({"sampler": "grid"}, "Invalid enum value 'grid'"),
        ({"trials": 0}, "Expected `int` >= 1"),
        ({"enqueue": [{"at": {}}]}, "of length >= 1"),
        ({"pruner": {"kind": "wilcoxon", "p_threshold": 1.0}}, "Expected `float` < 1"),
        ({"trails": 5}, "unknown field `trails`"),
    ],
)
def test_what_no_search_can_say_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        a_search(**fields)


def test_the_kind_says_which_pruner() -> None:
    assert a_search(pruner={"kind": "median", "warmup_epochs": 9}).pruner == MedianPruning(warmup_epochs=9)
    assert a_search(pruner={"kind": "wilcoxon"}).pruner == WilcoxonPruning(p_threshold=0.1)
