"""What the values of options may be."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.main import build_parser
from orchestrator.cli.options import parse_budget, parse_natural, parse_positive, parse_seeds, parse_words


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("1.5h", 5400.0)])
def test_a_budget_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "2 h", "-1h", "2d", ""])
def test_a_budget_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time; say 90s, 30m or 2h"):
        parse_budget(text)


def test_seeds_are_a_number_of_them_or_a_range() -> None:
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("2-4") == (2, 3, 4)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_seeds, "a", "neither a number of seeds"),
        (parse_seeds, "4-2", "names no seed"),
        (parse_positive, "0", "is not a whole number above 0"),
        (parse_natural, "-1", "is not a whole number from 0"),
    ],
)
def test_what_is_no_number_is_refused(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)


def test_whole_numbers_are_read() -> None:
    assert (parse_positive("4"), parse_natural("0")) == (4, 0)


def test_more_seeds_than_any_command_needs_are_refused_unspelt() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="names more than 10,000 seeds"):
        parse_seeds("0-99999999")
    with pytest.raises(argparse.ArgumentTypeError, match="names more than 10,000 seeds"):
        parse_seeds("99999999")


def test_what_follows_two_dashes_belongs_to_the_script_of_init_alone() -> None:
    parser = build_parser()
    options = parse_words(parser, ["init", "train.py", "--static", "--", "--lr=1", "--", "x"])
    assert (options.script, options.static, options.arguments) == (Path("train.py"), True, ["--lr=1", "--", "x"])
    assert parse_words(parser, ["init", "train.py"]).arguments == []
    assert parse_words(parser, ["run", "--", "H2"]).experiments == ["H2"]


def test_an_argument_of_the_script_in_front_of_the_dashes_is_told_where_it_belongs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_words(build_parser(), ["init", "train.py", "--lr", "a b"])
    assert exit_info.value.code == 2
    told = "error: `init` does not know `--lr`; arguments of the script follow `--`: -- --lr 'a b'\n"
    assert capsys.readouterr().err.endswith(told)
