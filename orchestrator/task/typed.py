"""Plain values of a campaign file as typed ones: what is unknown or of another type is refused by its path. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from orchestrator.errors import SpecError
from orchestrator.task.knobs import describe_validation_error
from orchestrator.wording import did_you_mean

Where = tuple[str, ...]
"""Path of keys in the campaign file, e.g. `("task", "resume", "when")`; item 2 of a list is `[2]`."""

T = TypeVar("T", bound=Struct)


def section(values: object, names: Iterable[str], where: Where) -> dict[str, Any]:
    """Return the keys of a section; refuse what is no section, and keys that it does not know.

    Raises:
        SpecError: names the nearest valid key.
    """
    found = mapping(values, where)
    valid = tuple(names)
    for name in found:
        if name not in valid:
            raise SpecError(f"there is no `{name}` here{did_you_mean(name, valid)}", (*where, name))
    return found


def mapping(values: object, where: Where) -> dict[str, Any]:
    """Return a mapping whose keys are words; refuse everything else."""
    if not isinstance(values, Mapping):
        raise SpecError(f"Expected keys with values, got {kind_of(values)}", where)
    for name in values:
        if not isinstance(name, str):
            raise SpecError(f"a key must be a word, found {name!r}; quote it", where)
    return dict(values)


def convert(values: object, kind: type[T], where: Where) -> T:
    """Check a section against a type.

    Raises:
        SpecError: a key is unknown, missing or of another type.
    """
    # Unknown keys are looked for first, because msgspec's own message names no nearest one.
    found = section(values, kind.__struct_fields__, where)
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        message, path = describe_validation_error(error, kind)
        raise SpecError(message, (*where, *path)) from None


def kind_of(value: object) -> str:
    """Name the kind of a plain value in words: a whole number, a list."""
    return next(words for kind, words in _KINDS.items() if isinstance(value, kind))


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Mapping: "a section",
    list: "a list",
    tuple: "a list",
    object: "another kind of value",
}
"""Type -> its words; a bool stands before the integers, whose subclass it is."""


def refuse_twice(names: Iterable[str], where: Where) -> None:
    """Refuse a list that names something twice."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise SpecError(f"`{name}` is named twice; keep one of them", (*where, f"[{index}]"))
        seen.add(name)


def refuse_outside(path: str, where: Where) -> None:
    """Refuse a path that is absolute or leads out of the checkout."""
    # A run has a checkout of its own. Through a path outside it, two runs would share a file.
    if path.startswith(("/", "~")) or ".." in path.split("/"):
        raise SpecError(f"`{path}` leads out of the checkout; name a path below the repository's root", where)
