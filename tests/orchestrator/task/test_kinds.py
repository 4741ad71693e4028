"""What a JSON Schema with kinds says of names, fields and defaults."""

from orchestrator.task.ask import ask_schema
from orchestrator.task.kinds import default_section, fields_of_kind, knob_names
from tests.orchestrator.conftest import RADIO, ROOT

SCHEMA = {
    "type": "object",
    "properties": {
        "loss": {"anyOf": [{"$ref": "#/$defs/Plain"}, {"$ref": "#/$defs/Focal"}], "default": {"kind": "plain"}},
        "warmup": {"anyOf": [{"$ref": "#/$defs/Warmup"}, {"type": "null"}], "default": None},
        "lr": {"type": "number"},
    },
    "$defs": {
        "Plain": {"type": "object", "properties": {"kind": {"const": "plain"}, "smoothing": {}}},
        "Focal": {"type": "object", "properties": {"kind": {"enum": ["focal"]}, "smoothing": {}, "gamma": {}}},
        "Warmup": {"type": "object", "properties": {"epochs": {"type": "integer"}}},
    },
}


def test_names_reach_into_every_kind_of_a_section() -> None:
    assert knob_names(SCHEMA) == (
        "loss", "loss.kind", "loss.smoothing", "loss.gamma", "warmup", "warmup.epochs", "lr"
    )  # fmt: skip


def test_the_names_of_the_radio_study_are_known() -> None:
    names = knob_names(ask_schema(RADIO, ROOT))
    assert {"loss", "loss.kind", "loss.gamma", "model.depth", "data.captures", "optim.schedule.patience"} <= set(names)
    assert len(names) == len(set(names))


def test_a_kind_has_its_fields() -> None:
    assert fields_of_kind(SCHEMA, ("loss",), "focal") == {"kind", "smoothing", "gamma"}
    assert fields_of_kind(SCHEMA, ("loss",), "plain") == {"kind", "smoothing"}
    assert fields_of_kind(SCHEMA, ("loss",), "other") is fields_of_kind(SCHEMA, ("lr",), "focal") is None


def test_a_section_that_is_left_out_holds_its_defaults() -> None:
    assert default_section(SCHEMA, ("loss",)) == {"kind": "plain"}
    assert default_section(SCHEMA, ("warmup",)) == default_section(SCHEMA, ("other", "deep")) == {}
