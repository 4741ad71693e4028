"""Lines that common tools print, known by name: `preset:keras`. Pure.

A preset finds names and numbers alike, so its names are the tool's: `val_loss`, `eval_accuracy`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import SpecError
from orchestrator.reading.patterns import (
    END_OF_NUMBER,
    MAX_LINE,
    NUMBER,
    PRESET,
    Found,
    LineReader,
    Pattern,
    compile_pattern,
    found_of,
)
from orchestrator.wording import did_you_mean, one_line

NUM_SHOWN = 5
"""How many of a log's last lines a message shows."""
MAX_SHOWN = 120
"""Most characters of such a line."""

KEY_VALUE = "key_value"
"""The preset for lines that hold one name and one number, and nothing else."""

_KEY = r"[A-Za-z_][\w./-]{0,79}+"
_KEY_VALUE = re.compile(rf"(?P<key>{_KEY})\s*+:\s*+(?P<number>{NUMBER})\s*+%?+")
# Newer versions of the Trainer write numbers as text: {'loss': '0.25'}.
_DICT = re.compile(r"\{\s*+['\"][^{}]*+\}")
_DICT_ITEM = re.compile(rf"""['"](?P<key>{_KEY})['"]:\s*+['"]?+(?P<number>{NUMBER})['"]?+\s*+(?=[,}}])""")
_KERAS_EPOCH = re.compile(r"Epoch (?P<epoch>\d++)/\d++")
_KERAS_DONE = re.compile(r"(?P<done>\d++)/(?P<all>\d++)\s")
_KERAS_ITEM = re.compile(rf" - (?P<key>{_KEY}):\s*+(?P<number>{NUMBER}){END_OF_NUMBER}")
# The second form is what Lightning prints where the package `rich` is missing.
_TABLE = re.compile(rf"[│┃|]?\s*+(?P<key>{_KEY})\s*+(?:[│┃|]\s*+|(?<=\s\s))(?P<number>{NUMBER})\s*+[│┃|]?")


@dataclass(frozen=True)
class Preset:
    """A reader of one tool's lines."""

    name: str
    step_name: str | None
    read: Callable[[str], Found | None]

    def find(self, line: str) -> Found | None:
        """Return the numbers of a line, or None if the tool's form is not there."""
        return self.read(line[:MAX_LINE])


def _read_one(expression: re.Pattern[str]) -> Callable[[str], Found | None]:
    def read(line: str) -> Found | None:
        match = expression.fullmatch(line.strip())
        return found_of({match["key"]: match["number"]}) if match else None

    return read


def _read_dict(line: str) -> Found | None:
    """Read `{'loss': 0.25, 'epoch': 1.0}`: an object of Python or JSON without others inside."""
    match = _DICT.search(line)
    items = _DICT_ITEM.finditer(match[0]) if match else ()
    return found_of({item["key"]: item["number"] for item in items})


def _read_keras(line: str) -> Found | None:
    """Read `Epoch 3/10`, and the line of an epoch that has done all its batches; lines before it are drafts."""
    if epoch := _KERAS_EPOCH.match(line):
        return found_of({"epoch": epoch["epoch"]})
    done = _KERAS_DONE.match(line)
    if done is None or done["done"] != done["all"]:
        return None
    return found_of({item["key"]: item["number"] for item in _KERAS_ITEM.finditer(line)})


def _first_of(patterns: Sequence[Pattern]) -> Callable[[str], Found | None]:
    def read(line: str) -> Found | None:
        return next((found for pattern in patterns if (found := pattern.find(line))), None)

    return read


_NANOGPT = tuple(
    compile_pattern(text)
    for text in (
        "step {step}: train loss {train_loss}, val loss {val_loss}",
        "iter {step}: loss {loss}, time {time_ms}ms",
    )
)
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("huggingface", "epoch", _read_dict),
        Preset("nanogpt", "step", _first_of(_NANOGPT)),
        Preset("keras", "epoch", _read_keras),
        Preset(KEY_VALUE, None, _read_one(_KEY_VALUE)),
        Preset("lightning_table", None, _read_one(_TABLE)),
    )
}
"""Name -> preset: the narrow forms first, since `recognise` takes the first of those that find as much."""


def build_reader(text: str) -> LineReader:
    """Return what finds numbers in lines: a preset for `preset:NAME`, else a pattern.

    Raises:
        SpecError: there is no such preset, or the pattern is refused.
    """
    if not text.startswith(PRESET):
        return compile_pattern(text)
    name = text.removeprefix(PRESET).strip()
    if name not in PRESETS:
        raise SpecError(f"there is no preset `{name}` of log lines{did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def recognise(lines: Iterable[str]) -> str | None:
    """Return the name of the preset that finds numbers in most of some lines; None if no preset finds any."""
    counts = dict.fromkeys(PRESETS, 0)
    for line in lines:
        for name, preset in PRESETS.items():
            counts[name] += preset.find(line) is not None
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def explain_absent(place: str, text: str, lines: Sequence[str]) -> str:
    """Return a sentence: no line matches a pattern, and what the last lines are instead.

    Args:
        place: the name of the log.
        text: the pattern.
        lines: the lines of the log, without codes of the terminal.
    """
    if not lines:
        return f'no line of {place} matches "{text}": it is empty'
    last = lines[-NUM_SHOWN:]
    told = "\n".join(f"  {one_line(line, MAX_SHOWN)}" for line in last)
    return f'no line of {place} matches "{text}"; the last {len(last)} are:\n{told}'


def explain_ambiguous(name: str, lines: Sequence[str]) -> str | None:
    """Return a sentence if the last line with a name has several numbers behind it; None if it has not.

    Example: `Accuracy: 519/597` has two, so a pattern must name them: `Accuracy: {correct}/{total}`.
    """
    line = next((line for line in reversed(lines) if name in line), "")
    rest = line.partition(name)[2]
    ratio = re.search(rf"{NUMBER}(?:\s*+/\s*+){NUMBER}", rest)
    count = len(re.findall(rf"(?<![\w.]){NUMBER}", rest))
    if count < 2:
        return None
    advice = f"`{name}: {{correct}}/{{total}}`" if ratio else f"`{name}: {{first}} ... {{second}}`"
    shown = one_line(line, MAX_SHOWN)
    return f'"{name}" matches {count} numbers in the last line, "{shown}"; name one: {advice}'
