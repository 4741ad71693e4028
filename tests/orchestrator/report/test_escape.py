"""Text of others stands for itself in Markdown."""

import re

import pytest
from markdown_it import MarkdownIt

from orchestrator.report.escape import MAX_LETTERS, escape_cell, escape_text


@pytest.mark.parametrize(
    "words",
    ["a | b", "*stars* and _lines_", "[link](javascript:alert(1))", "# no heading", "- no list", "1. no list",
     "too_slow", "back\\slash", "~~gone~~", "p < 0.001", "<b>", "one ` tick"],
)  # fmt: skip
def test_words_stand_for_themselves_in_markdown(words: str) -> None:
    (paragraph,) = re.findall(r"^<p>(.*)</p>$", MarkdownIt("commonmark").enable("table").render(escape_text(words)))
    assert paragraph == words.replace("<", "&lt;").replace(">", "&gt;")


def test_code_in_words_stays_code() -> None:
    assert escape_text("set `a_b | c` *now*") == r"set `a_b \| c` \*now\*"


def test_a_cell_is_one_line_without_an_end_of_its_own() -> None:
    assert escape_cell("a | b\nc") == r"a \| b c"
    assert len(escape_cell("a" * 2 * MAX_LETTERS)) == MAX_LETTERS


def test_a_value_that_is_no_text_is_written_as_one() -> None:
    assert (escape_cell(3), escape_text(3)) == ("3", "3")
