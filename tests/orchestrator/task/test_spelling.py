"""How parameters are spelled: what each kind of parser reads back equals what was passed on."""

import argparse
import ast
import csv
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.task.knobs import leaves
from orchestrator.task.spelling import Flags, Form, Spelling, TemplateStyle, spell, spell_value

NAMES = st.from_regex(r"x[a-z]{0,3}([_.-][a-z]{1,3})?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
HARD_TEXTS = st.sampled_from(
    ["", "--x=1", "-1", "1e-3", "True", "none", "null", "a b", "a=b", "\\", "\\'", "'", '"', "\n"]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.booleans(), st.integers(), FLOATS, TEXTS, HARD_TEXTS)
LISTS = st.one_of(*(st.lists(kind, max_size=3) for kind in (st.integers(), FLOATS, TEXTS, HARD_TEXTS)))
PARAMETERS = st.dictionaries(NAMES, st.one_of(st.none(), SCALARS, LISTS), max_size=5)


def same(one: object, other: object) -> bool:
    """Equal with the same types, also inside lists and mappings."""
    return repr(one) == repr(other)


def argparse_reader(parameters: Mapping[str, Any], forms: Mapping[str, str]) -> argparse.ArgumentParser:
    """Build the parser of a script that has these parameters, as their values and forms say."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name, value in parameters.items():
        options: dict[str, Any] = {"dest": name}
        match forms.get(name):
            case "switch":
                options |= {"action": "store_true"}
            case "pair":
                options |= {"action": argparse.BooleanOptionalAction}
            case "type_bool":
                options |= {"type": bool, "default": not value}
            case "text":
                options |= {"type": {"True": True, "False": False}.get}
            case "nargs":
                options |= {"nargs": "*", "type": type(value[0]) if value else str}
            case "append":
                options |= {"action": "append", "type": type(value[0]) if value else str}
            case "comma":
                kind = type(value[0]) if value else str
                options |= {"type": lambda text, kind=kind: [kind(one) for one in text.split(",")] if text else []}
            case "json":
                options |= {"type": json.loads}
            case _:
                options |= {"type": str if value is None else type(value)}
        parser.add_argument(f"--{name}", **options)
    return parser


class TestArgparse:
    @settings(deadline=None)
    @given(st.data())
    def test_what_argparse_reads_is_what_was_passed_on(self, data: st.DataObject) -> None:
        parameters = data.draw(PARAMETERS)
        forms = {
            name: data.draw(st.sampled_from(["switch", "pair", "type_bool", "text"]))
            for name, value in parameters.items()
            if isinstance(value, bool)
        }
        forms |= {
            name: data.draw(st.sampled_from(forms_for(value)))
            for name, value in parameters.items()
            if type(value) is list
        }
        words = spell(parameters, Spelling("argparse", forms))
        assert same(vars(argparse_reader(parameters, forms).parse_args(words)), parameters)

    def test_a_negative_number_is_one_word(self) -> None:
        assert spell({"lr": -1e-4, "n": 3, "name": "-x y"}, Spelling("argparse")) == (
            "--lr=-0.0001",
            "--n=3",
            "--name=-x y",
        )

    def test_nested_parameters_have_dotted_names_and_null_is_left_out(self) -> None:
        parameters = {"model": {"depth": 2, "drop": None, "extra": {}}, "lr": 3.0}
        assert spell(parameters, Spelling("argparse")) == ("--model.depth=2", "--model.extra={}", "--lr=3.0")

    @pytest.mark.parametrize(
        ("form", "if_true", "if_false"),
        [
            ("switch", ("--x",), ()),
            ("pair", ("--x",), ("--no-x",)),
            ("type_bool", ("--x=True",), ("--x=",)),
            ("text", ("--x=True",), ("--x=False",)),
            (Flags(if_true="--use_x", if_false="--no_use_x"), ("--use_x",), ("--no_use_x",)),
            (Flags(if_false="--without-x"), (), ("--without-x",)),
        ],
    )
    def test_a_boolean_has_the_form_of_its_parser(
        self, form: Form, if_true: tuple[str, ...], if_false: tuple[str, ...]
    ) -> None:
        assert spell({"x": True}, Spelling("argparse", {"x": form})) == if_true
        assert spell({"x": False}, Spelling("argparse", {"x": form})) == if_false

    @pytest.mark.parametrize(
        ("form", "words"),
        [
            ("nargs", ("--x", "1", "-0.00001")),
            ("append", ("--x=1", "--x=-1e-05")),
            ("comma", ("--x=1,-1e-05",)),
            ("json", ("--x=[1, -1e-05]",)),
        ],
    )
    def test_a_list_has_the_form_of_its_parser(self, form: Form, words: tuple[str, ...]) -> None:
        assert spell({"x": [1, -1e-5]}, Spelling("argparse", {"x": form})) == words

    @pytest.mark.parametrize(
        ("value", "form", "message"),
        [
            (
                True,
                None,
                "`m.x` is true or false, and parsers differ in how they are told so: write `forms: {m.x: switch}` "
                "(`--m.x` or nothing), `pair` (or `--no-m.x`), `type_bool` (or `--m.x=`) or `text` (or `--m.x=False`)",
            ),
            (
                [1],
                "switch",
                "`m.x` is a list, and parsers differ in how they are told so: write `forms: {m.x: nargs}` "
                "(`--m.x 1 2`), `append` (`--m.x=1 --m.x=2`), `comma` (`--m.x=1,2`) or `json` (`--m.x=[1, 2]`)",
            ),
            (
                [None],
                "comma",
                "`m.x` holds a null, a list or a mapping, which the form `comma` cannot spell; use `json`",
            ),
            ([], "append", "`m.x` is an empty list, which the form `append` cannot spell"),
            (
                ["a,b"],
                "comma",
                "a value of `m.x` holds a comma, a quote or outer space, which the form `comma` cannot spell; "
                "use `append`",
            ),
            (
                ["-a"],
                "nargs",
                "the value `-a` of `m.x` begins with a dash, so `nargs` cannot spell it; use `append`",
            ),
        ],
    )
    def test_what_cannot_be_spelled_is_refused(self, value: object, form: Form | None, message: str) -> None:
        forms = {"m.x": form} if form else {}
        with pytest.raises(SpecError) as refused:
            spell({"m": {"x": value}}, Spelling("argparse", forms))
        assert str(refused.value) == message
        assert refused.value.where == ("m", "x")


def forms_for(values: list[Any]) -> list[str]:
    """List the forms that can spell a list."""
    texts = [value for value in values if isinstance(value, str)]
    forms = ["json"]
    if not any(text.startswith("-") for text in texts):
        forms.append("nargs")
    if values:
        forms.append("append")
    if not any(set(text) & set(',"\r\n') or text != text.strip() for text in texts) and values != [""]:
        forms.append("comma")
    return forms


def read_as_nanogpt(words: tuple[str, ...]) -> dict[str, Any]:
    """Read arguments as nanoGPT's `configurator.py` does: split at each `=`, evaluate, or keep the text."""
    found = {}
    for word in words:
        key, text = word.split("=")
        try:
            found[key.removeprefix("--")] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            found[key.removeprefix("--")] = text
    return found


class TestLiteral:
    @settings(deadline=None)
    @given(PARAMETERS)
    def test_what_literal_eval_reads_is_what_was_passed_on(self, parameters: dict[str, Any]) -> None:
        assert same(read_as_nanogpt(spell(parameters, Spelling("literal"))), parameters)

    def test_plain_words_need_no_quotes(self) -> None:
        parameters = {
            "data": "../tiny_char",
            "compile": False,
            "lr": 1e-5,
            "init": "resume",
            "name": "1e3",
            "none": None,
        }
        assert spell(parameters, Spelling("literal")) == (
            "--data=../tiny_char",
            "--compile=False",
            "--lr=1e-05",
            "--init=resume",
            "--name='1e3'",
            "--none=None",
        )


def read_as_absl(words: tuple[str, ...], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read arguments as absl's flags do, whose kinds are those of the parameters; null is the default."""
    found: dict[str, Any] = dict.fromkeys(parameters)
    for word in words:
        name, is_given, text = word.removeprefix("--").partition("=")
        value = parameters.get(name)
        if not is_given:
            found[name if name in parameters else name.removeprefix("no")] = name in parameters
        elif isinstance(value, list):
            items = next(csv.reader([text], strict=True)) if text else []
            found[name] = [type(value[0])(item) for item in items]
        else:
            found[name] = type(value)(text)
    return found


class TestAbsl:
    @settings(deadline=None)
    @given(st.dictionaries(NAMES, st.one_of(st.none(), SCALARS, st.lists(st.integers())), max_size=5))
    def test_what_flags_of_absl_read_is_what_was_passed_on(self, parameters: dict[str, Any]) -> None:
        assert same(read_as_absl(spell(parameters, Spelling("absl")), parameters), parameters)

    def test_a_form_holds_over_the_usual_one(self) -> None:
        forms: dict[str, Form] = {"x": "text", "y": "append"}
        assert spell({"x": True, "y": [1, 2], "z": False}, Spelling("absl", forms)) == (
            "--x=True",
            "--y=1",
            "--y=2",
            "--noz",
        )


class TestHydra:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "null"),
            (True, "true"),
            (3.0, "3.0"),
            ("adam-w", "adam-w"),
            ("/data/x.bin", "/data/x.bin"),
            ("null", "'null'"),
            ("1e3", "'1e3'"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it\'s'"),
            ("a\\b", r"'a\b'"),
            ("a\\", r"'a\\'"),
            ("\\'", r"'\\\''"),
            ([1, "a b", None], "[1,'a b',null]"),
            ([{"a": 1}], "[{a:1}]"),
        ],
    )
    def test_a_value_is_quoted_where_the_grammar_needs_it(self, value: object, text: str) -> None:
        assert spell({"a": {"b": value}}, Spelling("hydra")) == (f"a.b={text}",)

    def test_a_key_that_needs_quotes_is_refused(self) -> None:
        with pytest.raises(
            SpecError, match=r"^Hydra's overrides cannot spell the key `a b` of a mapping inside a list$"
        ):
            spell({"x": [{"a b": 1}]}, Spelling("hydra"))

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.from_regex(r"x[a-z]{0,3}(\.[a-z]{1,3})?", fullmatch=True), st.one_of(st.none(), SCALARS, LISTS)
        )
    )
    def test_what_hydra_reads_is_what_was_passed_on(self, parameters: dict[str, Any]) -> None:
        parsing = pytest.importorskip(
            "hydra.core.override_parser.overrides_parser", reason="hydra-core is installed with the extra `bench` alone"
        )
        overrides = parsing.OverridesParser.create().parse_overrides(list(spell(parameters, Spelling("hydra"))))
        read = {one.key_or_group: one.value() for one in overrides}
        assert same(read, parameters)


class TestTemplateStyle:
    def test_words_are_split_before_values_are_put_in(self) -> None:
        style = TemplateStyle(template="-{name} {value}")
        parameters = {"lr": 0.1, "name": "a {name} b", "deep": True, "none": None, "sizes": [1, 2]}
        assert spell(parameters, Spelling(style)) == (
            *("-lr", "0.1"),
            *("-name", "a {name} b"),
            *("-deep", "true"),
            *("-sizes", "[1, 2]"),
        )

    def test_booleans_and_null_have_words_of_their_own(self) -> None:
        style = TemplateStyle(template="{name}={value}", true="TRUE", false="FALSE", null="NA")
        assert spell({"x": True, "y": False, "z": None}, Spelling(style)) == ("x=TRUE", "y=FALSE", "z=NA")


@pytest.mark.parametrize(
    ("style", "value", "text"),
    [
        ("argparse", "a 'b'", "a 'b'"),
        ("argparse", False, "False"),
        ("argparse", 1e-5, "1e-05"),
        ("argparse", [1, "a"], '[1, "a"]'),
        ("literal", None, "None"),
        ("literal", [1, "a"], "[1, 'a']"),
        ("hydra", None, "null"),
        ("hydra", "a b", "a b"),
        ("absl", True, "True"),
        (TemplateStyle(template="{name}={value}"), True, "true"),
    ],
)
def test_one_value_has_a_text_inside_a_word(style: Any, value: object, text: str) -> None:
    assert spell_value("x", value, Spelling(style)) == text


def test_null_has_no_text_in_most_styles() -> None:
    with pytest.raises(SpecError, match=r"^`\{params.m.x\}` is null, which no text stands for$") as refused:
        spell_value("m.x", None, Spelling("absl"))
    assert refused.value.where == ("m", "x")


@settings(deadline=None)
@given(PARAMETERS)
def test_a_style_of_one_word_gives_one_word_to_a_parameter(parameters: dict[str, Any]) -> None:
    for style in ("literal", "hydra"):
        words = spell(parameters, Spelling(style))
        names = [re.split("=", word)[0].removeprefix("--") for word in words]
        assert names == [name for name, _ in leaves(parameters)]
