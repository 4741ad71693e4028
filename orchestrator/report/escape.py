"""Text of others as Markdown shows it: in a paragraph or in a cell of a table. Pure."""

import re

from orchestrator.wording import one_line

MAX_LETTERS = 2_000
"""Most letters of a title, a name or a reason. What the campaign says of itself may be ten times as long."""


def escape_cell(value: object) -> str:
    """Make text fit for a cell of a Markdown table."""
    return one_line(str(value), MAX_LETTERS).replace("|", "\\|")


_CODE = re.compile(r"(`[^`]+`)")
_MARKS = re.compile(r"[\\`*\[\]|~]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|^[#=+-](?=[\s#=+-])|(?<=^\d)[.)](?=\s)")


def escape_text(value: object, limit: int = MAX_LETTERS) -> str:
    """Make text of others stand for itself in Markdown, in a paragraph or a cell; words in backticks stay code."""
    # Backticks are kept: commands and knobs in our sentences stay code, whatever signs they hold.
    parts = _CODE.split(one_line(str(value), limit))
    return "".join(escape_cell(part) if _CODE.fullmatch(part) else _MARKS.sub(r"\\\g<0>", part) for part in parts)
