"""The JSON Schema of parameters that have kinds: names of knobs, fields of a kind, defaults of sections. Pure.

A section of several kinds is an `anyOf` of objects, each with a constant `kind`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]
"""A JSON Schema of an object; it may hold references to its own `$defs`."""
KIND = "kind"
"""The field that says of which kind a section is."""


def knob_names(schema: Schema) -> tuple[str, ...]:
    """Return every dotted name that a change may set: sections, and their fields in all kinds of a section."""
    return tuple(dict.fromkeys(_names(schema, schema, "")))


def _names(node: Schema, root: Schema, prefix: str) -> Iterator[str]:
    for option in _objects(node, root):
        for name, inner in option.get("properties", {}).items():
            yield f"{prefix}{name}"
            yield from _names(inner, root, f"{prefix}{name}.")


def _objects(node: Schema, root: Schema) -> list[Schema]:
    """Return the objects that a value of this schema may be: one, one for each kind, or none."""
    if "$ref" in node:
        return _objects(_referred(node["$ref"], root), root)
    if "anyOf" in node:
        return [found for one in node["anyOf"] for found in _objects(one, root)]
    return [node] if "properties" in node else []


def _referred(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return dict(found)


def _nodes(schema: Schema, path: tuple[str, ...]) -> list[Schema]:
    """Return what a schema says of a field, once for each kind of the sections above it."""
    nodes = [schema]
    for part in path:
        objects = [found for node in nodes for found in _objects(node, schema)]
        nodes = [one["properties"][part] for one in objects if part in one["properties"]]
    return nodes


def fields_of_kind(schema: Schema, path: tuple[str, ...], kind: object) -> frozenset[str] | None:
    """Return the fields that a section has in one of its kinds; None if there is no such kind."""
    # Sections above may have kinds themselves, so there may be several nodes at one path.
    for node in _nodes(schema, path):
        for option in _objects(node, schema):
            said = option["properties"].get(KIND, {})
            if kind in ([said["const"]] if "const" in said else said.get("enum", [])):
                return frozenset(option["properties"])
    return None


def default_section(schema: Schema, path: tuple[str, ...]) -> dict[str, Any]:
    """Return what a section holds where a configuration leaves it out; empty where the schema does not say."""
    found = next((node["default"] for node in _nodes(schema, path) if "default" in node), None)
    return dict(found) if isinstance(found, Mapping) else {}
