"""Templates in the words of a task: `{seed}`, `{params.lr}`; doubled braces stand for themselves. Pure."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from orchestrator.errors import SpecError
from orchestrator.task.config_files import Format
from orchestrator.task.typed import Where, refuse_outside
from orchestrator.wording import did_you_mean

PARAMS, RESUME, SEED, CHECKPOINT = "params", "resume", "seed", "checkpoint"
RUN_FOLDER, GPUS = "run_folder", "gpus"
PYTHON, ROOT = "python", "root"
"""Templates for the interpreter that runs `knockout`, and for the folder of the campaign file."""
SEED_VARIABLE, PARAMS_VARIABLE = "KNOCKOUT_SEED", "KNOCKOUT_PARAMS"
"""Variables of every run: the seed, and the path of a JSON file with the parameters."""
CONFIG_FORMATS: dict[str, Format] = {
    "config": "json",
    "config.json": "json",
    "config.yaml": "yaml",
    "config.toml": "toml",
}
"""Template for the path of a file with all parameters -> the format of that file."""
ONE_PARAMETER, ONE_DATA = "params.", "data."
"""What the template of one parameter, and of one data path, begins with; the rest is its name."""
WHOLE_WORDS = (PARAMS, RESUME)
"""Templates that stand for any number of arguments, so each is an argument by itself."""
PLACE_FIELDS = (SEED, RUN_FOLDER)
"""Templates in the path of a file that a run writes."""
QUESTION_FIELDS = (PYTHON, ROOT)
"""Templates in a word of a command that answers a question."""
WORD_FIELDS = (*PLACE_FIELDS, GPUS, *QUESTION_FIELDS, *CONFIG_FORMATS, ONE_PARAMETER, ONE_DATA)
"""Templates in a word of a command or in a variable of its environment."""

_BRACES = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
_DOUBLE = "; double the braces (`{{` and `}}`) if they are meant as they stand"


class Field(Struct, frozen=True):
    """A template in a text: `{seed}` has the name `seed`."""

    name: str


def split_template(text: str) -> tuple[str | Field, ...]:
    """Split a text into literal parts and fields, in order; doubled braces become single ones.

    Raises:
        SpecError: a brace has no partner. `where` is empty.
    """
    parts: list[str | Field] = []
    end = 0
    # The pattern finds doubled braces first, so what is left of single ones is a field or a fault.
    for match in _BRACES.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match["name"] is not None:
            parts.append(Field(match["name"]))
        elif len(match[0]) == 1:
            raise SpecError(f"`{match[0]}` stands alone in `{text}`{_DOUBLE}")
        else:
            parts.append(match[0][0])
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def field_names(text: str) -> tuple[str, ...]:
    """Return the names of a text's fields, in order."""
    return tuple(part.name for part in split_template(text) if isinstance(part, Field))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its fields replaced.

    Args:
        text: a checked template.
        values: name of each field of the text -> what replaces it.
    """
    # The text is split once. If names were replaced one after the other, a value with braces would be filled again.
    return "".join(values[part.name] if isinstance(part, Field) else part for part in split_template(text))


def check_fields(text: str, known: Iterable[str], data: Iterable[str], where: Where) -> None:
    """Refuse what is no template of this place.

    Args:
        text: the text with templates.
        known: the names that this place knows; `params.` and `data.` stand for all names that begin so.
        data: the names of the task's data.
        where: path of the text in the campaign file.

    Raises:
        SpecError: names the unknown template and the nearest valid one.
    """
    valid = tuple(known)
    try:
        names = field_names(text)
    except SpecError as error:
        raise SpecError(str(error), where) from None
    for name in names:
        _check_field(name, valid, tuple(data), where)
    # Inside a longer word, several arguments would reach the script as one.
    whole = next((name for name in names if name in WHOLE_WORDS), None)
    if whole and text != f"{{{whole}}}":
        raise SpecError(
            f"`{{{whole}}}` stands for several arguments, or for none; make it an item of its own, found `{text}`",
            where,
        )


def check_place(path: str, where: Where) -> None:
    """Refuse a path that a run cannot have as its own: it lies in the run's checkout or in `{run_folder}`.

    Raises:
        SpecError: a template is unknown, or the path leads elsewhere.
    """
    check_fields(path, PLACE_FIELDS, (), where)
    refuse_outside(path.removeprefix(f"{{{RUN_FOLDER}}}/"), where)


def _check_field(name: str, valid: tuple[str, ...], data: tuple[str, ...], where: Where) -> None:
    if ONE_DATA in valid and name.startswith(ONE_DATA):
        if name.removeprefix(ONE_DATA) not in data:
            raise SpecError(_unknown(name, [f"{ONE_DATA}{one}" for one in data], "give it a line in `data`"), where)
    elif name not in valid and not (ONE_PARAMETER in valid and name.startswith(ONE_PARAMETER)):
        if name in (CHECKPOINT, *WHOLE_WORDS):
            raise SpecError(f"`{{{name}}}` has no value here{_HOME[name]}", where)
        # `params.` and `data.` only begin a template, so they are no suggestion.
        fields = [one for one in valid if not one.endswith(".")]
        raise SpecError(_unknown(name, fields, "there are none here") + _DOUBLE, where)


_HOME = {
    CHECKPOINT: "; it belongs into `resume.arguments`",
    PARAMS: "; it belongs into `command`",
    RESUME: "; it belongs into `command`",
}
"""Template -> the place that knows it."""


def _unknown(name: str, valid: list[str], otherwise: str) -> str:
    hint = did_you_mean(f"{{{name}}}", [f"{{{one}}}" for one in valid]) if valid else f"; {otherwise}"
    return f"there is no template `{{{name}}}`{hint}"
