"""What a script answered when it was run up to its parser, or asked for its configuration. Pure."""

import json
import math
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from orchestrator.scripts.argparse_calls import Parsers
from orchestrator.scripts.options import Action, Option, kind_of_value
from orchestrator.task.config_files import format_of
from orchestrator.task.spelling import Form

MAX_NOISE_LINES = 200
"""Most lines that may stand before a printed configuration."""
MAX_CONFIG_CHARACTERS = 200_000


class _Answer(Struct, frozen=True):
    """The file that the hook writes."""

    actions: tuple[Action, ...] = ()
    subcommands: dict[str, tuple[Action, ...]] = {}
    num_parsers: int = 1
    error: str = ""


def read_answer(content: bytes) -> tuple[Parsers | None, str]:
    """Return what the hook wrote: the parser, or None and why there is none."""
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return None, f"its answer cannot be read: {error}"
    if answer.error:
        return None, answer.error
    found = Parsers(actions=answer.actions, subcommands=answer.subcommands, num_parsers=answer.num_parsers)
    return found, ""


def read_config(output: str) -> dict[str, Any] | None:
    """Return the configuration that a script printed, without what it printed before; None if there is none."""
    lines = output[:MAX_CONFIG_CHARACTERS].splitlines()
    for start in range(min(len(lines), MAX_NOISE_LINES)):
        # A configuration begins at a key in the first column, so other lines need no look.
        if lines[start][:1].isalpha() and ":" in lines[start]:
            values = _load("\n".join(lines[start:]))
            if values is not None:
                return values
    return None


def _load(text: str) -> dict[str, Any] | None:
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(isinstance(name, str) for name in values) else None


def read_settings(content: bytes, path: str) -> dict[str, Any]:
    """Return what a file of settings holds.

    Raises:
        ValueError: it is not of the format that its suffix says, or holds no keys.
    """
    text = content.decode()
    form = format_of(path)
    values = tomllib.loads(text) if form == "toml" else json.loads(text) if form == "json" else _load(text)
    if not isinstance(values, dict):
        raise ValueError(f"it is no {form.upper()} with keys and values")
    return values


def config_options(values: Mapping[str, Any], *, spelled_as_flags: bool, prefix: str = "") -> list[Option]:
    """Return the options that a nested configuration has, by dotted names.

    Args:
        values: the configuration.
        spelled_as_flags: whether they are passed as `--name=value`, so that booleans and lists need a form.
        prefix: what the names begin with.
    """
    options: list[Option] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            options += config_options(value, spelled_as_flags=spelled_as_flags, prefix=f"{name}.")
        else:
            options.append(_config_option(name, value, spelled_as_flags))
    return options


def _config_option(name: str, value: Any, spelled_as_flags: bool) -> Option:
    # Hydra's `${model.depth}` takes another value over: as a parameter it would cut that tie.
    is_computed = isinstance(value, str) and "${" in value
    is_plain = _is_plain(value) and not is_computed
    forms: dict[str, Form] = {"true or false": "text", "list": "json"} if spelled_as_flags else {}
    kind = kind_of_value(value)
    return Option(
        name=name,
        kind=kind,
        default=value if is_plain else None,
        expression="" if is_plain else str(value),
        form=forms.get(kind),
        is_required=value == "???",
        problem="" if set(name.split(".")) - {""} and " " not in name else "its name holds a space",
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(one) for one in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    return value is None or (isinstance(value, str | int | float) and not _is_infinite(value))


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
