"""Parameters as files: every usual reader reads back what was written, and merging keeps what else is there."""

import json
import tomllib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.errors import SpecError
from orchestrator.task.config_files import format_of, merge, render

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
HARD_TEXTS = st.sampled_from(
    ["no", "on", "1e-3", "null", "~", "0o7", "12:30", "# x", "a: b", "\x7f", "\x85", "\u2028", "'", '"']
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), FLOATS, TEXTS, HARD_TEXTS)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
NAMES = st.one_of(st.from_regex(r"[a-z]{1,3}", fullmatch=True), HARD_TEXTS)
PARAMETERS = st.dictionaries(NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=4)


def same(one: object, other: object) -> bool:
    """Equal with the same types at each place; the order of keys does not matter."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def read_yaml_1_2(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


class TestRender:
    @settings(deadline=None)
    @given(PARAMETERS)
    def test_each_reader_reads_back_what_was_written(self, parameters: dict[str, Any]) -> None:
        assert same(json.loads(render(parameters, "json")), parameters)
        assert same(yaml.safe_load(render(parameters, "yaml")), parameters)
        assert same(read_yaml_1_2(render(parameters, "yaml")), parameters)
        assert same(tomllib.loads(render(parameters, "toml")), parameters)

    def test_a_float_has_a_point_for_readers_of_old_yaml(self) -> None:
        text = render({"lr": 1e-5, "model": {"depth": 2, "drop": None, "sizes": [1, 2.0]}}, "yaml")
        assert text == (
            '{\n  "lr": 1.0e-05,\n  "model": {\n    "depth": 2,\n    "drop": null,\n    "sizes": [1, 2.0]\n  }\n}\n'
        )
        assert yaml.safe_load(text)["lr"] == 1e-5

    def test_toml_has_a_line_for_each_value(self) -> None:
        parameters = {"lr": 0.1, "model": {"depth": 2, "a b": {}}, "steps": [{"at": 1}]}
        assert render(parameters, "toml") == 'lr = 0.1\nmodel.depth = 2\nmodel."a b" = {}\nsteps = [{at = 1}]\n'

    def test_toml_holds_no_null(self) -> None:
        with pytest.raises(SpecError) as refused:
            render({"model": {"drop": None}}, "toml")
        assert str(refused.value) == "`model.drop` is null, which TOML cannot hold; use `{config.yaml}`"
        assert refused.value.where == ("model", "drop")


class TestMerge:
    @settings(deadline=None)
    @given(PARAMETERS)
    def test_merging_into_nothing_is_writing(self, parameters: dict[str, Any]) -> None:
        assert same(json.loads(merge("{}", parameters, "a.json")), parameters)
        assert same(yaml.safe_load(merge("{}", parameters, "a.yaml")), parameters)
        assert same(read_yaml_1_2(merge("{}", parameters, "a.yml")), parameters)
        assert same(tomllib.loads(merge("", parameters, "a.toml")), parameters)

    def test_other_keys_of_yaml_keep_their_spelling(self) -> None:
        text = "# settings\nmodel:\n  depth: 1\n  wide: yes\nlr: 1e-3\nname: on\n"
        merged = merge(text, {"model": {"depth": 2}, "log": "no"}, "conf/a.yaml")
        assert merged == 'model:\n  depth: 2\n  wide: yes\nlr: 1e-3\nname: on\n"log": "no"\n'

    def test_an_alias_of_yaml_stays_what_it_was(self) -> None:
        merged = merge("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  z: 3\n", {"b": {"x": 5}, "c": {"y": 6}}, "a.yaml")
        assert yaml.safe_load(merged) == {"a": {"x": 1, "y": 2}, "b": {"x": 5, "y": 2}, "c": {"x": 1, "y": 6, "z": 3}}

    def test_other_keys_of_json_and_toml_stay(self) -> None:
        assert json.loads(merge('{"a": {"b": 1, "c": 2}}', {"a": {"b": 3}}, "a.json")) == {"a": {"b": 3, "c": 2}}
        text = "day = 2026-01-02\nx = inf\n[a]\nb = 1\nc = 2\n"
        merged = tomllib.loads(merge(text, {"a": {"b": 3}}, "a.toml"))
        assert merged == tomllib.loads(text) | {"a": {"b": 3, "c": 2}}

    def test_a_value_takes_the_place_of_a_section(self) -> None:
        assert json.loads(merge('{"a": {"b": 1}}', {"a": 2}, "a.json")) == {"a": 2}

    @pytest.mark.parametrize(
        ("path", "text", "message"),
        [
            ("a.json", "{", "a.json is not JSON: Expecting property name"),
            ("a.toml", "x", "a.toml is not TOML: Expected '='"),
            ("a.yaml", "a: [", "a.yaml is not YAML: "),
            (
                "a.json",
                "[1]",
                "a.json holds no keys with values, so no parameter can be put in; say `write` instead of `merge`",
            ),
            ("a.yaml", "", "a.yaml holds no keys with values"),
        ],
    )
    def test_a_file_that_cannot_be_merged_into_is_refused(self, path: str, text: str, message: str) -> None:
        with pytest.raises(SpecError) as refused:
            merge(text, {"x": 1}, path)
        assert str(refused.value).startswith(message)


def test_the_suffix_gives_the_format() -> None:
    assert [format_of(path) for path in ("a.json", "b/c.yml", "d.yaml", "e.toml")] == ["json", "yaml", "yaml", "toml"]
