"""Sentences about values that are refused: nearest name, valid values, and the kinds that have a knob. Pure."""

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_KEY = re.compile(r"\[\d+\]|[^.\[\]]+")
_QUOTED = re.compile(r"`(?P<field>[^`]+)`")
_ENTRY = "[...]"
"""Stands in a message of msgspec for the key of an entry, which msgspec does not tell."""

Path = tuple[str, ...]
"""The keys that lead to a value."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of a message: the nearest valid name, or all names if none is near."""
    valid = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(valid)}"


def find_problem(values: object, kind: type[Struct]) -> tuple[str, Path] | None:
    """Say why plain values are no configuration of a kind, and at which path; None if they are one."""
    try:
        msgspec.convert(values, type=kind)
    except msgspec.ValidationError as error:
        return describe_validation_error(error, kind, values)
    return None


def describe_validation_error(error: msgspec.ValidationError, root: type[Struct], values: object) -> tuple[str, Path]:
    """Return a sentence about an error of msgspec, with the valid names, and the path of keys to its place.

    Args:
        error: what msgspec said of the values.
        root: the type that they were converted to.
        values: the values; the key of a wrong entry is looked up in them.
    """
    match = _AT.match(str(error))
    what, text = (match["what"], match["path"] or "") if match else (str(error), "")
    fields = _keys(text.replace(_ENTRY, ""))
    sentence, ending = _explain(what, structs_at(root, fields), structs_at(root, fields[:-1]), fields)
    return sentence, (*_name_entries(text, root, values), *ending)


def _keys(text: str) -> Path:
    return tuple(_KEY.findall(text))


def _explain(what: str, structs: list[type[Struct]], above: list[type[Struct]], fields: Path) -> tuple[str, Path]:
    """Return a sentence, and the key below the place of the error that it is about, if there is one."""
    field = _QUOTED.search(what)
    if "unknown field" in what and field:
        return _explain_unknown(field["field"], structs), (field["field"],)
    if "missing required field" in what and field:
        return f"`{field['field']}` is missing here", ()
    # msgspec names the length, which says little to who left a list empty.
    if what.endswith("of length >= 1"):
        return "this must not be empty", ()
    return what + (_valid_values(above, fields) if what.startswith("Invalid") else ""), ()


def _explain_unknown(name: str, structs: list[type[Struct]]) -> str:
    # A section that has kinds: the name may be right, and belong to another kind.
    kinds = [str(struct.__struct_config__.tag) for struct in structs if name in struct.__struct_fields__]
    if kinds:
        return f"`{name}` has no effect here: only kind {' or '.join(f'`{kind}`' for kind in kinds)} has it"
    names = [name for struct in structs for name in (*_tag_field(struct), *struct.__struct_fields__)]
    return f"there is no `{name}` here{did_you_mean(name, names)}"


def _tag_field(struct: type[Struct]) -> tuple[str, ...]:
    tag_field = struct.__struct_config__.tag_field
    return (tag_field,) if tag_field else ()


def _valid_values(structs: list[type[Struct]], fields: Path) -> str:
    values = [value for struct in structs for value in _values_of(struct, fields[-1] if fields else "")]
    return f"; valid are {', '.join(dict.fromkeys(values))}" if values else ""


def _values_of(struct: type[Struct], name: str) -> list[str]:
    if struct.__struct_config__.tag_field == name:
        return [str(struct.__struct_config__.tag)]
    hint = typing.get_type_hints(struct, include_extras=True).get(name)
    literals = [choice for choice in _choices(hint) if typing.get_origin(choice) is Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def structs_at(root: type[Struct], fields: Path) -> list[type[Struct]]:
    """Return the struct types that a path of fields may lead to; a section has one for each of its kinds."""
    found = [root]
    for field in fields:
        # Annotations stay, since ranges and descriptions are part of them.
        hints = [typing.get_type_hints(struct, include_extras=True).get(field) for struct in found]
        found = [struct for hint in hints if hint is not None for struct in structs_of(hint)]
    return found


def structs_of(annotation: Any) -> list[type[Struct]]:
    """Return the structs that a value of this type is, or that its entries are."""
    found: list[type[Struct]] = []
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, Struct):
            found.append(choice)
        elif typing.get_origin(choice) is dict:
            found += structs_of(typing.get_args(choice)[1])
    return found


def _choices(annotation: Any) -> list[Any]:
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
    return [annotation]


def _name_entries(text: str, root: type[Struct], values: object) -> Path:
    """Return a path of msgspec as keys; entries that it does not name are found by converting each alone."""
    before, entry, after = text.partition(_ENTRY)
    fields = _keys(before)
    if not entry:
        return fields
    entries = values
    for field in fields:
        entries = entries.get(field) if isinstance(entries, dict) else None
    kinds = structs_at(root, fields)
    # An entry of a list, or of plain values, has no struct of its own.
    if not isinstance(entries, dict) or not kinds:
        return fields
    # The first entry that is wrong by itself is the one that msgspec stopped at.
    wrong = next((str(key) for key, value in entries.items() if find_problem(value, kinds[0])), None)
    return fields if wrong is None else (*fields, wrong, *_keys(after))
