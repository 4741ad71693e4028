"""What the values of options may be."""

import argparse
from collections.abc import Callable

import pytest

from orchestrator.cli.options import parse_budget, parse_natural, parse_plan_budget, parse_positive, parse_seeds


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("2h", 7200.0), ("1.5h", 5400.0)])
def test_a_budget_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "2 h", "-1h", "2d", ""])
def test_a_budget_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time; say 90s, 30m or 2h"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("text", "budget"), [("60", {"trainings": 60}), ("90s", {"seconds": 90}), ("2h", {"seconds": 7200})]
)
def test_a_plan_takes_trainings_or_a_time(text: str, budget: dict[str, float]) -> None:
    assert parse_plan_budget(text) == budget


@pytest.mark.parametrize("text", ["0", "-3", "2d", "", "1.5"])
def test_what_is_neither_trainings_nor_a_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither a number of trainings nor a time; say 60"):
        parse_plan_budget(text)


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
