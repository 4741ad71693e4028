"""Dotted knobs (`loss.gamma`) of nested parameters: changes, differences and what is wrong with them. Pure."""

import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from orchestrator.task.kinds import KIND, Schema, default_section, fields_of_kind
from orchestrator.wording import did_you_mean

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_QUOTED = re.compile(r"`(?P<field>[^`]+)`")

Change = dict[str, Any]
"""Dotted path of a knob -> its new value."""


def _strip(annotation: Any) -> Any:
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _choices(annotation: Any) -> list[Any]:
    annotation = _strip(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
    return [annotation]


def _structs(annotation: Any) -> list[type[Struct]]:
    return [choice for choice in _choices(annotation) if isinstance(choice, type) and issubclass(choice, Struct)]


def _tag_field(config: type[Struct]) -> tuple[str, ...]:
    tag_field = config.__struct_config__.tag_field
    return (tag_field,) if tag_field else ()


def structs_at(config: type[Struct], path: tuple[str, ...]) -> list[type[Struct]]:
    """Return the struct types that a path of fields may lead to; a section has one for each of its kinds."""
    found = [config]
    for part in path:
        hints = [typing.get_type_hints(struct, include_extras=True).get(part) for struct in found]
        found = [struct for hint in hints if hint is not None for struct in _structs(hint)]
    return found


def apply_change(values: dict[str, Any], change: Mapping[str, Any], schema: Schema) -> None:
    """Set dotted knobs in plain parameters, in place.

    A section that is missing begins with its defaults. A new `kind` drops the fields that it does not have. So
    `loss.kind: focal` alone is a complete change.

    Args:
        values: nested parameters.
        change: dotted knob -> its new value.
        schema: the JSON Schema of the parameters; empty where the task has none.
    """
    for knob, value in change.items():
        *parents, leaf = knob.split(".")
        node = values
        for index, part in enumerate(parents):
            path = tuple(parents[: index + 1])
            if not isinstance(node.get(part), dict):
                node[part] = deepcopy(default_section(schema, path))
            node = node[part]
            # At the last section of the path, before the new kind is set: fields of the old kind must not stay.
            if leaf == KIND and index == len(parents) - 1:
                _keep_fields_of_kind(node, fields_of_kind(schema, path, value))
        node[leaf] = deepcopy(value)


def _keep_fields_of_kind(node: dict[str, Any], fields: Collection[str] | None) -> None:
    for name in () if fields is None else set(node) - set(fields):
        del node[name]


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], cosmetic: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Return the knobs in which parameters differ: dotted name -> (before, after), None where it is absent.

    Args:
        before: nested parameters.
        after: nested parameters.
        cosmetic: dotted names that are left out, because they change no number.
    """
    pairs = differing(dict(leaves(before)), dict(leaves(after)), absent=None)
    return {name: pair for name, pair in pairs.items() if name not in cosmetic}


def differing(before: Mapping[str, Any], after: Mapping[str, Any], absent: Any) -> dict[str, tuple[Any, Any]]:
    """Return the names whose values differ, those of `before` first: name -> (before, after).

    Example: {"depth": 2} and {"depth": 4, "roll": 1} with `absent=None` give {"depth": (2, 4), "roll": (None, 1)}.

    Args:
        before: name -> value.
        after: name -> value.
        absent: stands for the value of a name that a side does not have, and is compared like one.
    """
    pairs = {name: (before.get(name, absent), after.get(name, absent)) for name in (*before, *after)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def result_knobs(
    parameters: Mapping[str, Any], cosmetic: Collection[str], files: Collection[str] = ()
) -> dict[str, Any]:
    """Return the knobs that the numbers of a run may depend on: dotted name -> value.

    Args:
        parameters: nested parameters.
        cosmetic: dotted names that change no number.
        files: paths of files that are read; knobs with such a value are left out, since content counts.
    """
    found = {name: value for name, value in leaves(parameters) if name not in cosmetic}
    return {name: value for name, value in found.items() if not (isinstance(value, str) and value in files)}


def file_name(knob: str) -> str:
    """Name the file that a knob stands for: `captures.LocA` for `data.captures.LocA.path`."""
    return knob.removeprefix("data.").removesuffix(".path")


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested mappings: dotted name and value of each leaf; an empty mapping is a leaf."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def describe_validation_error(error: msgspec.ValidationError, root: type[Struct]) -> tuple[str, tuple[str, ...]]:
    """Return a sentence about an error of msgspec, with the valid names, and the path of keys to its place."""
    match = _AT.match(str(error))
    what, path_text = (match["what"], match["path"] or "") if match else (str(error), "")
    path = tuple(part for part in path_text.replace("[...]", "").split(".") if part)
    field = _QUOTED.search(what)
    structs = structs_at(root, path)
    if "unknown field" in what and field:
        names = [name for struct in structs for name in (*_tag_field(struct), *struct.__struct_fields__)]
        if field["field"] in names:
            return _without_effect(field["field"], structs), (*path, field["field"])
        return f"there is no `{field['field']}` here{did_you_mean(field['field'], names)}", (
            *path,
            field["field"],
        )
    if "missing required field" in what and field:
        return f"`{field['field']}` is missing here", path
    if what.endswith("of length >= 1"):
        return "this must not be empty", path
    if what.startswith("Invalid"):
        what += _valid_values(root, path)
    return what, path


def _without_effect(name: str, structs: list[type[Struct]]) -> str:
    kinds = [struct.__struct_config__.tag for struct in structs if name in struct.__struct_fields__]
    return f"`{name}` has no effect here: only kind {' or '.join(f'`{kind}`' for kind in kinds)} has it"


def _valid_values(root: type[Struct], path: tuple[str, ...]) -> str:
    values: list[str] = []
    for struct in structs_at(root, path[:-1]):
        values += _values_of(struct, path[-1] if path else "")
    return f"; valid are {', '.join(dict.fromkeys(values))}" if values else ""


def _values_of(struct: type[Struct], name: str) -> list[str]:
    if struct.__struct_config__.tag_field == name:
        return [str(struct.__struct_config__.tag)]
    hint = typing.get_type_hints(struct, include_extras=True).get(name)
    literals = [choice for choice in _choices(hint) if typing.get_origin(choice) is Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]
