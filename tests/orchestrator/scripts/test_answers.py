"""What a script answered: the hook's file, and printed configurations."""

import json

import pytest

from orchestrator.scripts.answers import config_options, read_answer, read_config


def test_the_hooks_answer_is_read() -> None:
    action = {"destination": "lr", "words": ["--lr"], "type": "float", "default": 0.1}
    parsers, problem = read_answer(json.dumps({"actions": [action], "num_parsers": 2}).encode())
    assert problem == ""
    assert parsers is not None
    assert (parsers.actions[0].default, parsers.num_parsers) == (0.1, 2)


def test_an_error_and_a_spoilt_answer_are_told() -> None:
    assert read_answer(b'{"error": "it ended"}') == (None, "it ended")
    parsers, problem = read_answer(b'{"actions": 3}')
    assert parsers is None
    assert problem.startswith("its answer cannot be read: Expected `array`")
    assert read_answer(b"\xff")[0] is None


def test_a_configuration_is_found_behind_noise() -> None:
    assert read_config("a banner\nwarning: [x\n- item\nlr: 0.1\nmodel:\n  depth: 2\n") == {
        "lr": 0.1,
        "model": {"depth": 2},
    }


@pytest.mark.parametrize("output", ["", "Traceback\nsomething else\n", "a: [\n", "1: 2\n"])
def test_without_a_configuration_there_is_none(output: str) -> None:
    assert read_config(output) is None


def test_nested_keys_become_dotted_options() -> None:
    values = {"model": {"depth": 2, "name": "x", "extra": {}}, "lr": 1e-3, "on": True, "of": "${lr}", "need": "???"}
    options = {one.name: one for one in config_options(values, spelled_as_flags=False)}
    assert list(options) == ["model.depth", "model.name", "model.extra", "lr", "on", "of", "need"]
    assert (options["model.depth"].kind, options["lr"].kind, options["on"].form) == ("integer", "number", None)
    assert (options["of"].default, options["of"].expression) == (None, "${lr}")
    assert options["need"].is_required


def test_flags_need_forms_for_booleans_and_lists() -> None:
    options = config_options({"on": True, "sizes": [1], "x": 1}, spelled_as_flags=True)
    assert [one.form for one in options] == ["text", "json", None]


def test_what_no_campaign_file_holds_is_no_plain_value() -> None:
    options = config_options({"a": float("inf"), "b": [{1: 2}], "c d": 1}, spelled_as_flags=False)
    assert [one.expression for one in options] == ["inf", "[{1: 2}]", ""]
    assert options[2].problem == "its name holds a space"
