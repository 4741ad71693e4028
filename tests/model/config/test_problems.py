"""A value that is refused is named by its keys, with what would be right."""

from typing import Any

import pytest

from model.config import CaptureConfig, CrossEntropyConfig, FocalConfig, Params
from model.config.problems import did_you_mean, find_problem, structs_at
from tests.builders.jobs import capture, params


def test_values_that_fit_have_no_problem() -> None:
    assert find_problem(params(), Params) is None


@pytest.mark.parametrize(
    ("changes", "sentence", "place"),
    [
        ({"modle": {}}, "there is no `modle` here; did you mean `model`?", ("modle",)),
        ({"model": {"depht": 1}}, "there is no `depht` here; did you mean `depth`?", ("model", "depht")),
        ({"model": {"depth": 0}}, "Expected `int` >= 1", ("model", "depth")),
        ({"loss": {"gamma": 2.0}}, "`kind` is missing here", ("loss",)),
        (
            {"loss": {"kind": "fokal"}},
            "Invalid value 'fokal'; valid are cross_entropy, focal",
            ("loss", "kind"),
        ),
        (
            {"loss": {"kind": "cross_entropy", "gamma": 2.0}},
            "`gamma` has no effect here: only kind `focal` has it",
            ("loss", "gamma"),
        ),
        (
            {"optim": {"schedule": {"kind": "one_cycle", "warmup_epochs": 2}}},
            "`warmup_epochs` has no effect here: only kind `plateau` or `cosine` has it",
            ("optim", "schedule", "warmup_epochs"),
        ),
        (
            {"runtime": {"precision": "fp8"}},
            "Invalid enum value 'fp8'; valid are fp32, bf16, fp16",
            ("runtime", "precision"),
        ),
        ({"data": {"report": []}}, "this must not be empty", ("data", "report")),
        ({"model": {"dim": float("inf")}}, "Expected `int`, got `float`", ("model", "dim")),
        (
            {"augment": {"gain_jiter": {}}},
            "there is no `gain_jiter` here; did you mean `gain_jitter`?",
            ("augment", "gain_jiter"),
        ),
    ],
)
def test_a_problem_names_its_place_and_what_is_valid(
    changes: dict[str, Any], sentence: str, place: tuple[str, ...]
) -> None:
    assert find_problem(params(**changes), Params) == (sentence, place)


@pytest.mark.parametrize(
    ("wrong", "sentence", "place"),
    [
        ({"packet": [0, 1]}, "there is no `packet` here; did you mean `packets`?", ("packet",)),
        ({"devices": "all"}, "Expected `array`, got `str`", ("devices",)),
        ({"devices": [0, "x"]}, "Expected `int`, got `str`", ("devices", "[1]")),
        ({"devices": [3, 3]}, "devices [3, 3] is empty; a range is [first, last + 1], counted from 0", ()),
    ],
)
def test_a_problem_of_one_entry_names_the_entry(wrong: dict[str, Any], sentence: str, place: tuple[str, ...]) -> None:
    data = {"captures": {"A": capture(), "V": capture(packets=[4, 6]), "D": capture(**wrong)}}
    assert find_problem(params(data=data), Params) == (sentence, ("data", "captures", "D", *place))


def test_without_a_near_name_all_are_named() -> None:
    assert did_you_mean("zzz", ["a", "b", "a"]) == "; there are a, b"


def test_a_path_leads_to_one_struct_for_each_kind_and_through_entries() -> None:
    assert structs_at(Params, ("loss",)) == [CrossEntropyConfig, FocalConfig]
    assert structs_at(Params, ("data", "captures")) == [CaptureConfig]
    assert structs_at(Params, ("model", "depth")) == []
