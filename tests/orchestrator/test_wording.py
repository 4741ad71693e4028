"""Numbers as a person reads them."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import wording


@pytest.mark.parametrize("write", [wording.percent, wording.points, wording.interval, wording.probability])
def test_a_missing_number_is_a_dash_and_never_zero(write: Callable[[None], str]) -> None:
    assert write(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(1.04, "+1.0"), (-0.44, "−0.4"), (0.0, "+0.0"), (-0.04, "+0.0"), (-12.0, "−12.0")]
)
def test_differences_carry_a_sign_and_nothing_is_minus_zero(value: float, text: str) -> None:
    assert wording.points(value) == text


def test_an_end_that_rounds_to_zero_keeps_the_side_it_lies_on() -> None:
    assert wording.interval((-0.04, 2.06)) == "[−0.0, +2.1]"


@pytest.mark.parametrize(("value", "text"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_tiny_probabilities_are_bounded_and_not_called_zero(value: float, text: str) -> None:
    assert wording.probability(value) == text


def test_percent_and_plain_numbers_have_fixed_places() -> None:
    assert (wording.percent(85.04), wording.plain(1.25), wording.plain(1.25, 1)) == ("85.0 %", "1.25", "1.2")


@pytest.mark.parametrize(
    ("number", "one", "many", "text"),
    [
        (1, "seed", "", "1 seed"),
        (0, "seed", "", "0 seeds"),
        (1200, "burst", "", "1,200 bursts"),
        (2, "is", "are", "2 are"),
    ],
)
def test_a_count_agrees_with_its_noun(number: int, one: str, many: str, text: str) -> None:
    assert wording.counted(number, one, many) == text


@pytest.mark.parametrize(
    ("words", "text"), [([], "–"), (["a"], "a"), ([0, 1], "0 and 1"), (["a", "b", "c"], "a, b and c")]
)
def test_a_list_reads_as_in_a_sentence(words: Sequence[object], text: str) -> None:
    assert wording.listed(words) == text


@settings(deadline=None, max_examples=100)
@given(st.floats(-100.0, 100.0))
def test_a_difference_reads_back_within_half_a_place(value: float) -> None:
    text = wording.points(value)
    assert text[0] in "+−"
    assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.0501)
