"""Numbers, lists and foreign text, written for a person. Pure."""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence

MISSING = "–"
NOT_RECORDED = "not recorded"


def percent(value: float | None) -> str:
    """Write a share in percent: 85.0 %."""
    return MISSING if value is None else f"{value:.1f} %"


def points(value: float | None) -> str:
    """Write a difference in percentage points: +1.0, −0.4."""
    if value is None:
        return MISSING
    # Without rounding first, a tiny negative number would read "−0.0".
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def interval(ends: tuple[float, float] | None) -> str:
    """Write an interval in percentage points: [−0.4, +2.1]. An end that rounds to zero keeps its sign."""
    if ends is None:
        return MISSING
    low, high = (f"{end:+.1f}".replace("-", "−") for end in ends)
    return f"[{low}, {high}]"


def coverage(level: float) -> str:
    """Write the coverage of intervals at an error level: 0.05 gives 95 %, 0.0166 gives 98.34 %."""
    return f"{100 * (1 - level):.4g} %"


def interval_at(ends: tuple[float, float] | None, level: float, usual_level: float) -> str:
    """Write an interval, and its coverage if it is not the usual one: [+0.2, +2.1] (98.34 %)."""
    return interval(ends) if ends is None or level == usual_level else f"{interval(ends)} ({coverage(level)})"


def span(low: float, high: float) -> str:
    """Write a range: 1.6 to 1.9; only 1.6 if both ends read the same."""
    ends = [plain(end, 1) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def probability(value: float | None) -> str:
    """Write a p-value with three places: 0.012, < 0.001."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: float | None, places: int = 2) -> str:
    """Write a number without a plus sign: 1.25."""
    return MISSING if value is None else f"{value:.{places}f}"


def counted(number: int, one: str, many: str = "") -> str:
    """Write a count with its noun: 1 seed, 2 seeds."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(words: Iterable[object]) -> str:
    """Join words as a sentence does: a, b and c."""
    *first, last = [str(word) for word in words] or [MISSING]
    return f"{', '.join(first)} and {last}" if first else last


def seeds(numbers: Sequence[int]) -> str:
    """Name seeds: seed 0, seeds 0 and 1."""
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {listed(numbers)}"


def shell_command(words: Sequence[str], width: int = 110) -> str:
    """Write a command for a shell; a line wider than `width` characters breaks before a flag."""
    flags: list[str] = []
    for word in words:
        if word.startswith("--") or not flags:
            flags.append(shlex.quote(word))
        else:
            flags[-1] += f" {shlex.quote(word)}"
    lines = flags[:1]
    for flag in flags[1:]:
        if len(f"{lines[-1]} {flag} \\") > width:
            lines.append(f"    {flag}")
        else:
            lines[-1] += f" {flag}"
    return " \\\n".join(lines)


HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of invisible characters: controls, format marks, halves of pairs, separators of lines."""
FORMULA = re.compile(r"\s*[=+\-@\t＝＋－＠]")
"""Beginning of a cell that a spreadsheet takes for a formula."""
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
ELLIPSIS = " […]"


def visible(text: str) -> str:
    r"""Replace characters that a terminal would obey or hide by their codes; keep `\n` and `\t`.

    The character that begins an escape sequence becomes the four characters `\x1b`. `\r\n` becomes `\n`.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _show(character) for character in text.replace("\r\n", "\n")
    )


def one_line(text: str, limit: int | None = None) -> str:
    """Write a text in one line: as `visible`, with single spaces, and at most `limit` characters."""
    # Cut first: a line of a log may have many megabytes.
    kept = text if limit is None else text[: 10 * limit]
    shown = " ".join(visible(kept).split())
    if limit is None or (len(shown) <= limit and len(kept) == len(text)):
        return shown
    return shown[: max(limit - len(ELLIPSIS), 0)].rstrip() + ELLIPSIS


def visible_json(text: str) -> str:
    r"""Escape the invisible characters of a JSON document as JSON does, `\u202e`; its values stay the same."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or _show(character) == character else _escape_json(character)
        for character in text
    )


def csv_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe in front.

    Numbers stay as they are, also a number written as text.
    """
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if FORMULA.match(shown) and not NUMBER.fullmatch(shown) else shown


def _show(character: str) -> str:
    """Return one character, or its code if it is invisible."""
    if character in "\n\t" or unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _escape_json(character: str) -> str:
    """Write a character as JSON does; one beyond the first 65,536 takes two codes."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def describe_seconds(seconds: float) -> str:
    """Write a duration: 90 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def describe_bytes(num_bytes: float) -> str:
    """Write a size: 12.5 MB, 3.0 GB."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of a message: the nearest valid name, or all names if none is near."""
    valid = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(valid)}"
