"""Dotted knobs: their names, how a change sets them, and what a wrong name means."""

import msgspec
import pytest

from orchestrator.campaign.spec import CampaignSpec
from orchestrator.task.knobs import (
    apply_change,
    describe_validation_error,
    difference,
    leaves,
    result_knobs,
    structs_at,
)

FOCAL = {"type": "object", "properties": {"kind": {"enum": ["focal"]}, "gamma": {"type": "number"}}}
PLAIN = {"type": "object", "properties": {"kind": {"const": "cross_entropy"}, "smoothing": {"type": "number"}}}
SCHEMA = {"type": "object", "properties": {"loss": {"anyOf": [PLAIN, FOCAL], "default": {"kind": "cross_entropy"}}}}


def test_a_path_leads_to_one_struct_for_each_kind() -> None:
    kinds = [struct.__struct_config__.tag for struct in structs_at(CampaignSpec, ("judging",))]
    assert kinds == [None]
    assert structs_at(CampaignSpec, ("seeds",)) == []


class TestApplyChange:
    def test_a_knob_is_set_in_place(self) -> None:
        values = {"loss": {"kind": "focal", "gamma": 1.0}}
        apply_change(values, {"loss.gamma": 2.0}, SCHEMA)
        assert values == {"loss": {"kind": "focal", "gamma": 2.0}}

    def test_a_section_that_is_missing_begins_with_its_defaults(self) -> None:
        values: dict[str, object] = {"loss": None}
        apply_change(values, {"loss.gamma": 2.0, "model.depth": 3}, SCHEMA)
        assert values == {"loss": {"kind": "cross_entropy", "gamma": 2.0}, "model": {"depth": 3}}

    def test_a_new_kind_drops_the_fields_that_it_does_not_have(self) -> None:
        values = {"loss": {"kind": "focal", "gamma": 2.0}}
        apply_change(values, {"loss.kind": "cross_entropy"}, SCHEMA)
        assert values == {"loss": {"kind": "cross_entropy"}}

    def test_a_value_is_copied(self) -> None:
        choices = ["LocA"]
        values: dict[str, object] = {}
        apply_change(values, {"data.train": choices}, SCHEMA)
        choices.append("LocB")
        assert values == {"data": {"train": ["LocA"]}}


def test_an_empty_mapping_is_a_leaf() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": []})) == {"a.b": 1, "a.c": {}, "d": []}


def test_what_is_cosmetic_is_no_difference() -> None:
    before, after = {"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 3}, "d": 4}
    assert difference(before, after, ("a.c",)) == {"a.b": (1, 2), "d": (None, 4)}


def test_paths_of_files_are_no_result_knobs() -> None:
    params = {"a": {"path": "x.h5", "rows": [1, 2]}, "name": "y", "workers": 3}
    assert result_knobs(params, ("workers",), ("x.h5",)) == {"a.rows": [1, 2], "name": "y"}


@pytest.mark.parametrize(
    ("values", "sentence", "path"),
    [
        ({"margn": 1}, "there is no `margn` here; did you mean `margin`?", ("margn",)),
        (
            {"judging": {"correction": "homl"}},
            "Invalid enum value 'homl'; valid are dunnett, holm",
            ("judging", "correction"),
        ),
        ({"judging": {"levl": 1}}, "there is no `levl` here; did you mean `level`?", ("judging", "levl")),
    ],
)
def test_an_error_names_its_place_and_what_is_valid(
    values: dict[str, object], sentence: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(values, CampaignSpec)
    said, where = describe_validation_error(caught.value, CampaignSpec)
    assert said.startswith(sentence)
    assert where == path
