"""Numbers as a person reads them."""

import shlex
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


@pytest.mark.parametrize(("level", "text"), [(0.05, "95 %"), (0.1, "90 %"), (0.07, "93 %"), (0.0166, "98.34 %")])
def test_coverage_is_one_minus_the_level(level: float, text: str) -> None:
    assert wording.coverage(level) == text


def test_interval_of_another_level_than_usual_names_its_coverage() -> None:
    assert wording.interval_at((0.2, 2.1), 0.05, 0.05) == "[+0.2, +2.1]"
    assert wording.interval_at((0.2, 2.1), 0.02, 0.05) == "[+0.2, +2.1] (98 %)"
    assert wording.interval_at(None, 0.02, 0.05) == "–"


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


@pytest.mark.parametrize(("numbers", "text"), [([3], "seed 3"), ([0, 1], "seeds 0 and 1")])
def test_seeds_are_named_with_their_noun(numbers: Sequence[int], text: str) -> None:
    assert wording.seeds(numbers) == text


@settings(deadline=None, max_examples=100)
@given(st.floats(-100.0, 100.0))
def test_a_difference_reads_back_within_half_a_place(value: float) -> None:
    text = wording.points(value)
    assert text[0] in "+−"
    assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.0501)


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\n\r\\"), max_size=30), max_size=20))
def test_a_shell_reads_a_broken_command_as_its_words(words: list[str]) -> None:
    text = wording.shell_command(["python", "-m", "model.studies.radio.by_hand", *words])
    assert shlex.split(text.replace(" \\\n", " ")) == ["python", "-m", "model.studies.radio.by_hand", *words]


def test_a_command_is_broken_before_flags_and_only_where_it_is_too_wide() -> None:
    words = ["run", "--first", "1", "--second", "2 3", "--third", "4"]
    assert wording.shell_command(words) == "run --first 1 --second '2 3' --third 4"
    assert wording.shell_command(words, width=24) == "run --first 1 \\\n    --second '2 3' \\\n    --third 4"
    assert wording.shell_command(words, width=1).count("\n") == 3
    assert all(len(line) <= 30 for line in wording.shell_command(words, width=30).splitlines())


@pytest.mark.parametrize(("low", "high", "text"), [(1.62, 1.84, "1.6 to 1.8"), (1.62, 1.6, "1.6")])
def test_span_is_one_number_where_both_ends_read_the_same(low: float, high: float, text: str) -> None:
    assert wording.span(low, high) == text


@pytest.mark.parametrize(("name", "end"), [("gama", "; did you mean `gamma`?"), ("xyz", "; there are gamma, kind")])
def test_a_wrong_name_is_answered_by_the_nearest_or_by_all(name: str, end: str) -> None:
    assert wording.did_you_mean(name, ["gamma", "kind", "gamma"]) == end
