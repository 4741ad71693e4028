"""Text of other people made safe to show: in a terminal, a report, a table of a spreadsheet. Pure.

Logs, titles, names and reasons may hold signs that a screen obeys instead of showing: escape sequences, marks that turn
the writing direction, signs without a width. They are shown as the codes that Python writes for them.
"""

import re
import unicodedata

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of signs that show nothing: controls, format marks, halves of pairs, separators of lines."""
FORMULA = re.compile(r"\s*[=+\-@\t＝＋－＠]")
"""How a cell begins that a spreadsheet computes instead of showing."""
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
ELLIPSIS = " […]"


def visible(text: str) -> str:
    r"""Show the signs that a screen would obey, or would hide, as their codes; keep `\n` and `\t`.

    The sign that begins an escape sequence becomes the four signs `\x1b`. A line of Windows ends as any other.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _show(sign) for sign in text.replace("\r\n", "\n"))


def one_line(text: str, limit: int | None = None) -> str:
    """Show a text in one line: as `visible`, each run of white space a space, and at most `limit` signs of it."""
    # What stands far beyond the limit is not worth the time: a log may hold a line of many megabytes.
    kept = text if limit is None else text[: 10 * limit]
    shown = " ".join(visible(kept).split())
    if limit is None or (len(shown) <= limit and len(kept) == len(text)):
        return shown
    return shown[: max(limit - len(ELLIPSIS), 0)].rstrip() + ELLIPSIS


def visible_json(text: str) -> str:
    r"""Write the hidden signs of a JSON document in JSON's own way, `\u202e`: a program reads the same values."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or _show(sign) == sign else _escape_json(sign) for sign in text)


def csv_cell(value: object) -> object:
    """Make a cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe in front.

    Numbers stay numbers, and a text that is one stays as it is.
    """
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if FORMULA.match(shown) and not NUMBER.fullmatch(shown) else shown


def _show(sign: str) -> str:
    """Return one sign, or its code where it shows nothing."""
    if sign in "\n\t" or unicodedata.category(sign) not in HIDDEN_CATEGORIES:
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def _escape_json(sign: str) -> str:
    """Write a sign as JSON does; one beyond the first 65,536 takes two codes."""
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
