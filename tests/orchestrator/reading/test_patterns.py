"""Literal text with named numbers finds these numbers, and nothing else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.reading.patterns import (
    MAX_LINE,
    MAX_REGEX,
    MAX_REGEX_LINE,
    clean_lines,
    compile_pattern,
    resolution_of,
    split_tail,
)


def values_of(pattern: str, line: str) -> dict[str, float] | None:
    found = compile_pattern(pattern).find(line)
    return None if found is None else found.values


@pytest.mark.parametrize(
    ("pattern", "line", "values"),
    [
        ("loss: {loss}", "epoch 3, loss: 0.25", {"loss": 0.25}),
        (
            "step {step}: train loss {a}, val loss {b}",
            "step 250:  train\tloss 4.2, val loss 4.3e-1",
            {"step": 250, "a": 4.2, "b": 0.43},
        ),
        ("({acc}%)", "Accuracy (87%)", {"acc": 87}),
        ("acc {acc}%", "acc 87.5 %", {"acc": 87.5}),
        ("acc {acc}%", "acc 0.875", {"acc": 0.875}),
        ("acc {acc}", "acc 87.5%", {"acc": 87.5}),
        ("{{x}} {v}", "a {x} -3", {"v": -3}),
        ("{v} tokens", "read 12 tokens", {"v": 12}),
        ("v={v},", "v=.5, w=1", {"v": 0.5}),
        ("loss {v}", "loss tensor", None),
        ("mean {v}", "mean 5.e-03", {"v": 0.005}),
        ("mean {v}", "mean 5.", {"v": 5}),
        ("mean {v}", "mean +1E6.", {"v": 1e6}),
        ("v {v}", "v inf", {"v": math.inf}),
        ("v {v}", "v -Infinity,", {"v": -math.inf}),
        (r"regex:loss=(?P<loss>[-.e\d]+)", "loss=1e-3", {"loss": 0.001}),
        (r"regex:(?P<a>\d+)(?: of (?P<b>\d+))?", "7", {"a": 7}),
        (r"regex:v=(?P<v>[-.e\d]+)", "v=1-2", None),
    ],
)
def test_named_numbers_are_found(pattern: str, line: str, values: dict[str, float] | None) -> None:
    assert values_of(pattern, line) == values


def test_nan_is_a_number() -> None:
    assert math.isnan((values_of("loss {loss}", "loss NaN") or {})["loss"])


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("loss: {loss}", "val_loss: 0.5"),
        ("loss: {loss}", "eval/loss: 0.5"),
        ("tokens {n}", "tokens 1,234"),
        ("{n} tokens", "1,234 tokens"),
        ("{n} tokens", "v1234 tokens"),
        ("size {n}", "size 1.2M"),
        ("version {n}", "version 1.2.3"),
        ("step {n}", "step 10abc"),
        ("note {n}", "note info"),
        ("a b {n}", "ab 3"),
    ],
)
def test_a_part_of_a_word_or_of_a_number_is_none(pattern: str, line: str) -> None:
    assert compile_pattern(pattern).find(line) is None


def test_two_numbers_with_a_slash_are_a_ratio() -> None:
    pattern = compile_pattern("Accuracy: {correct}/{total}")
    found = pattern.find("Test set: Average loss: 0.46, Accuracy: 519/597 (87%)")
    assert found is not None
    assert found.values == {"correct": 519, "total": 597, "correct/total": 519 / 597}
    assert found.resolutions["correct/total"] == pytest.approx(1 / 597)
    assert pattern.quantities == ("correct/total",)


def test_a_ratio_over_zero_is_not_finite() -> None:
    assert math.isnan((values_of("{a}/{b}", "0/0") or {})["a/b"])


def test_a_step_is_no_quantity() -> None:
    assert compile_pattern("step {step}: loss {loss}, acc {a}/{b}").quantities == ("loss", "a/b")
    assert compile_pattern("epoch {epoch} loss {loss}").step_name == "epoch"
    assert compile_pattern("loss {loss}").step_name is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("loss: ", "`loss: ` names no number; put a name in braces where it stands, such as `loss: {loss}`"),
        ("{a} and {a}", "`{a} and {a}` has `{a}` twice; give each number a name of its own"),
        ("{a}{b}", "`{a}{b}` leaves open where one number ends; put text between them"),
        ("{a b}", "`{a b}` in `{a b}` is no name"),
        ("{}", "`{}` in `{}` is no name"),
        ("loss {", "has a single `{`; write it twice if the line has it"),
        ("{a} }", "has a single `}`"),
        ("regex:(", "`(` is no regular expression: "),
        (r"regex:\d+", "names no number; name a group where it stands, such as `(?P<loss>[0-9.]+)`"),
        ("regex:(?P<x>[a-z]+)", "group `x` of `(?P<x>[a-z]+)` fits no number; write how one looks"),
        (
            r"regex:(\d+)+(?P<x>\d)",
            r"`(\d+)` in `(\d+)+(?P<x>\d)` repeats what itself repeats, which can take for ever",
        ),
        (r"regex:(?:a|a)*(?P<x>\d)", "repeats what itself repeats"),
        (r"regex:(?:a?){30}(?P<x>\d)", "repeats what itself repeats"),
        ("regex:" + "a" * MAX_REGEX + r"(?P<x>\d)", f"at most {MAX_REGEX} are taken; shorten it"),
    ],
)
def test_what_can_find_no_number_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_pattern(pattern)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        r"regex:(?:ab)+ (?P<x>\d+)",
        r"regex:[(+]+(?P<x>\d+)",
        r"regex:\(+(?P<x>\d{7})",
        r"regex:(?P<a>[.\d]+) (?P<b>(?P=a))",
    ],
)
def test_harmless_expressions_are_taken(pattern: str) -> None:
    assert compile_pattern(pattern).names


def test_long_lines_are_searched_at_their_head_alone() -> None:
    assert values_of("loss {x}", " " * MAX_LINE + "loss 1") is None
    assert values_of(r"regex:loss (?P<x>\d)", " " * MAX_REGEX_LINE + "loss 1") is None


@pytest.mark.parametrize("line", ["1" * 10**6, "a" + " " * 10**6, "a 1" * 10**6, "0" * 10**6])
@pytest.mark.parametrize("pattern", ["a {x} b {y}", "{x}/{y}", "0{x} y"])
def test_hostile_lines_are_searched_to_their_bound(pattern: str, line: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.find(line) == compiled.find(line[:MAX_LINE])


@given(st.floats(allow_nan=False), st.sampled_from(["{:.3f}", "{:g}", "{!r}", "{:+.2e}"]))
def test_every_number_that_python_prints_is_read(value: float, form: str) -> None:
    text = form.format(value)
    assert values_of("v = {v}", f"at v = {text}, and more") == {"v": float(text)}


def test_lines_end_at_carriage_returns_and_backspaces_and_lose_their_colours() -> None:
    text = "\x1b[1m10%\x1b[0m\rloss 1\x1b[K\x08\x08loss 2\n\n\x1b]0;title\x07 loss 3 \n"
    assert list(clean_lines(text)) == ["10%", "loss 1", "loss 2", "loss 3"]


def test_a_line_that_is_still_written_is_kept_apart() -> None:
    assert split_tail("a\nb\rc") == ("a\nb\r", "c")
    assert split_tail("c") == ("", "c")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("86.9", 0.1),
        ("519", 1),
        ("1e-3", 1e-3),
        ("1.50e-05", 1e-7),
        ("-.25", 0.01),
        ("5.", 1),
        ("nan", None),
        ("", None),
    ],
)
def test_the_last_digit_tells_the_resolution(text: str, unit: float | None) -> None:
    assert resolution_of(text) == (None if unit is None else pytest.approx(unit))
