"""Sentences that a newcomer reads once: at most 25 words, in docstrings, comments and the pages of this repository."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.sources import NAMES, ROOT, SOURCES, tree_of

MAX_WORDS = 25
MIN_COMMENTS = 0.02
"""Least share of lines that are comments, over the whole."""
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
HEADINGS = re.compile(r"(?m)^\s*(Args|Returns|Raises|Yields|Sources?|Attributes):\s*$")
BREAKS = re.compile(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) |\n(?=\s+\w+: )")
WORD = re.compile(r"[\w'’./-]*\w[\w'’./-]*")
HOUSE_WORDS = re.compile(r"\b(heart beats|vouched for|luck of the|litter|laid out|spoken for|gives? up the ghost)\b")
"""Words of ours that the field has better ones for: see docs/glossary.md."""


def docstrings(path: Path) -> Iterator[str]:
    """Yield every string that stands as a statement: of modules, classes, functions, fields and constants."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def comments(path: Path) -> Iterator[str]:
    """Yield comments on lines of their own; lines that follow each other are one text."""
    block: list[str] = []
    before = -1
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            if token.start[0] != before + 1 and block:
                yield " ".join(block)
                block = []
            block.append(token.string.lstrip("# "))
            before = token.start[0]
    if block:
        yield " ".join(block)


def sentences(text: str) -> Iterator[str]:
    for part in BREAKS.split(HEADINGS.sub("\n\n", text)):
        words = re.sub(r"`[^`]*`", "Code", re.sub(r"\s+", " ", part))
        yield from (one for one in re.split(r"(?<=[.!?:])\s+(?=[A-Z`\"(])", words) if not one.startswith("Source"))


def long_ones(text: str) -> list[str]:
    return [sentence for sentence in sentences(text) if len(WORD.findall(sentence)) > MAX_WORDS]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_sentences_of_the_code_are_short(path: Path) -> None:
    texts = [*docstrings(path), *comments(path)]
    assert [sentence for text in texts for sentence in long_ones(text)] == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES.get)
def test_the_fields_words_are_used(path: Path) -> None:
    assert HOUSE_WORDS.findall(path.read_text()) == []


def test_algorithms_are_commented() -> None:
    lines = [line for path in SOURCES for line in path.read_text().splitlines()]
    assert sum(line.lstrip().startswith("#") for line in lines) / len(lines) >= MIN_COMMENTS


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_sentences_of_the_pages_are_short(path: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```|^<!--.*?-->|^\|.*?$|<[^>]+>", "", path.read_text())
    prose = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"(?m)^#+ .*$", "", prose))
    assert long_ones(prose) == []
