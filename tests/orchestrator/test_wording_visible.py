"""What others wrote is shown, and never obeyed."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wording import csv_cell, one_line, visible, visible_json

ANYTHING = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("10 %\r100 %", "10 %\\r100 %"),
        ("a\u202eb\u2066c\u200fd\u061ce", "a\\u202eb\\u2066c\\u200fd\\u061ce"),
        ("a\u200bb\ufeffc\u00add", "a\\u200bb\\ufeffc\\xadd"),
        ("a\u2028b\u2029c\x85d\x00e", "a\\u2028b\\u2029c\\x85d\\x00e"),
        ("\ud800", "\\ud800"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_signs_that_a_screen_obeys_or_hides_are_shown_as_their_codes(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "größe 25 %", "one\n\ttwo\n", "−0.4 … 日本語 🛰", "no\u00a0break"])
def test_text_that_anybody_can_read_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_line_of_windows_ends_as_any_other() -> None:
    assert visible("one\r\ntwo\r\n") == "one\ntwo\n"


@given(ANYTHING)
def test_whatever_is_shown_can_be_written_and_holds_nothing_hidden(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not {sign for sign in shown if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {"\n", "\t"}
    assert visible(shown) == shown


@given(ANYTHING)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert "\t" not in one_line(text)


@given(ANYTHING, st.integers(min_value=4, max_value=50))
def test_one_line_is_no_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(one_line(text, limit)) <= limit


def test_a_line_that_is_shortened_says_so() -> None:
    assert one_line("word " * 1000, 20) == "word word word w […]"
    assert one_line("short", 20) == "short"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "  =1", "\n=1", "＝1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["E5", "a=b", "", "-0.5", "+1e-3", "−0.4", 3, -0.25, True, None])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) is value


def test_hidden_signs_in_a_cell_are_shown() -> None:
    assert csv_cell("a\x1b[2Jb") == "a\\x1b[2Jb"


@given(ANYTHING)
def test_a_json_document_holds_nothing_hidden_and_reads_the_same(text: str) -> None:
    document = visible_json(json.dumps({"title": text}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {"title": text}
    assert visible(document) == document
