"""Schemas: the short form, the part of JSON Schema that is read, and what a value outside of them is told."""

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from orchestrator.errors import SpecError
from orchestrator.task.schema import allows_type, at, check_value, read_schema, wants_float


class Optimizer(Struct):
    """A part of a configuration, as a user's own code would type it."""

    lr: float
    name: str | None = None


class Settings(Struct):
    """A configuration whose schema msgspec prints: with references, defaults and alternatives."""

    optimizer: Optimizer
    depth: int = 2


SHORT = {"dropout": {"min": 0, "max": 1}, "opt": ["adam", "sgd"], "model.drop": {"min": 0, "null": True}}
NAMES = ("dropout", "opt", "model.drop")


def test_the_short_form_is_a_json_schema() -> None:
    assert read_schema(SHORT, NAMES) == {
        "properties": {
            "dropout": {"minimum": 0, "maximum": 1},
            "opt": {"enum": ["adam", "sgd"]},
            "model": {"properties": {"drop": {"anyOf": [{"minimum": 0}, {"type": "null"}]}}},
        }
    }


def test_a_printed_schema_is_read_with_its_references() -> None:
    schema = read_schema(msgspec.json.schema(Settings), ())
    check_value({"optimizer": {"lr": 0.1, "name": None}, "depth": 3}, schema, ())
    assert at(schema, ("optimizer", "lr")) == {"type": "number"}
    assert at(schema, ("nothing", "here")) == {}
    with pytest.raises(SpecError) as refused:
        check_value({"optimizer": {"lr": "x"}}, schema, ("baseline",))
    assert str(refused.value) == "this must be of type number, found a text (`x`)"
    assert refused.value.where == ("baseline", "optimizer", "lr")


def test_a_schema_of_true_allows_every_value_and_one_of_false_none() -> None:
    schema = read_schema({"properties": {"a": True, "b": False}}, ())
    check_value({"a": [None]}, schema, ())
    with pytest.raises(SpecError, match=r"^`1` is none of the values here: the schema allows none$") as refused:
        check_value({"b": 1}, schema, ())
    assert refused.value.where == ("b",)


def test_the_short_form_may_name_choices_beside_null() -> None:
    schema = read_schema({"opt": {"choices": ["adam"], "null": True}}, NAMES)
    assert schema == {"properties": {"opt": {"anyOf": [{"enum": ["adam"]}, {"type": "null"}]}}}


@pytest.mark.parametrize(
    ("values", "message", "where"),
    [
        ({"dropot": {"min": 0}}, "there is no parameter `dropot`; did you mean `dropout`?", ("dropot",)),
        ({"dropout": {"mn": 0}}, "there is no `mn` here; did you mean `min`?", ("dropout", "mn")),
        ({"dropout": {"min": "0"}}, "a limit is a number, found a text", ("dropout", "min")),
        ({"dropout": {"min": 2, "max": 1}}, "no number is at least 2 and at most 1", ("dropout",)),
        ({"dropout": {"max": True}}, "a limit is a number, found true or false", ("dropout", "max")),
        ({"opt": {"choices": "adam"}}, "choices are a list, found a text", ("opt", "choices")),
        ({"opt": 3}, "Expected keys with values, got a whole number", ("opt",)),
        (
            {"type": "object", "properties": {"a": {"type": "strng"}}},
            "there is no type `strng`; did you mean `string`?",
            ("properties", "a", "type"),
        ),
        (
            {"properties": {"a": {"minimun": 0}}},
            "there is no `minimun` here; did you mean `minimum`?",
            ("properties", "a", "minimun"),
        ),
        (
            {"$ref": "#/$defs/a"},
            "the reference `#/$defs/a` leads to no part of this schema",
            (),
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "the schema refers to itself, or lies more than 50 deep",
            (),
        ),
    ],
)
def test_a_wrong_schema_is_refused(values: dict[str, Any], message: str, where: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        read_schema(values, NAMES, ())
    assert (str(refused.value), refused.value.where) == (message, where)


@pytest.mark.parametrize(
    ("schema", "value", "message", "where"),
    [
        ({"minimum": 0}, -1, "this must be at least 0, found -1", ()),
        ({"maximum": 1}, 1.5, "this must be at most 1, found 1.5", ()),
        ({"exclusiveMinimum": 0}, 0, "this must be above 0, found 0", ()),
        ({"exclusiveMaximum": 1}, 1, "this must be below 1, found 1", ()),
        ({"minimum": 0}, "x", "this must be at least 0, found 'x'", ()),
        ({"enum": ["adam", "sgd"]}, "adm", "`adm` is none of `adam` and `sgd`", ()),
        ({"enum": [1]}, True, "`True` is none of `1`", ()),
        ({"const": 2}, 3, "`3` is none of `2`", ()),
        ({"type": ["integer", "null"]}, "x", "this must be of type integer or null, found a text (`x`)", ()),
        ({"items": {"type": "integer"}}, [1, 2.5], "this must be of type integer, found a number (`2.5`)", ("[1]",)),
        ({"required": ["a"]}, {}, "the parameter `a` is missing here", ()),
        (
            {"properties": {"lr": {}}, "additionalProperties": False},
            {"lrr": 1},
            "there is no parameter `lrr`; did you mean `lr`?",
            ("lrr",),
        ),
        (
            {"additionalProperties": {"type": "integer"}},
            {"a": "x"},
            "this must be of type integer, found a text (`x`)",
            ("a",),
        ),
        (
            {"anyOf": [{"minimum": 0}, {"type": "null"}]},
            -1,
            "this must be at least 0, found -1; or this must be of type null, found a whole number (`-1`)",
            (),
        ),
    ],
)
def test_a_value_outside_is_refused(
    schema: dict[str, Any], value: object, message: str, where: tuple[str, ...]
) -> None:
    with pytest.raises(SpecError) as refused:
        check_value(value, schema, ())
    assert (str(refused.value), refused.value.where) == (message, where)


TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 2.0]), st.sampled_from("ab")),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner)),
    max_leaves=4,
)
LIMITED = st.fixed_dictionaries(
    {"type": st.just("number"), "minimum": st.integers(-2, 2), "exclusiveMaximum": st.just(2)}
)
LEAVES = st.one_of(
    st.fixed_dictionaries({"type": st.one_of(TYPES, st.lists(TYPES, min_size=1, unique=True))}),
    st.fixed_dictionaries({"enum": st.lists(st.one_of(st.integers(0, 1), st.booleans()), min_size=1)}),
    LIMITED,
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.sampled_from("ab"), inner),
                "required": st.lists(st.sampled_from("ab"), unique=True),
                "additionalProperties": st.one_of(st.booleans(), inner),
            }
        ),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=300)
@given(SCHEMAS, VALUES)
def test_values_pass_exactly_where_jsonschema_lets_them_pass(schema: dict[str, Any], value: Any) -> None:
    try:
        check_value(value, read_schema({"properties": {"x": schema}}, ())["properties"]["x"], ())
    except SpecError:
        passes = False
    else:
        passes = True
    assert passes == jsonschema.Draft202012Validator(schema).is_valid(value)


def test_a_schema_names_types() -> None:
    assert allows_type({"type": "string"}, "x")
    assert allows_type({"anyOf": [{"minimum": 0}, {"type": "null"}]}, None)
    assert allows_type({"enum": ["auto", 1]}, "auto")
    assert not allows_type({"minimum": 0}, 2.5)
    assert not allows_type({"enum": ["auto", 1]}, True)


def test_only_a_real_number_wants_a_point() -> None:
    assert wants_float({"anyOf": [{"type": "number"}, {"type": "null"}]})
    assert not wants_float({"type": ["number", "integer"]})
    assert not wants_float({})
