"""Numbers and names in the sentences of a check. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.checks.observed import MetricSeen, Observed
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.wording import counted, describe_seconds, listed

MAX_SHOWN = 4
"""How many files or numbers a sentence names."""


def list_few(names: Sequence[str]) -> str:
    """Name some files, and say how many others there are."""
    shown, others = names[:MAX_SHOWN], len(names) - MAX_SHOWN
    return listed([*shown, *([f"{others} more"] if others > 0 else [])])


def short_seconds(seconds: float) -> str:
    """Write a duration; a short one with a tenth of a second."""
    return f"{seconds:.1f} s" if seconds < 10 else describe_seconds(seconds)


def median(values: Sequence[float]) -> float:
    """Return the middle one of some numbers, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


def name_numbers(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Write the numbers of two runs side by side: `val_loss 0.81 and 0.83`, or `val_loss 0.81` if they are alike."""
    shown = []
    for name in list(one)[:MAX_SHOWN]:
        here, there = _show(one[name]), _show(other.get(name))
        plain = name.removeprefix("progress ")
        shown.append(f"{plain} {here}" if here == there else f"{plain} {here} and {there}")
    return ", ".join(dict.fromkeys(shown))


def _show(value: Any) -> str:
    # Of a column the last value is what a person looks at.
    if isinstance(value, tuple):
        return _show(value[-1]) if value else "none"
    return "none" if value is None else f"{value:.6g}"


def describe_metric(metric: MetricSpec, seen: MetricSeen) -> str:
    """Write a metric's value: `accuracy 519/597 = 86.9 %; higher is better`."""
    if seen.problem or seen.value is None:
        return seen.problem or f"`{metric.name}` has no number"
    value = f"{seen.value:.6g}{f' {metric.unit}' if metric.unit else ''}"
    if seen.ratio is not None:
        over, under = (f"{number:.6g}" for number in seen.ratio)
        value = f"{over}/{under} = {100 * seen.value:.1f} %"
    role = "judged" if metric.role == "judged" else f"role `{metric.role}`"
    return f"{metric.name} {value}; {metric.better} is better; {role}"


def describe_rows(run: Observed) -> str:
    """Write how many rows of progress there are, and what they tell."""
    names = list(dict.fromkeys(name for row in run.rows for name in row.values))
    steps = {row.step for row in run.rows if row.step is not None}
    told = f"{counted(len(run.rows), 'row')} of {list_few([f'`{name}`' for name in names])}"
    return f"{told}, {counted(len(steps), 'step')}" if steps else told
