"""How numbers are written for a person. Pure: a number in, a few words out.

A missing number is a dash, never a zero. Minus is U+2212, as wide as a plus, so that columns of differences line up.
"""

import shlex
from collections.abc import Iterable, Sequence

MISSING = "–"
NOT_RECORDED = "not recorded"


def percent(value: float | None) -> str:
    """Write an accuracy: 85.0 %."""
    return MISSING if value is None else f"{value:.1f} %"


def points(value: float | None) -> str:
    """Write a difference in percentage points: +1.0, −0.4."""
    if value is None:
        return MISSING
    # Rounding first keeps a tiny negative number from reading "−0.0".
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def interval(ends: tuple[float, float] | None) -> str:
    """Write an interval in percentage points: [−0.4, +2.1]; an end keeps its sign even where it rounds to zero."""
    if ends is None:
        return MISSING
    low, high = (f"{end:+.1f}".replace("-", "−") for end in ends)
    return f"[{low}, {high}]"


def coverage(level: float) -> str:
    """Write what intervals of a level cover: 95 %, 98.34 %."""
    return f"{100 * (1 - level):.4g} %"


def interval_at(ends: tuple[float, float] | None, level: float, usual_level: float) -> str:
    """Write an interval, with its coverage where that is not what its column is headed with: [+0.2, +2.1] (98.34 %)."""
    return interval(ends) if ends is None or level == usual_level else f"{interval(ends)} ({coverage(level)})"


def span(low: float, high: float) -> str:
    """Write what a number lies between: 1.6 to 1.9; once where both ends read the same."""
    ends = [plain(end, 1) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def probability(value: float | None) -> str:
    """Write a p-value with three places: 0.012, < 0.001."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: float | None, places: int = 2) -> str:
    """Write a number without a sign of its own: 1.25."""
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
    """Write a command as a shell takes it, its lines broken before a flag where they would be wider than `width`."""
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
