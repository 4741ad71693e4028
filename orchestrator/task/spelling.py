"""How parameters are spelled as arguments: the styles of a command line, and the forms of one parameter. Pure.

No style needs quotes for a shell: each word is one argument.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from orchestrator.closed import Config
from orchestrator.errors import SpecError
from orchestrator.task.knobs import leaves

StyleName = Literal["argparse", "literal", "hydra", "absl"]
BooleanForm = Literal["switch", "pair", "type_bool", "text"]
"""`--x` or nothing; `--x` or `--no-x`; `--x=True` or `--x=`; `--x=True` or `--x=False`."""
ListForm = Literal["nargs", "append", "comma", "json"]
"""`--x 1 2`; `--x=1 --x=2`; `--x=1,2`; `--x=[1, 2]`."""
LIST_FORMS: tuple[ListForm, ...] = get_args(ListForm)
FORMS: tuple[BooleanForm | ListForm, ...] = (*get_args(BooleanForm), *LIST_FORMS)


class TemplateStyle(Config, frozen=True, kw_only=True):
    """A style of one's own: `-{name} {value}` gives the two arguments `-lr` and `0.1`."""

    template: Annotated[str, Meta(min_length=1, description="words with {name} and {value}, split at white space")]
    true: Annotated[str, Meta(description="the value that stands for true")] = "true"
    false: Annotated[str, Meta(description="the value that stands for false")] = "false"
    null: Annotated[str | None, Meta(description="the value that stands for null; by default a null is left out")] = (
        None
    )


_PLAIN = TemplateStyle(template="{value}", true="True", false="False")
"""How the styles without a grammar of their own write one value."""


class Flags(Config, frozen=True, kw_only=True):
    """The arguments of a boolean parameter whose options have names of their own; empty for none."""

    if_true: str = ""
    if_false: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.if_true == self.if_false:
            raise ValueError("`if_true` and `if_false` are the same, so the script is told nothing")


Form = BooleanForm | ListForm | Flags


class Spelling(Struct, frozen=True):
    """How the parameters of a task are spelled."""

    style: StyleName | TemplateStyle
    forms: Mapping[str, Form] = {}
    """Dotted name of a parameter -> its form; styles `argparse` and `absl` look here."""


def spell(parameters: Mapping[str, Any], spelling: Spelling) -> tuple[str, ...]:
    """Return the arguments that pass parameters on, in order.

    Each parameter is one argument, `--lr=-0.1`: two words would make argparse read the value as an option. Only the
    form `nargs` and a template of one's own use more. A null that a style cannot spell is left out.

    Args:
        parameters: name -> value; nested mappings become dotted names.
        spelling: the style, and the forms of single parameters.

    Raises:
        SpecError: a parameter needs a form, or its form cannot spell it. `where` is the path of its name.
    """
    words: list[str] = []
    for name, value in leaves(parameters):
        try:
            words += _spell_one(name, value, spelling)
        except SpecError as error:
            raise SpecError(str(error), tuple(name.split("."))) from None
    return tuple(words)


def _spell_one(name: str, value: Any, spelling: Spelling) -> Sequence[str]:
    if isinstance(spelling.style, TemplateStyle):
        return _spell_by_template(name, value, spelling.style)
    return _STYLES[spelling.style](name, value, spelling.forms.get(name))


def spell_value(name: str, value: Any, spelling: Spelling) -> str:
    """Return the text that stands for `{params.NAME}` inside an argument of the user's own; text stays as it is.

    Raises:
        SpecError: the value is null, and the style has no text for null.
    """
    if isinstance(value, str):
        return value
    match spelling.style:
        case "literal":
            return literal_text(value)
        case "hydra":
            return hydra_text(value)
    text = _template_text(value, spelling.style if isinstance(spelling.style, TemplateStyle) else _PLAIN)
    if text is None:
        raise SpecError(f"`{{params.{name}}}` is null, which no text stands for", tuple(name.split(".")))
    return text


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _text(value: Any) -> str:
    # `repr` of a float is the shortest text that reads back as the same number.
    return value if isinstance(value, str) else repr(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _spell_argparse(name: str, value: Any, form: Form | None) -> Sequence[str]:
    # argparse knows no null: the script's own default is meant.
    if value is None:
        return ()
    if isinstance(value, bool):
        return _spell_boolean(name, value, form)
    if isinstance(value, list):
        return _spell_list(name, value, form)
    return (f"--{name}={_text(value) if _is_scalar(value) else _json(value)}",)


def _spell_boolean(name: str, value: bool, form: Form | None) -> Sequence[str]:
    match form:
        case Flags():
            word = form.if_true if value else form.if_false
            return (word,) if word else ()
        case "switch":
            return (f"--{name}",) if value else ()
        case "pair":
            return (f"--{name}" if value else f"--no-{name}",)
        case "type_bool":
            # `type=bool` of argparse takes every text but the empty one as true, also `False`.
            return (f"--{name}={value if value else ''}",)
        case "text":
            return (f"--{name}={value}",)
    raise SpecError(needs_form(name, value))


def needs_form(name: str, value: object) -> str:
    """Return the sentence for a boolean or a list without a form that can spell it."""
    if isinstance(value, bool):
        return (
            f"`{name}` is true or false, and parsers differ in how they are told so: write `forms: {{{name}: switch}}` "
            f"(`--{name}` or nothing), `pair` (or `--no-{name}`), `type_bool` (or `--{name}=`) or `text` "
            f"(or `--{name}=False`)"
        )
    return (
        f"`{name}` is a list, and parsers differ in how they are told so: write `forms: {{{name}: nargs}}` "
        f"(`--{name} 1 2`), `append` (`--{name}=1 --{name}=2`), `comma` (`--{name}=1,2`) or `json` (`--{name}=[1, 2]`)"
    )


def _spell_list(name: str, values: list[Any], form: Form | None) -> Sequence[str]:
    if form == "json":
        return (f"--{name}={_json(values)}",)
    if form not in LIST_FORMS:
        raise SpecError(needs_form(name, values))
    if any(value is None or not _is_scalar(value) for value in values):
        raise SpecError(f"`{name}` holds a null, a list or a mapping, which the form `{form}` cannot spell; use `json`")
    if form == "nargs":
        return (f"--{name}", *(_positional(name, value) for value in values))
    texts = [_text(value) for value in values]
    if form == "append":
        if not texts:
            raise SpecError(f"`{name}` is an empty list, which the form `append` cannot spell")
        return [f"--{name}={text}" for text in texts]
    # Readers of such a list take quotes and outer spaces away, as in a line of CSV.
    if any(set(text) & set(',"\r\n') or text != text.strip() for text in texts):
        raise SpecError(
            f"a value of `{name}` holds a comma, a quote or outer space, which the form `comma` cannot spell; "
            "use `append`"
        )
    return (f"--{name}={','.join(texts)}",)


def _positional(name: str, value: Any) -> str:
    """Spell a value that stands in an argument by itself, where argparse takes a leading dash for an option."""
    if isinstance(value, float):
        # argparse knows `-0.0001` as a negative number, and takes `-1e-04` for an option.
        return format(Decimal(repr(value)), "f")
    text = _text(value)
    if isinstance(value, str) and text.startswith("-"):
        raise SpecError(f"the value `{text}` of `{name}` begins with a dash, so `nargs` cannot spell it; use `append`")
    return text


def _spell_absl(name: str, value: Any, form: Form | None) -> Sequence[str]:
    if isinstance(value, bool) and form is None:
        # A dotted flag of `ml_collections` negates the whole name, as every other flag does.
        return (f"--{name}" if value else f"--no{name}",)
    return _spell_argparse(name, value, form or ("comma" if isinstance(value, list) else None))


_WORD = re.compile(r"(\.{0,2}/)?[A-Za-z_][\w./-]*", re.ASCII)
"""Text, also a path, that no reader takes for a number."""
_PYTHON_VALUES = ("True", "False", "None")
_HYDRA_VALUES = ("true", "false", "null", "inf", "nan")


def _spell_literal(name: str, value: Any, _: Form | None) -> Sequence[str]:
    is_plain = isinstance(value, str) and _WORD.fullmatch(value) and value not in _PYTHON_VALUES
    return (f"--{name}={value if is_plain else literal_text(value)}",)


def literal_text(value: Any) -> str:
    """Write a value as `ast.literal_eval` reads it."""
    # Scripts of this style split an argument at each `=`, so that sign may not stand in the value.
    return repr(value).replace("=", r"\x3d")


def _spell_hydra(name: str, value: Any, _: Form | None) -> Sequence[str]:
    return (f"{name}={hydra_text(value)}",)


def hydra_text(value: Any) -> str:
    """Write a value in the grammar of Hydra's overrides.

    Raises:
        SpecError: the key of a mapping inside a list is no plain word.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return value if _is_plain_in_hydra(value) else _quoted_for_hydra(value)
        case list():
            return f"[{','.join(hydra_text(one) for one in value)}]"
        case dict():
            return f"{{{','.join(f'{_hydra_key(key)}:{hydra_text(one)}' for key, one in value.items())}}}"
    return repr(value)


def _is_plain_in_hydra(text: str) -> bool:
    return bool(_WORD.fullmatch(text)) and text.lower() not in _HYDRA_VALUES


def _hydra_key(key: str) -> str:
    if not _is_plain_in_hydra(key):
        raise SpecError(f"Hydra's overrides cannot spell the key `{key}` of a mapping inside a list")
    return key


def _quoted_for_hydra(text: str) -> str:
    # Inside quotes, Hydra takes a backslash as it is, unless a quote follows.
    return "'" + re.sub(r"(\\*)('|\Z)", _double_backslashes, text) + "'"


def _double_backslashes(match: re.Match[str]) -> str:
    return match[1] * 2 + (r"\'" if match[2] else "")


def _spell_by_template(name: str, value: Any, style: TemplateStyle) -> Sequence[str]:
    text = _template_text(value, style)
    if text is None:
        return ()
    replaced = {"{name}": name, "{value}": text}
    return [re.sub(r"\{name\}|\{value\}", lambda match: replaced[match[0]], word) for word in style.template.split()]


def _template_text(value: Any, style: TemplateStyle) -> str | None:
    if value is None:
        return style.null
    if isinstance(value, bool):
        return style.true if value else style.false
    return _text(value) if _is_scalar(value) else _json(value)


_STYLES: dict[StyleName, Callable[[str, Any, Form | None], Sequence[str]]] = {
    "argparse": _spell_argparse,
    "literal": _spell_literal,
    "hydra": _spell_hydra,
    "absl": _spell_absl,
}
