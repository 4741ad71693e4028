"""A script's tree: its framework, and the values that the tree alone tells."""

import ast
from typing import Any

import pytest

from orchestrator.scripts.syntax import (
    NotPlainError,
    call_name,
    calls,
    executed_file,
    framework_of,
    parser_calls,
    plain_or_text,
    text_of,
    value_of,
)
from tests.builders import scripts


@pytest.mark.parametrize(
    ("source", "framework"),
    [
        (scripts.ARGPARSE, "argparse"),
        (scripts.GLOBALS, "globals"),
        (scripts.HYDRA, "hydra"),
        ("from hydra import main\n@main(config_name='c')\ndef f(cfg): ...\n", "hydra"),
        (scripts.DATACLASS, "hf"),
        (scripts.ABSL, "absl"),
        (scripts.CLICK, "click"),
        (scripts.FIRE, "fire"),
        ("from lightning.pytorch.cli import LightningCLI\nLightningCLI()\n", "lightning"),
        ("class MyLightningCLI: ...\nMyLightningCLI()\n", "lightning"),
        ("from jsonargparse import ArgumentParser\nArgumentParser().parse_args()\n", "jsonargparse"),
        (scripts.NOTHING, "none"),
        ("import click\nclick.echo('x')\n", "none"),
        ("exec('x = 1')\n", "none"),
    ],
)
def test_the_tree_tells_the_framework(source: str, framework: str) -> None:
    assert framework_of(ast.parse(source)) == framework


def expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("5 * 8", 40), ("-1e-3", -1e-3), ("2 ** 10", 1024), ("7 // 2", 3), ("1 / 4", 0.25), ("known + 1", 3),
        ("(1, 'a')", [1, "a"]), ("None", None), ("True", True), ("3 - 1", 2),
    ],
)  # fmt: skip
def test_literals_and_arithmetic_have_a_value(source: str, value: Any) -> None:
    assert value_of(expression(source), {"known": 2}) == value


@pytest.mark.parametrize(
    "source", ["f()", "unknown", "1 / 0", "9 ** 9999", "1 % 2", "'a' + 'b'", "True + 1", "{'a': 1}", "b'x'", "[f()]"]
)
def test_everything_else_has_none(source: str) -> None:
    with pytest.raises(NotPlainError):
        value_of(expression(source))


def test_an_expression_without_a_value_is_given_as_it_is_written() -> None:
    assert plain_or_text(expression("os.cpu_count()")) == (None, "os.cpu_count()")
    assert plain_or_text(None) == (None, "")


def test_texts_are_joined_and_cleaned() -> None:
    assert text_of(expression("'a  b\\n' 'c' + ' d'")) == "a b c d"
    assert text_of(expression("f()")) == text_of(None) == ""


def test_calls_come_in_the_order_of_the_lines() -> None:
    tree = ast.parse("b(a())\nc.d()\n(e)()()\n")
    assert [call_name(call) for call in calls(tree)] == ["b", "a", "c.d", "e", "e"]


def test_the_file_that_is_executed() -> None:
    (first, *_) = calls(ast.parse("exec(open('configurator.py').read())"))
    assert executed_file(first) == "configurator.py"
    (other, *_) = calls(ast.parse("exec(name)"))
    assert executed_file(other) == ""


def test_parsers_are_known_by_their_name() -> None:
    tree = ast.parse("argparse.ArgumentParser()\nHfArgumentParser(A)\nparser()\n")
    assert len(parser_calls(tree)) == 2
