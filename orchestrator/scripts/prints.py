"""Log patterns and metrics, guessed from what a script prints. Pure."""

import ast
import re
from collections.abc import Iterable
from string import Formatter

from msgspec import Struct

from orchestrator.scripts.names import direction_of, held_out_word, metric_rank
from orchestrator.scripts.syntax import call_name, calls, keywords, text_of
from orchestrator.task.metric_spec import Direction

PRINTERS = ("print", "info", "log", "write", "debug", "print0", "main_print", "echo", "secho", "log_print")
STREAMS = ("stdout", "stderr", "tqdm", "pbar", "bar", "console")
"""What a person sees; what is written elsewhere is no line of the log."""
MAX_PATTERNS = 4
_STEPS = ("epoch", "step", "iter", "iteration", "global_step")
_COUNTERS = ("len", "int", "float", "round", "sum", "item", "mean", "min", "max")
"""Functions that return a number."""
_COUNTED = ("i", "j", "n", "idx", "index", "batch_idx", "batch", "total", "count", "num_epochs", "epochs", "max_epochs")
"""Variables that most likely hold a number."""
_FILLERS = ("after", "at", "of", "in", "is", "and", "with", "for", "the", "a", "to", "on")
_OF_A_RATIO = ("_total", "_percent")
"""Ends of the names of the numbers that stand beside the first one of a ratio."""
_PERCENT = re.compile(r"%(?P<spec>[-+ #0]*\d*(?:\.\d+)?[diouxXeEfFgGsr])|%%")
_BREAK = re.compile(r"[^A-Za-z0-9_\s-]+")
_NUMBER_SPEC = re.compile(r".*[deEfFgGn%]")


class Pattern(Struct, frozen=True, kw_only=True):
    """A pattern of log lines."""

    text: str
    quantities: tuple[str, ...]
    """The metrics that it tells, the likeliest first; two numbers of a ratio are `correct/total`."""

    def rank(self, name: str) -> int:
        """Return how likely a study is about one of its metrics; where the name says nothing, the line does."""
        rank = metric_rank(name)
        return metric_rank(self.text) if rank == 1 else rank


class Metric(Struct, frozen=True, kw_only=True):
    """A number that a study may be about."""

    name: str
    progress: str
    better: Direction


class _Number(Struct, frozen=True):
    """A value inside a printed text."""

    source: str
    """The variable, or an empty text."""
    is_number: bool
    """Whether its format is that of a number."""


_Part = str | _Number


def find_patterns(trees: Iterable[ast.AST]) -> tuple[Pattern, ...]:
    """Return the patterns of lines that tell a metric, in the order of the lines."""
    found: dict[str, Pattern] = {}
    for tree in trees:
        for call in calls(tree):
            if _prints(call):
                for line in _lines(_parts_of(call)):
                    if (pattern := _pattern_of(line)) is not None:
                        found.setdefault(pattern.text, pattern)
    # Lines about held-out data are what a study is about, so they stay if there are too many.
    ranked = sorted(found.values(), key=lambda one: min(one.rank(name) for name in one.quantities))
    kept = {pattern.text for pattern in ranked[:MAX_PATTERNS]}
    return _told_apart([pattern for text, pattern in found.items() if text in kept])


def _prints(call: ast.Call) -> bool:
    """Whether a call prints a line of the log."""
    owner, _, name = call_name(call).rpartition(".")
    # `print(..., file=log)` and `log.write(...)` go into a file of the script's own.
    place = call_name(given) if (given := keywords(call).get("file")) is not None else owner
    is_elsewhere = given is not None or name == "write"
    return name in PRINTERS and not (is_elsewhere and place.rpartition(".")[2].lower() not in STREAMS)


def _told_apart(patterns: list[Pattern]) -> tuple[Pattern, ...]:
    """Rename what two lines tell by one name, where a line says that it is of held-out data."""
    names = [name for pattern in patterns for name in pattern.quantities]
    return tuple(
        _renamed(pattern, {name for name in pattern.quantities if names.count(name) > 1 and metric_rank(name) == 1})
        for pattern in patterns
    )


def _renamed(pattern: Pattern, names: set[str]) -> Pattern:
    word = held_out_word(pattern.text)
    if not word:
        return pattern
    new = {name: f"{word}_{name}" for name in names if "/" not in name}
    text = re.sub(r"\{(\w+)\}", lambda match: f"{{{new.get(match[1], match[1])}}}", pattern.text)
    return Pattern(text=text, quantities=tuple(new.get(name, name) for name in pattern.quantities))


def find_metrics(patterns: Iterable[Pattern]) -> tuple[Metric, ...]:
    """Return the metrics that patterns tell, the likeliest first."""
    ranks: dict[str, int] = {}
    for pattern in patterns:
        for name in pattern.quantities:
            ranks[name] = min(pattern.rank(name), ranks.get(name, 2))
    metrics: dict[str, Metric] = {}
    # A ratio says of how many it is, so it is the best evidence of its kind.
    for name in sorted(ranks, key=lambda one: (ranks[one], "/" not in one)):
        better = direction_of(name)
        if better is not None:
            called = "accuracy" if "/" in name else name
            metrics.setdefault(called, Metric(name=called, progress=name, better=better))
    return tuple(metrics.values())


def _parts_of(call: ast.Call) -> list[_Part]:
    """Return what a call prints: texts, and the values between them."""
    first, *others = call.args or [ast.Constant("")]
    if isinstance(first, ast.Constant) and isinstance(first.value, str) and others and _PERCENT.search(first.value):
        return _of_percent(first.value, others)
    parts: list[_Part] = []
    for one in call.args:
        parts += [*([" "] if parts else []), *_parts_of_text(one)]
    return parts


def _parts_of_text(node: ast.expr) -> list[_Part]:
    parts: list[_Part]
    match node:
        case ast.Constant(value=str(text)):
            parts = [text]
        case ast.JoinedStr(values=values):
            parts = [part for value in values for part in _parts_of_text(value)]
        case ast.FormattedValue(value=value, format_spec=spec):
            parts = [_number(value, ast.unparse(spec)[2:-1] if spec else "")]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
            parts = _of_percent(text, list(right.elts) if isinstance(right, ast.Tuple) else [right])
        case ast.BinOp(left=left, op=ast.Add(), right=right) if _is_text(left) or _is_text(right):
            parts = [*_parts_of_text(left), *_parts_of_text(right)]
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str(text))), args=arguments):
            parts = _of_format(text, arguments, node)
        case ast.Call(func=ast.Name(id="str"), args=[value]):
            parts = [_number(value, "")]
        case _:
            parts = [_number(node, "")]
    return parts


def _is_text(node: ast.expr) -> bool:
    """Whether a part of a sum is a text, so that the sum is one."""
    return any(isinstance(one, ast.JoinedStr) or isinstance(getattr(one, "value", 0), str) for one in ast.walk(node))


def _of_percent(text: str, values: list[ast.expr]) -> list[_Part]:
    parts: list[_Part] = []
    end = 0
    waiting = list(values)
    for match in _PERCENT.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match["spec"] is None:
            parts.append("%")
        else:
            source = _variable(waiting.pop(0)) if waiting else ""
            parts.append(_Number(source, match["spec"][-1] not in "sr"))
    return [*parts, text[end:]]


def _of_format(text: str, arguments: list[ast.expr], call: ast.Call) -> list[_Part]:
    named = {one.arg: one.value for one in call.keywords if one.arg}
    parts: list[_Part] = []
    index = 0
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        return [text]
    for literal, field, spec, _ in pieces:
        parts.append(literal)
        if field is None:
            continue
        name = re.split(r"[.\[]", field)[0]
        place = int(name) if name.isdigit() else index
        index += name == ""
        node = named.get(name) or (arguments[place] if place < len(arguments) else None)
        number = _number(node, spec or "") if node is not None else _Number(name, _is_number_spec(spec or ""))
        number = _Number(name, number.is_number) if name in named else number
        # `{top1.avg}` beside `{top1.val}`: meters print the mean, and the newest value.
        parts.append(_Number(f"{number.source}_avg", number.is_number) if field.endswith(".avg") else number)
    return parts


def _is_number_spec(spec: str) -> bool:
    return bool(_NUMBER_SPEC.fullmatch(spec))


def _number(node: ast.expr, spec: str) -> _Number:
    """Return a printed value; its format, or how it is worked out, may say that it is a number."""
    is_worked_out = isinstance(node, ast.BinOp) and not _is_text(node)
    is_counted = isinstance(node, ast.Call) and call_name(node).rpartition(".")[2] in _COUNTERS
    source = _variable(node)
    return _Number(source, _is_number_spec(spec) or is_worked_out or is_counted or source in _COUNTED)


def _variable(node: ast.expr) -> str:
    """Return a name for a value: of `losses['val']` it is `val`, of `loss.item()` it is `loss`."""
    if isinstance(node, ast.Subscript) and text_of(node.slice):
        return text_of(node.slice)
    if isinstance(node, ast.Attribute) and node.attr not in ("avg", "val", "item", "value", "mean", "data"):
        return node.attr
    # Of `losses[0] / n` the first name says most.
    inner = next((one for one in ast.walk(node) if isinstance(one, ast.Name)), None)
    return inner.id if inner is not None else ""


def _lines(parts: list[_Part]) -> list[list[_Part]]:
    lines: list[list[_Part]] = [[]]
    for part in parts:
        if isinstance(part, _Number):
            lines[-1].append(part)
            continue
        first, *others = re.split(r"[\r\n]", part)
        lines[-1].append(first)
        lines += [[one] for one in others]
    return lines


def _pattern_of(line: list[_Part]) -> Pattern | None:
    """Return the pattern of one printed line; None if it tells no metric."""
    text, names, ratios = "", list[str](), list[str]()
    before = ""
    for index, part in enumerate(line):
        if isinstance(part, str):
            text, before = text + part.replace("{", "{{").replace("}", "}}"), before + part
            continue
        is_over = before == "/" and bool(names)
        is_share = before.strip() == "(" and "".join(map(str, line[index + 1 : index + 2])).startswith("%")
        if is_over:
            name = f"{names[-1]}_total"
        elif is_share and ratios and names[-1] == f"{ratios[-1]}_total":
            # `519/597 (87%)` says the same number twice.
            name = f"{ratios[-1]}_percent"
        else:
            name = _unique(_name_of(before, part), names)
        if not (part.is_number or is_over or name in _STEPS or direction_of(name)):
            # Nothing says that this value is a number. A pattern may begin after it, or end before it.
            if any(direction_of(one) for one in names):
                break
            text, names, before = "", [], ""
            continue
        if is_over:
            ratios.append(names[-1])
        names.append(name)
        text, before = f"{text}{{{name}}}", ""
    return _finish(text, names, ratios)


def _finish(text: str, names: list[str], ratios: list[str]) -> Pattern | None:
    """Name the two numbers of an accuracy `correct/total`, and list what the pattern tells."""
    quantities = []
    for name in names:
        # The reader keeps two numbers with a slash between them as one ratio, `correct/total`.
        if name in ratios and direction_of(name) == "higher" and "{correct}" not in text:
            text = text.replace(f"{{{name}}}/{{{name}_total}}", "{correct}/{total}")
            quantities.append("correct/total")
        elif direction_of(name) and not {name, *(name.removesuffix(end) for end in _OF_A_RATIO)} & set(ratios):
            quantities.append(name)
    # Numbers alone would be found in every line.
    if not quantities or not re.search(r"[^\W\d_]", re.sub(r"\{\w+\}", "", text)):
        return None
    return Pattern(text=" ".join(text.split()), quantities=tuple(sorted(quantities, key=metric_rank)))


def _name_of(before: str, number: _Number) -> str:
    """Name a number by the words before it, or by its variable."""
    words = [word for word in re.split(r"[\s_-]+", _BREAK.split(before.rstrip(" :=([{|,\t"))[-1].lower()) if word]
    for step in _STEPS:
        if step in words:
            return "epoch" if step == "epoch" else "step"
    # "val loss" names a number better than the variable `x` does.
    label = "_".join(word for word in words[-3:] if word not in _FILLERS)
    source = re.sub(r"\W", "_", number.source).strip("_").lower()
    if label and (direction_of(label) or not direction_of(source)):
        return _as_name(label)
    return _as_name(source or label)


def _as_name(text: str) -> str:
    name = text if text and not text[0].isdigit() else f"n_{text}".rstrip("_")
    return {"iter": "step", "iteration": "step", "iter_num": "step", "global_step": "step"}.get(name, name)


def _unique(name: str, taken: list[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}_{number}" for number in range(2, len(taken) + 3) if f"{name}_{number}" not in taken)
