"""Dotted knobs: their names, how a change sets them, and what a wrong name means."""

import msgspec
import pytest

from model.config import JobConfig
from orchestrator.task.knobs import apply_change, describe_validation_error, knob_names, leaves, structs_at


def test_names_reach_into_every_kind_of_a_section() -> None:
    names = knob_names(JobConfig)
    assert {"seed", "loss", "loss.kind", "loss.gamma", "model.depth", "data.captures"} <= set(names)
    assert len(names) == len(set(names))


def test_a_path_leads_to_one_struct_for_each_kind() -> None:
    kinds = [struct.__struct_config__.tag for struct in structs_at(JobConfig, ("loss",))]
    assert len(kinds) > 1
    assert "focal" in kinds
    assert structs_at(JobConfig, ("seed",)) == []


class TestApplyChange:
    def test_a_knob_is_set_in_place(self) -> None:
        values = {"loss": {"kind": "focal", "gamma": 1.0}}
        apply_change(values, {"loss.gamma": 2.0})
        assert values == {"loss": {"kind": "focal", "gamma": 2.0}}

    def test_a_section_that_is_missing_is_made(self) -> None:
        values: dict[str, object] = {"loss": None}
        apply_change(values, {"loss.gamma": 2.0, "model.depth": 3})
        assert values == {"loss": {"gamma": 2.0}, "model": {"depth": 3}}

    def test_a_new_kind_drops_the_fields_that_it_does_not_have(self) -> None:
        values = {"loss": {"kind": "focal", "gamma": 2.0}}
        apply_change(values, {"loss.kind": "cross_entropy"})
        assert values == {"loss": {"kind": "cross_entropy"}}

    def test_a_value_is_copied(self) -> None:
        choices = ["LocA"]
        values: dict[str, object] = {}
        apply_change(values, {"data.train": choices})
        choices.append("LocB")
        assert values == {"data": {"train": ["LocA"]}}


def test_an_empty_mapping_is_a_leaf() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": []})) == {"a.b": 1, "a.c": {}, "d": []}


@pytest.mark.parametrize(
    ("values", "sentence", "path"),
    [
        ({"sed": 1}, "there is no `sed` here; did you mean `seed`?", ("sed",)),
        ({"loss": {"kind": "fokal"}}, "Invalid value 'fokal'; valid are ", ("loss", "kind")),
        ({"model": {"depht": 1}}, "there is no `depht` here; did you mean `depth`?", ("model", "depht")),
    ],
)
def test_an_error_names_its_place_and_what_is_valid(
    values: dict[str, object], sentence: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(values, JobConfig)
    said, where = describe_validation_error(caught.value, JobConfig)
    assert said.startswith(sentence)
    assert where == path
