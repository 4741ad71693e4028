"""What was found in a script, as a draft of a campaign: the command, the parameters, and what is left out. Pure."""

import argparse
import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from msgspec import Struct, structs

from orchestrator.errors import SpecError, UsageError
from orchestrator.scripts.names import seed_rank, why_left_out
from orchestrator.scripts.options import Option, kind_of_value
from orchestrator.scripts.prints import Metric, Pattern
from orchestrator.task.spelling import Flags, Form, Spelling, StyleName, spell

FILL_IN = "FILL_IN"
"""Stands for a value that the script needs and nobody has told."""
MAX_INTEGER = 2**53
"""Largest whole number of a campaign file."""
_TOLD = re.compile(r"--([A-Za-z][\w.-]*)=(.*)")
_NAME = re.compile(r"[^\s=\-][^\s=]*")
_TRUE = ("1", "true", "yes", "y", "t", "on")


class Found(Struct, frozen=True, kw_only=True):
    """What a script can be told, and how its command begins."""

    style: StyleName | None = None
    """None where nothing was recognised."""
    options: tuple[Option, ...] = ()
    words: tuple[str, ...] = ()
    """Arguments that stand in every command, such as a subcommand."""
    arguments: tuple[str, ...] = ()
    """Usual arguments of the person that `take_arguments` is yet to read."""
    code: tuple[str, ...] = ()
    """Pathspecs of files that a run reads beside its modules, such as Hydra's."""
    files: tuple[str, ...] = ()
    """Files of settings that get the parameters; then no argument passes them."""
    notes: tuple[str, ...] = ()
    """Sentences for the person."""


class LeftOut(Struct, frozen=True, kw_only=True):
    """An option that the draft has as a comment."""

    option: Option
    reason: str


class Draft(Struct, frozen=True, kw_only=True):
    """A campaign file that a person then trims."""

    script: str
    campaign: str
    command: tuple[str, ...]
    style: StyleName | None
    code: tuple[str, ...]
    files: tuple[str, ...] = ()
    """Files of the checkout that get the parameters."""
    kept: tuple[Option, ...] = ()
    left: tuple[LeftOut, ...] = ()
    seed: str = ""
    """The name of the seed's option; empty for none."""
    reads_seed: bool = False
    """Whether the script reads the seed by itself."""
    patterns: tuple[Pattern, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @property
    def forms(self) -> dict[str, Form]:
        """The forms of the parameters, in the order of the options."""
        if self.style not in ("argparse", "absl") or self.files:
            return {}
        return {option.name: option.form for option in self.kept if option.form is not None}


def read_words(arguments: Sequence[str]) -> Found:
    """Return the parameters that usual arguments of the form `--name=value` tell; other words stay words."""
    told = {match[1]: _plain(match[2]) for word in arguments if (match := _TOLD.fullmatch(word)) is not None}
    options = tuple(Option(name=name, kind=kind_of_value(value), default=value) for name, value in told.items())
    words = tuple(word for word in arguments if _TOLD.fullmatch(word) is None)
    return Found(style="argparse" if options else None, options=options, words=words)


def _plain(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


class _Parser(argparse.ArgumentParser):
    """A parser that raises where argparse's own ends the process."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(message)


def take_arguments(found: Found) -> tuple[Found, frozenset[str]]:
    """Put the values of a person's usual arguments into the options; unknown ones become words of every command.

    Returns:
        The options with these values as their defaults, and the names of those that were given.

    Raises:
        UsageError: an argument does not fit its option.
    """
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS, conflict_handler="resolve")
    usable = [option for option in found.options if not option.problem]
    for index, option in enumerate(usable):
        _add(parser, option, f"option_{index}", found.style)
    try:
        values, rest = parser.parse_known_args(list(found.arguments))
    except (UsageError, argparse.ArgumentError) as error:
        words = str(error)
        raise UsageError(f"the usual arguments do not fit the script: {words}; write them behind `--`") from None
    # Only what was given has an attribute, since every default is suppressed.
    given = {option.name: getattr(values, f"option_{index}", None) for index, option in enumerate(usable)}
    told = {name: value for name, value in given.items() if value not in (None, [])}
    options = tuple(
        structs.replace(one, default=told[one.name], expression="", is_required=False) if one.name in told else one
        for one in found.options
    )
    return structs.replace(found, options=options, words=(*found.words, *rest), arguments=()), frozenset(told)


def _add(parser: argparse.ArgumentParser, option: Option, destination: str, style: StyleName | None) -> None:
    if option.is_positional:
        # argparse would read a suppressed default as a value, so here nothing is None or an empty list.
        many = "*" if option.kind == "list" else "?"
        parser.add_argument(destination, nargs=many, type=_reader(option), default=None)
        return
    words = option.aliases or ((option.word,) if option.word else (f"--{option.name}",))
    form = option.form
    # In the style of globals a boolean is a value like any other.
    if option.kind == "true or false" and not (form in ("text", "type_bool") or style == "literal"):
        on, off = _flags(option, form)
        for word, value in ((on, True), (off, False)):
            if word:
                parser.add_argument(word, dest=destination, action="store_const", const=value)
    elif form == "append":
        parser.add_argument(*words, dest=destination, action="append", type=_reader(option))
    else:
        nargs = "+" if form == "nargs" else "?" if option.kind == "true or false" else None
        parser.add_argument(
            *words, dest=destination, nargs=nargs, type=_reader(option), const=True if nargs == "?" else None
        )


def _flags(option: Option, form: Form | None) -> tuple[str, str]:
    if isinstance(form, Flags):
        return form.if_true, form.if_false
    off = {"switch": "", "pair": f"--no-{option.name}"}.get(str(form), f"--no{option.name}")
    return f"--{option.name}", off


def _reader(option: Option) -> Any:
    """Return what turns an argument into a value of an option."""
    match option.kind:
        case "integer":
            return int
        case "number":
            return float
        case "true or false":
            return lambda text: text.lower() in _TRUE
        case "list":
            item = option.default[0] if isinstance(option.default, list) and option.default else ""
            one: Any = type(item) if isinstance(item, int | float) and not isinstance(item, bool) else str
            return one if option.form in ("nargs", "append") else lambda text: [one(part) for part in text.split(",")]
    return str


def sort_options(options: Iterable[Option]) -> tuple[tuple[Option, ...], tuple[LeftOut, ...], Option | None]:
    """Divide options into the parameters that a person may mean, those left out, and the one of the seed."""
    listed = list({option.name: option for option in options}.values())
    ranked = [
        (rank, option.name.count("."), option) for option in listed if (rank := seed_rank(option.name)) is not None
    ]
    seed = min(ranked, key=lambda one: one[:2])[2] if ranked else None
    # jsonargparse has `--model`, the name of a class, beside `--model.lr`.
    sections = {name.rpartition(".")[0] for name in _ancestors(listed)}
    kept, left = [], []
    for option in listed:
        if option is seed:
            continue
        reason = "it holds others" if option.name in sections else _why_out(option)
        if reason:
            left.append(LeftOut(option=option, reason=reason))
        else:
            kept.append(structs.replace(option, default=FILL_IN) if option.is_required else option)
    return tuple(kept), tuple(left), seed


def _ancestors(options: list[Option]) -> set[str]:
    """Return the names, and with each dotted name the sections that it lies in."""
    parts = (option.name.split(".") for option in options)
    return {".".join(one[:end]) for one in parts for end in range(1, len(one) + 1)}


def _why_out(option: Option) -> str:
    """Return why an option is no parameter of the draft; empty if it is one."""
    numbers = option.default if isinstance(option.default, list) else [option.default]
    is_bare = option.is_positional or bool(option.word)
    reasons = {
        option.problem: bool(option.problem),
        "its name cannot be written in a campaign file": not _NAME.fullmatch(option.name),
        why_left_out(option.name): bool(why_left_out(option.name)),
        f"its default is worked out: {option.expression}": bool(option.expression),
        "it is a list of words; write them into the command": option.is_positional and option.kind == "list",
        "it is empty, and has no name with two dashes": is_bare and option.default is None and not option.is_required,
        f"its default is no number of a campaign file: {option.default}": any(
            isinstance(one, int | float) and not abs(one) <= MAX_INTEGER for one in numbers
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def build_command(
    start: Sequence[str], found: Found, given: frozenset[str], kept: Sequence[Option], seed: Option | None
) -> tuple[str, ...]:
    """Return the command of a draft: an argument list with templates.

    Args:
        start: the interpreter and the script.
        found: what the script can be told.
        given: the options that the usual arguments named; those that are left out stay as words.
        kept: the parameters.
        seed: the option of the seed.
    """
    names = {option.name for option in kept}
    left = [one for one in found.options if one.name not in names and one is not seed]
    # A path that a person always gives stays in the command, though it is no parameter.
    fixed = [word for one in left if one.name in given for word in _spelled(one, found.style)]
    missing = [_missing(one) for one in left if one.is_required and not one.problem and one.name not in given]
    # A list option at the end of a command would swallow the positional arguments behind it.
    named = [f"{{params.{one.name}}}" for one in kept if one.is_positional]
    named += [f"{one.word}={{params.{one.name}}}" for one in kept if one.word and not one.is_positional]
    seeds = [] if seed is None else [_seed_word(seed, found.style)]
    rest = ["{params}"] if found.style and not found.files else []
    return (*start, *_doubled((*found.words, *missing, *fixed)), *named, *seeds, *rest)


def put_seed(seed: Option) -> Option:
    """Return the key of a file of settings that holds the seed, as a parameter."""
    return structs.replace(seed, default="{seed}", help="the seed of each run")


def _missing(option: Option) -> str:
    """Return the word of an option that is left out, though the script ends without it."""
    return FILL_IN if option.is_positional else f"{option.word or f'--{option.name}'}={FILL_IN}"


def _seed_word(seed: Option, style: StyleName | None) -> str:
    if seed.is_positional:
        return "{seed}"
    return f"{seed.name}={{seed}}" if style == "hydra" else f"{seed.word or f'--{seed.name}'}={{seed}}"


def _spelled(option: Option, style: StyleName | None) -> Sequence[str]:
    if option.is_positional:
        return [str(one) for one in (option.default if isinstance(option.default, list) else [option.default])]
    if option.word:
        return [f"{option.word}={option.default}"]
    forms = {} if option.form is None else {option.name: option.form}
    try:
        return spell({option.name: option.default}, Spelling(style or "argparse", forms))
    except SpecError:
        return []


def _doubled(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.replace("{", "{{").replace("}", "}}") for word in words)


def campaign_name(folder: str) -> str:
    """Return a name for the campaign: letters and digits joined by single dashes, after a letter."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder).strip("-").lower()
    return name if name[:1].isalpha() else f"study-{name}".rstrip("-")
