"""Parameters of a task: they are closed, a change keeps their types, and a schema may narrow them. Pure.

Parameters are nested mappings. A change names them by dots: `{"model.depth": 4}`.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.task.knobs import leaves
from orchestrator.task.schema import Schema, allows_type, at, check_value, is_number, wants_float
from orchestrator.task.typed import Where, kind_of

Parameters = dict[str, Any]
"""Name -> value; a nested mapping is a section."""
ANYTHING: Schema = {}
"""The schema that narrows nothing."""


def nest(values: Mapping[str, Any], where: Where = ("baseline",)) -> Parameters:
    """Return parameters with dotted names as nested sections: `{"model.depth": 2}` is `{"model": {"depth": 2}}`.

    Raises:
        SpecError: a name cannot be one, a value is no finite number, or a parameter is given twice.
    """
    nested: Parameters = {}
    for name, value in values.items():
        place = (*where, name)
        _check_name(name, place)
        node = nested
        *sections, last = name.split(".")
        for part in sections:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise SpecError(f"`{part}` is a parameter and cannot hold `{name}` too", place)
        inner = nest(value, place) if isinstance(value, Mapping) else _finite(value, place)
        _put(node, last, inner, place)
    return nested


def _put(node: Parameters, name: str, value: Any, where: Where) -> None:
    if name not in node:
        node[name] = value
    elif isinstance(node[name], dict) and isinstance(value, dict):
        for key, inner in value.items():
            _put(node[name], key, inner, where)
    else:
        is_mixed = isinstance(node[name], dict) or isinstance(value, dict)
        how = "once as a parameter and once as a section" if is_mixed else "once with dots and once in a section"
        raise SpecError(f"`{name}` is given twice, {how}; keep one of them", where)


def _check_name(name: object, where: Where) -> None:
    if not isinstance(name, str) or not all(name.split(".")) or name.startswith("-") or set(name) & set("= \t\n\0"):
        raise SpecError(
            f"a parameter's name has no spaces, no `=` and no dash in front, found `{name}`; write `lr` for `--lr`",
            where,
        )


def _finite(value: Any, where: Where) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"the number {value} is not finite; quote it if the script takes it as a word", where)
    return value


def parameter_names(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the dotted names of all parameters."""
    return tuple(name for name, _ in leaves(parameters))


def check_parameters(parameters: Mapping[str, Any], schema: Schema, where: Where = ("baseline",)) -> None:
    """Refuse a baseline that its schema does not allow.

    Raises:
        SpecError: `where` is the path of the parameter at fault.
    """
    check_value(parameters, schema, where)


def apply_to_parameters(
    parameters: Mapping[str, Any], change: Mapping[str, Any], schema: Schema = ANYTHING, where: Where = ()
) -> Parameters:
    """Return parameters with a change applied.

    Args:
        parameters: the stack that is changed; it stays as it is.
        change: dotted name -> new value; a section of values changes each of them.
        schema: what narrows the parameters, as `read_schema` returns it.
        where: path of the change in the campaign file.

    Raises:
        SpecError: a parameter is unknown, keeps its value, or gets a value of another type or out of range.
    """
    changed = deepcopy(dict(parameters))
    for name, value in change.items():
        place = (*where, name)
        # A section of new values is the same change as its dotted names.
        for inner, new in leaves({name: value}) if isinstance(value, Mapping) else ((name, value),):
            _apply_one(changed, inner, new, schema, place)
    return changed


def _apply_one(parameters: Parameters, name: str, value: Any, schema: Schema, where: Where) -> None:
    *sections, last = name.split(".")
    node = _section_of(parameters, sections)
    if node is None or last not in node:
        raise SpecError(_unknown(name, parameters), where)
    old, rule = node[last], at(schema, name.split("."))
    new = _of_type(name, old, _finite(value, where), rule, where)
    check_value(new, rule, where)
    # Python takes True for 1, which are two values here.
    if new == old and type(new) is type(old):
        raise SpecError(f"`{name}: {new}` changes nothing: the stack it is put on has that value already", where)
    node[last] = deepcopy(new)


def _section_of(parameters: Parameters, path: list[str]) -> Parameters | None:
    node: Any = parameters
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None


def _unknown(name: str, parameters: Parameters) -> str:
    near = get_close_matches(name, parameter_names(parameters), n=1)
    if near:
        return f"there is no parameter `{name}`; did you mean `{near[0]}`?"
    return f"`{name}` is not in `baseline`; write its value there, so that both sides say it"


def _of_type(name: str, old: Any, new: Any, rule: Schema, where: Where) -> Any:
    """Return a new value as the type of the old one, or of one that the schema allows."""
    if isinstance(old, dict) and old:
        raise SpecError(f"`{name}` is a section; name one of its parameters: {_examples(name, old)}", where)
    fitted = None if new is None else _fitted(old, new)
    if fitted is not None:
        return fitted
    if old is None or allows_type(rule, new):
        return float(new) if type(new) is int and wants_float(rule) else new
    if new is None:
        raise SpecError(
            f"`{name}` is {_described(old)}, never null; a schema may allow it: `{name}: {{null: true}}`", where
        )
    raise SpecError(
        f"`{name}` is {_described(old)} in `baseline`, found {_described(new)}; a change keeps the type", where
    )


def _fitted(old: Any, new: Any) -> Any:
    """Return a value as the type of another one; None if it has none of that type."""
    if isinstance(old, list):
        return _fitted_list(old, new) if isinstance(new, list) else None
    if isinstance(old, float) and is_number(new):
        return float(new)
    if type(old) is int and isinstance(new, float) and new.is_integer():
        # YAML reads `2e3` as a float.
        return int(new)
    return new if type(new) is type(old) else None


def _fitted_list(old: list[Any], new: list[Any]) -> list[Any] | None:
    # A list of several kinds, or an empty one, says nothing of its items.
    kinds = {type(one) for one in old}
    if len(kinds) != 1:
        return new
    fitted = [_fitted(old[0], one) for one in new]
    return None if None in fitted else fitted


def _described(value: Any) -> str:
    return "null" if value is None else f"{kind_of(value)} (`{value}`)"


def _examples(name: str, section: Parameters) -> str:
    return ", ".join(f"`{inner}`" for inner in list(parameter_names({name: section}))[:3])
