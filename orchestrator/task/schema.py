"""The part of JSON Schema that narrows parameters, and its short form in a campaign file. Pure.

The short form is `{dropout: {min: 0, max: 1}, opt: [adam, sgd]}`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.task.typed import Where, kind_of, mapping, section
from orchestrator.wording import did_you_mean, listed

Schema = dict[str, Any]
"""A JSON Schema of the known keywords, without references."""


def is_number(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int or (isinstance(value, float) and value.is_integer()),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, Mapping),
}
_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", lambda value, limit: value >= limit),
    "maximum": ("at most", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("above", lambda value, limit: value > limit),
    "exclusiveMaximum": ("below", lambda value, limit: value < limit),
}
_NARROWING = (
    "type",
    "enum",
    "const",
    "anyOf",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "$ref",
    *_LIMITS,
)
_SAYING = (
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
)
"""Keywords that narrow nothing."""
_SHORT = ("min", "max", "choices", "null")
"""Keys of one parameter in the short form."""
MAX_DEPTH = 50
"""Deepest nesting of a schema; a reference to itself would go on without end."""


def read_schema(values: object, names: Iterable[str], where: Where = ("task", "schema")) -> Schema:
    """Return the schema that a campaign file or a JSON Schema file says.

    Args:
        values: a JSON Schema of an object, or the short form: name of a parameter -> its range or its choices.
        names: dotted names of the parameters.
        where: path of the schema in the campaign file.

    Raises:
        SpecError: a keyword is unknown, or a name is no parameter.
    """
    found = mapping(values, where)
    if found.get("type") == "object" or {"properties", "$schema", "$ref"} & set(found):
        return _resolved(found, found, where, 0)
    return _long_form(found, tuple(names), where)


def _resolved(schema: object, root: Mapping[str, Any], where: Where, depth: int) -> Schema:
    """Check keywords at every level, and put in what references stand for."""
    # `true` allows every value and `false` none.
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    if depth > MAX_DEPTH:
        raise SpecError(f"the schema refers to itself, or lies more than {MAX_DEPTH} deep", where)
    found = section(schema, (*_NARROWING, *_SAYING), where)
    narrowing = {key: value for key, value in found.items() if key in _NARROWING}
    # Keywords beside a reference hold too, so they lie on top of what it stands for.
    if reference := narrowing.pop("$ref", None):
        narrowing = _referred(reference, root, where) | narrowing
        return _resolved(narrowing, root, where, depth + 1)
    for key in ("items", "additionalProperties"):
        if isinstance(narrowing.get(key), Mapping):
            narrowing[key] = _resolved(narrowing[key], root, (*where, key), depth + 1)
    if "properties" in narrowing:
        inner = mapping(narrowing["properties"], (*where, "properties"))
        narrowing["properties"] = {
            name: _resolved(one, root, (*where, "properties", name), depth + 1) for name, one in inner.items()
        }
    if "anyOf" in narrowing:
        narrowing["anyOf"] = [_resolved(one, root, (*where, "anyOf"), depth + 1) for one in narrowing["anyOf"]]
    _check_type(narrowing.get("type", []), where)
    return narrowing


def _referred(reference: str, root: Mapping[str, Any], where: Where) -> dict[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not reference.startswith("#/"):
        raise SpecError(f"the reference `{reference}` leads to no part of this schema", where)
    return dict(node)


def _check_type(types: object, where: Where) -> None:
    for name in types if isinstance(types, list) else [types]:
        if name not in _TYPES:
            raise SpecError(f"there is no type `{name}`{did_you_mean(str(name), _TYPES)}", (*where, "type"))


def _long_form(found: Mapping[str, Any], names: tuple[str, ...], where: Where) -> Schema:
    schema: Schema = {}
    for name, value in found.items():
        if name not in names:
            raise SpecError(f"there is no parameter `{name}`{did_you_mean(name, names)}", (*where, name))
        node = schema
        for part in name.split("."):
            node = node.setdefault("properties", {}).setdefault(part, {})
        node |= _one_long(value, (*where, name))
    return schema


def _one_long(value: object, where: Where) -> Schema:
    """Return the schema of one parameter: of `[adam, sgd]`, or of `{min: 0, max: 1, null: true}`."""
    if isinstance(value, list):
        return {"enum": value}
    found = section(value, _SHORT, where)
    for key in ("min", "max"):
        if key in found and not is_number(found[key]):
            raise SpecError(f"a limit is a number, found {kind_of(found[key])}", (*where, key))
    if found.get("min", -float("inf")) > found.get("max", float("inf")):
        raise SpecError(f"no number is at least {found['min']} and at most {found['max']}", where)
    return _with_null(found, where)


def _with_null(found: Mapping[str, Any], where: Where) -> Schema:
    limits: Schema = {_SHORT_LIMITS[key]: found[key] for key in found if key in _SHORT_LIMITS}
    if "choices" in found:
        if not isinstance(found["choices"], list):
            raise SpecError(f"choices are a list, found {kind_of(found['choices'])}", (*where, "choices"))
        limits["enum"] = found["choices"]
    return {"anyOf": [limits, {"type": "null"}]} if found.get("null") else limits


_SHORT_LIMITS = {"min": "minimum", "max": "maximum"}


def at(schema: Schema, path: Sequence[str]) -> Schema:
    """Return the schema of one parameter; it is empty where nothing narrows it."""
    for part in path:
        inner = schema.get("properties", {})
        schema = inner.get(part, {})
    return schema


def allows_type(schema: Schema, value: object) -> bool:
    """Whether a schema names the type of a value, or the value itself."""
    if "enum" in schema:
        return _is_among(value, schema["enum"])
    types = _types_of(schema)
    return any(_TYPES[name](value) for name in types) or any(allows_type(one, value) for one in schema.get("anyOf", ()))


def wants_float(schema: Schema) -> bool:
    """Whether a schema asks for a real number, so that a whole one is passed on with a point."""
    types = {name for one in (schema, *schema.get("anyOf", ())) for name in _types_of(one)}
    return "number" in types and "integer" not in types


def _types_of(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


def _is_among(value: object, allowed: Sequence[object]) -> bool:
    # Python takes True for 1, which are two values here.
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def check_value(value: Any, schema: Schema, where: Where) -> None:
    """Refuse a value that a schema does not allow.

    Raises:
        SpecError: says what is wanted; `where` is the path of the value at fault.
    """
    if "anyOf" in schema:
        _check_any(value, schema["anyOf"], where)
    _check_kind(value, schema, where)
    for key, (words, holds) in _LIMITS.items():
        # A limit without a type asks for a number: the short form says no more.
        is_meant = key in schema and (is_number(value) or "type" not in schema)
        if is_meant and not (is_number(value) and holds(value, schema[key])):
            raise SpecError(f"this must be {words} {schema[key]}, found {value!r}", where)
    if isinstance(value, list):
        for index, one in enumerate(value):
            check_value(one, schema.get("items", {}), (*where, f"[{index}]"))
    if isinstance(value, Mapping):
        _check_object(value, schema, where)


def _check_kind(value: Any, schema: Schema, where: Where) -> None:
    names = _types_of(schema)
    if names and not any(_TYPES[name](value) for name in names):
        raise SpecError(f"this must be of type {' or '.join(names)}, found {kind_of(value)} (`{value}`)", where)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not _is_among(value, allowed):
        wanted = listed(f"`{one}`" for one in allowed) if allowed else "the values here: the schema allows none"
        raise SpecError(f"`{value}` is none of {wanted}", where)


def _check_any(value: Any, schemas: Sequence[Schema], where: Where) -> None:
    refused: list[SpecError] = []
    for schema in schemas:
        try:
            return check_value(value, schema, where)
        except SpecError as error:
            refused.append(error)
    raise SpecError("; or ".join(dict.fromkeys(str(error) for error in refused)), where)


def _check_object(value: Mapping[str, Any], schema: Schema, where: Where) -> None:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for name, inner in value.items():
        if name not in properties and others is False:
            hint = did_you_mean(name, properties) if properties else "; there are none here"
            raise SpecError(f"there is no parameter `{name}`{hint}", (*where, name))
        check_value(inner, properties.get(name, others if isinstance(others, dict) else {}), (*where, name))
    for name in schema.get("required", ()):
        if name not in value:
            raise SpecError(f"the parameter `{name}` is missing here", where)
