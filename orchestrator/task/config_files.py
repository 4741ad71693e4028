"""Parameters as the text of a JSON, YAML or TOML file: written whole, or merged into a text that is there. Pure.

A YAML text is written in the syntax of JSON, which is part of YAML. So one quoting rule holds for all three formats.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from orchestrator.errors import SpecError

Format = Literal["json", "yaml", "toml"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
"""Suffix of a file with parameters -> its format."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HIDDEN = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
"""Signs that JSON leaves as they are, and that YAML or TOML read as something else."""
_INDENT = "  "


def format_of(path: str) -> Format:
    """Return the format of a file by its suffix; the suffix is one of `SUFFIXES`."""
    return SUFFIXES[PurePosixPath(path).suffix]


def render(parameters: Mapping[str, Any], form: Format) -> str:
    """Return the text of a file that holds these parameters and nothing else.

    Raises:
        SpecError: a parameter is null, which TOML cannot hold. `where` is the path of its name.
    """
    return (
        "".join(f"{line}\n" for line in _toml_lines(parameters, ())) if form == "toml" else _json(parameters, "") + "\n"
    )


def merge(text: str, parameters: Mapping[str, Any], path: str) -> str:
    """Return the text of a file with these parameters put in; its other keys keep their values.

    Args:
        text: what the file holds.
        parameters: nested; a section of them is merged into the section of that name.
        path: the file, for messages; its suffix gives the format.

    Raises:
        SpecError: the text is not of its format, or holds no mapping.
    """
    form = format_of(path)
    if form == "yaml":
        return _merge_yaml(text, parameters, path)
    try:
        found = json.loads(text) if form == "json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path} is not {form.upper()}: {error}") from None
    return render(_merged(_mapping(found, path), parameters), form)


def _mapping(found: object, path: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise SpecError(
            f"{path} holds no keys with values, so no parameter can be put in; say `write` instead of `merge`"
        )
    return found


def _merged(found: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    # A new mapping at each level: a YAML alias may stand for the old one at another place, which must stay.
    merged = {key: found[key] for key in found}
    for name, value in parameters.items():
        below = merged.get(name)
        is_section = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = _merged(below, value) if is_section and isinstance(below, Mapping) else value
    return merged


def _json(value: Any, indent: str) -> str:
    inner = indent + _INDENT
    match value:
        case Mapping() if value:
            lines = [f"{inner}{_quoted(str(key))}: {_json(one, inner)}" for key, one in value.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        case list():
            return f"[{', '.join(_json(one, inner) for one in value)}]"
        case Mapping():
            return "{}"
        case None:
            return "null"
    return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return _float(value)
        case str():
            return _quoted(value)
        case int():
            return str(value)
    # TOML has dates and times beside these.
    return str(value.isoformat())


def _float(value: float) -> str:
    """Write a float with a point: readers of YAML 1.1 take `1e-05` for a text."""
    text = json.dumps(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _quoted(text: str) -> str:
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _toml_lines(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each value, with its dotted key."""
    for key, value in values.items():
        place = (*path, key)
        if isinstance(value, Mapping) and value:
            yield from _toml_lines(value, place)
        else:
            yield f"{'.'.join(map(_toml_key, place))} = {_toml(value, place)}"


def _toml_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _toml(value: Any, path: tuple[str, ...]) -> str:
    match value:
        case None:
            raise SpecError(f"`{'.'.join(path)}` is null, which TOML cannot hold; use `{{config.yaml}}`", path)
        case list():
            return f"[{', '.join(_toml(one, path) for one in value)}]"
        case Mapping():
            pairs = [f"{_toml_key(key)} = {_toml(one, (*path, key))}" for key, one in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case float():
            # TOML spells what is not finite as Python does.
            return _float(value) if value - value == 0 else str(value)
    return _scalar(value)


class _Representer(RoundTripRepresenter):
    """Writes what a file holds as it stands there, and new floats with a point."""


def _represent_float(representer: RoundTripRepresenter, value: float) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:float", _float(value))


_Representer.add_representer(float, _represent_float)


def _merge_yaml(text: str, parameters: Mapping[str, Any], path: str) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.Representer = _Representer
    # A long text stays on its line, as it was.
    yaml.width = 2**20
    try:
        found = yaml.load(text)
    except YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    out = StringIO()
    yaml.dump(_merged(_mapping(found, path), _always_quoted(parameters)), out)
    return out.getvalue()


def _always_quoted(value: Any) -> Any:
    """Put quotes around every text: readers of YAML 1.1 take `no`, and others, for no text."""
    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        return {_always_quoted(key): _always_quoted(one) for key, one in value.items()}
    return [_always_quoted(one) for one in value] if isinstance(value, list) else value
