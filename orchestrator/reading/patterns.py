r"""Numbers in the lines of a log. Pure.

A pattern is literal text with named numbers, such as `step {step}: val loss {val_loss}`. Its rules:

- White space stands for any white space, at least one character of it.
- `{{` and `}}` are braces of the text.
- A number may have a sign, a fraction and an exponent; `nan` and `inf` are numbers. `1,234` is none.
- A percent sign may follow a number, whether the pattern has one or not.
- Two numbers joined as `{correct}/{total}` are a ratio too, which is named `correct/total`.
- `regex:...` is a regular expression of Python with named groups; `preset:NAME` is one of `presets.PRESETS`.

Lines are cut at `MAX_LINE` characters, and at `MAX_REGEX_LINE` for an expression of the user's own. Such an expression
may have `MAX_REGEX` characters. It may not repeat a group that itself repeats: that can take for ever. The time of
others grows with a power of the line's length, so a line is cut short for them. Write `[^,]*` rather than `.*`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import SpecError

MAX_LINE = 4096
"""Most characters of a line that are searched; a progress bar can write megabytes without a line's end."""
MAX_REGEX_LINE = 400
"""The same for the user's own regular expressions, which may take a time that grows with a power of the length."""
MAX_REGEX = 500
"""Most characters of a user's regular expression."""
# Possessive quantifiers (`++`) and the atomic group never give characters back, so a hostile line costs linear time.
NUMBER = r"(?>[-+]?(?:(?:\d++(?:\.\d++)?|\.\d++)(?:\.?[eE][-+]?\d++)?|(?i:nan|inf(?:inity)?)))"
"""Expression of a number; what follows it is looked at by whoever uses it."""
END_OF_NUMBER = r"(?!\.?\w|,\d{3}(?!\d))"
"""Expression of a number's end: `1.2M`, `1.2.3` and `1,234` are no numbers."""
REGEX, PRESET = "regex:", "preset:"

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|(?P<brace>[{}])|[^{}]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Colours and movements of the cursor, and titles of the window.
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?|[@-Z\\^_])")
# A carriage return or backspaces begin a line anew, as progress bars do.
_LINE_END = re.compile(r"[\r\n\x08]+")
_LAST_DIGIT = re.compile(r"[-+]?\d*(?:\.(?P<places>\d*))?(?:[eE](?P<power>[-+]?\d+))?")


@dataclass(frozen=True)
class Found:
    """The numbers of one line: name -> value."""

    values: dict[str, float]
    resolutions: dict[str, float]
    """Name -> one unit in the last digit that was printed."""


class LineReader(Protocol):
    """Finds numbers in a line: a pattern or a preset."""

    @property
    def step_name(self) -> str | None:
        """The number that counts steps; None if there is none."""

    def find(self, line: str) -> Found | None:
        """Return the numbers of a line, or None if it has none."""


@dataclass(frozen=True)
class Pattern:
    """A pattern of the user: compiled, and known to hold numbers."""

    text: str
    names: tuple[str, ...]
    ratios: tuple[tuple[str, str], ...]
    """Pairs of names that stand as `{correct}/{total}`."""
    expression: re.Pattern[str]
    max_line: int = MAX_LINE

    @property
    def step_name(self) -> str | None:
        """`step` or `epoch`, whichever the pattern has."""
        return next((name for name in ("step", "epoch") if name in self.names), None)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names of what the pattern tells: numbers that are no part of a ratio and no step, and ratios."""
        parts = {name for pair in self.ratios for name in pair} | {self.step_name}
        return (*(name for name in self.names if name not in parts), *("/".join(pair) for pair in self.ratios))

    def find(self, line: str) -> Found | None:
        """Return the numbers at the first place of a line that matches, or None."""
        match = self.expression.search(line[: self.max_line])
        return None if match is None else self._add_ratios(found_of(match.groupdict()))

    def _add_ratios(self, found: Found | None) -> Found | None:
        for over, under in self.ratios if found else ():
            assert found is not None
            total = found.values[under]
            found.values[f"{over}/{under}"] = found.values[over] / total if total else math.nan
            if math.isfinite(total) and total:
                found.resolutions[f"{over}/{under}"] = abs(found.resolutions.get(over, 1.0) / total)
        return found


def found_of(texts: dict[str, str | None]) -> Found | None:
    """Read texts as numbers; None if one is there that is no number, or none is there."""
    there = {name: text for name, text in texts.items() if text is not None}
    try:
        values = {name: float(text.strip()) for name, text in there.items()}
    except ValueError:
        return None
    resolutions = {name: unit for name, text in there.items() if (unit := resolution_of(text)) is not None}
    return Found(values, resolutions) if values else None


def resolution_of(text: str) -> float | None:
    """Return one unit in the last digit of a printed number: 0.1 for `86.9`, 1 for `519`; None if it has no digits."""
    match = _LAST_DIGIT.fullmatch(text.strip())
    if match is None or not any(character.isdigit() for character in text):
        return None
    power = int(match["power"] or 0) - len(match["places"] or "")
    return float(f"1e{power}") if abs(power) < 300 else None


def clean_lines(text: str) -> Iterator[str]:
    """Yield the lines of a log: without codes of the terminal, cut at `MAX_LINE`, without empty ones."""
    for line in _LINE_END.split(text):
        if shown := strip_controls(line).strip():
            yield shown


def strip_controls(line: str) -> str:
    """Remove the codes by which a terminal colours a line; the line is cut at `MAX_LINE` characters."""
    # Cut twice: before, so that a huge line costs nothing, and after, since the codes count for nothing.
    return (_CONTROL.sub("", line[: 4 * MAX_LINE]) if "\x1b" in line else line)[:MAX_LINE]


def split_tail(text: str) -> tuple[str, str]:
    """Split text at its last end of a line: what is whole, and the line that is still being written."""
    ends = [match.end() for match in _LINE_END.finditer(text)]
    return (text[: ends[-1]], text[ends[-1] :]) if ends else ("", text)


def compile_pattern(text: str) -> Pattern:
    """Compile literal text with named numbers, or `regex:...`.

    Example: `Accuracy: {correct}/{total}` finds 519, 597 and their ratio in `Accuracy: 519/597 (87%)`.

    Raises:
        SpecError: it has no name, a name twice, two names side by side, or a group that fits no number.
    """
    if text.startswith(REGEX):
        return _compile_regex(text)
    parts = list(_split(text))
    names = tuple(part[1] for part in parts if part[0] == "name")
    _require_names(text, names)
    expression = "".join(_expression_of(parts, place) for place in range(len(parts)))
    middles = zip(parts, parts[1:], parts[2:], strict=False)
    ratios = tuple((one[1], two[1]) for one, mid, two in middles if mid == ("text", "/") and one[0] == two[0] == "name")
    return Pattern(text, names, ratios, re.compile(expression))


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Split a pattern into ("name", name) and ("text", literal), with literals joined."""
    literal = ""
    for match in _TOKEN.finditer(text.strip()):
        if match["brace"]:
            raise SpecError(f"`{text}` has a single `{match['brace']}`; write it twice if the line has it")
        if match["name"] is None:
            literal += match[0][0] if match[0] in ("{{", "}}") else match[0]
            continue
        if not _NAME.fullmatch(match["name"]):
            raise SpecError(f"`{match[0]}` in `{text}` is no name; write letters, digits and `_`, such as `{{loss}}`")
        if literal:
            yield "text", literal
        literal = ""
        yield "name", match["name"]
    if literal:
        yield "text", literal


def _require_names(text: str, names: tuple[str, ...]) -> None:
    if not names:
        raise SpecError(f"`{text}` names no number; put a name in braces where it stands, such as `loss: {{loss}}`")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SpecError(f"`{text}` has `{{{twice[0]}}}` twice; give each number a name of its own")


def _expression_of(parts: list[tuple[str, str]], place: int) -> str:
    """Return the expression of one part; what stands before and after it decides where a number may begin and end."""
    kind, text = parts[place]
    after = parts[place + 1] if place + 1 < len(parts) else None
    if kind == "name":
        if after and after[0] == "name":
            raise SpecError(f"`{{{text}}}{{{after[1]}}}` leaves open where one number ends; put text between them")
        # The head of a pattern must not match inside of a longer number.
        head = r"(?<![\w.])(?<!\d,)" if place == 0 else ""
        is_open = after is None or after[1].lstrip().startswith("%")
        return f"{head}(?P<{text}>{NUMBER}){END_OF_NUMBER if is_open else ''}"
    # `loss: {loss}` must not match inside of `val_loss: 0.1`.
    head = r"(?<![\w./])" if place == 0 and re.match(r"\w", text) else ""
    sign = re.match(r"\s*%", text) if place else None
    rest = text[sign.end() :] if sign else text
    return head + (r"\s*+%?+" if sign else "") + _literal(rest)


def _literal(text: str) -> str:
    return r"\s++".join(re.escape(word) for word in re.split(r"\s+", text))


PROBES = (
    *("0" * width for width in range(1, 13)),
    *(f"{whole}.{'1' * places}" for whole in ("0", "12", "123") for places in range(1, 9)),
    *("-1", "+1", "-0.5", "1e-3", "1.5e-05", "2.5E+10", ".5"),
)
"""Numbers that are tried on a group of a regular expression: one that fits none of them is refused."""


def _compile_regex(text: str) -> Pattern:
    source = text.removeprefix(REGEX).strip()
    if len(source) > MAX_REGEX:
        raise SpecError(f"a regular expression has {len(source)} characters, at most {MAX_REGEX} are taken; shorten it")
    try:
        expression = re.compile(source)
    except (re.error, RecursionError, OverflowError) as error:
        raise SpecError(f"`{source}` is no regular expression: {error}") from None
    names = tuple(expression.groupindex)
    if not names:
        raise SpecError(f"`{source}` names no number; name a group where it stands, such as `(?P<loss>[0-9.]+)`")
    for group in _groups(source):
        _require_group(source, group)
    return Pattern(text, names, (), expression, MAX_REGEX_LINE)


@dataclass(frozen=True)
class _Group:
    """A group of an expression: its content, and the character that follows it."""

    content: str
    after: str


def _groups(source: str) -> Iterator[_Group]:
    """Yield the groups of an expression that compiles, inner ones first; brackets in classes are letters."""
    starts: list[int] = []
    bare = re.sub(r"\\.", "__", source, flags=re.DOTALL)
    bare = re.sub(r"\[\^?\]?[^]]*\]", lambda match: "_" * len(match[0]), bare)
    for place, sign in enumerate(bare):
        if sign == "(":
            starts.append(place)
        elif sign == ")" and starts:
            yield _Group(source[starts.pop() + 1 : place], bare[place + 1 : place + 2])


def _require_group(source: str, group: _Group) -> None:
    """Refuse a group that may take for ever, or that is named and fits no number."""
    bare = re.sub(r"\\.|\[\^?\]?[^]]*\]|^\?(?:P<\w+>|<?[:=!])", "_", group.content)
    if group.after in ("*", "+", "{") and re.search(r"[*+?|{]", bare):
        raise SpecError(f"`({group.content})` in `{source}` repeats what itself repeats, which can take for ever")
    named = re.match(r"\?P<(\w+)>(.*)", group.content, re.DOTALL)
    if named and not _fits_a_number(named[2]):
        raise SpecError(f"group `{named[1]}` of `{source}` fits no number; write how one looks: `[-+.e0-9]+`")


def _fits_a_number(content: str) -> bool:
    try:
        expression = re.compile(content)
    except re.error:  # it names another group, so it cannot be tried alone
        return True
    return any(expression.fullmatch(probe) for probe in PROBES)
