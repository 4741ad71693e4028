"""Dotted knobs (`loss.gamma`) of the job's configuration: their names, changes, differences and suggestions. Pure."""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from model.config import COSMETIC, JobConfig
from orchestrator.wording import did_you_mean

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_QUOTED = re.compile(r"`(?P<field>[^`]+)`")

_PATH = re.compile(r"data\.captures\..*\.path")
_NO_RESULT = (*COSMETIC, "seed")
"""Knobs in which a run may differ from its arm, which has the campaign's first seed."""

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


def knob_names(config: type[Struct], prefix: str = "") -> tuple[str, ...]:
    """Return every dotted name that a change may set: sections, and their fields in all kinds of a section."""
    names: dict[str, None] = {}
    hints = typing.get_type_hints(config, include_extras=True)
    for name in (*_tag_field(config), *config.__struct_fields__):
        names[f"{prefix}{name}"] = None
        for inner in _structs(hints.get(name)):
            names |= dict.fromkeys(knob_names(inner, f"{prefix}{name}."))
    return tuple(names)


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


def apply_change(values: dict[str, Any], change: Change) -> None:
    """Set dotted knobs in a plain configuration, in place.

    A new `kind` drops the fields that it does not have. So `loss.kind: focal` alone is a complete change.
    """
    for knob, value in change.items():
        *parents, leaf = knob.split(".")
        node = values
        for index, part in enumerate(parents):
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
            # At the last section of the path, before the new kind is set: fields of the old kind must not stay.
            if leaf == "kind" and index == len(parents) - 1:
                _keep_fields_of_kind(node, tuple(parents), value)
        node[leaf] = deepcopy(value)


def _keep_fields_of_kind(node: dict[str, Any], path: tuple[str, ...], kind: object) -> None:
    for struct in structs_at(JobConfig, path):
        if struct.__struct_config__.tag == kind:
            for name in set(node) - set(struct.__struct_fields__):
                del node[name]


def difference(before: JobConfig, after: JobConfig) -> dict[str, tuple[Any, Any]]:
    """Return the knobs in which two configurations differ: dotted name -> (before, after), None where it is absent."""
    old, new = (dict(leaves(msgspec.to_builtins(config))) for config in (before, after))
    return {name: pair for name, pair in differing(old, new, absent=None).items() if name not in COSMETIC}


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


def result_knobs(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that the numbers of a run may depend on, of a configuration as nested mappings.

    The seed, the names of the run, and the paths of captures are left out.
    """
    return {name: value for name, value in leaves(config) if name not in _NO_RESULT and not _PATH.fullmatch(name)}


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
