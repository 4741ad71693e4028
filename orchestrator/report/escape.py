"""Escapes text of users for Markdown: in a paragraph, or in a cell of a table. Pure."""

import re

from orchestrator.wording import one_line

MAX_LETTERS = 2_000
"""Most letters of a title, a name or a reason. What the campaign says of itself may be ten times as long."""


def escape_cell(value: object) -> str:
    """Return text as one line that fits into a cell of a Markdown table."""
    return one_line(str(value), MAX_LETTERS).replace("|", "\\|")


_CODE = re.compile(r"(`[^`]+`)")
_MARKS = re.compile(r"[\\`*\[\]|~]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|^[#=+-](?=[\s#=+-])|(?<=^\d)[.)](?=\s)")


def escape_text(value: object, limit: int = MAX_LETTERS) -> str:
    """Escape text of users so that Markdown shows it as it is, in a paragraph or a cell; backticks still mark code."""
    # Backticks are kept: commands and knobs in our sentences stay code, whatever signs they hold.
    parts = _CODE.split(one_line(str(value), limit))
    return "".join(escape_cell(part) if _CODE.fullmatch(part) else _MARKS.sub(r"\\\g<0>", part) for part in parts)
