"""A task, parameters and a seed as one command: its arguments, environment and files. Pure."""

import os
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from orchestrator.errors import SpecError
from orchestrator.task.config_files import FORMATS, Format, format_of, merge, render
from orchestrator.task.rules import named_parameters, unnamed_parameters
from orchestrator.task.spec import TaskSpec
from orchestrator.task.spelling import spell, spell_value
from orchestrator.task.templates import (
    CHECKPOINT,
    CONFIG_FORMATS,
    GPUS,
    ONE_DATA,
    ONE_PARAMETER,
    PARAMS,
    PARAMS_VARIABLE,
    PYTHON,
    RESUME,
    ROOT,
    RUN_FOLDER,
    SEED,
    SEED_VARIABLE,
    field_names,
    fill,
)

HIDDEN = ("SLURM_*",)
"""Variables that a command does not see: trainers would resubmit themselves if they saw their job's."""


class Places(Struct, frozen=True, kw_only=True):
    """Where a run finds things, on the machine that it runs on."""

    run_folder: str
    data: Mapping[str, str] = {}
    """Name of the task's data -> its path."""
    gpus: int = 0
    """Number of GPUs of the run's slot."""
    checkpoint: str = ""
    """The newest checkpoint; empty where the run begins at its start."""
    python: str = sys.executable
    """The interpreter that runs `knockout`."""
    root: str = ""
    """Folder of the campaign file."""
    texts: Mapping[str, str] = {}
    """File of the checkout that parameters are merged into -> its text."""


class Launch(Struct, frozen=True, kw_only=True):
    """One command, ready to be started in a checkout."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    """What is added to the environment of the worker; $KNOCKOUT_PARAMS is the path of a JSON file."""
    files: dict[str, str]
    """Path of a file that is written first -> its text; a relative path lies in the checkout."""


def build_launch(task: TaskSpec, parameters: Mapping[str, Any], seed: int, places: Places) -> Launch:
    """Work a task's templates out for one run.

    A parameter whose value is `{seed}`, `{run_folder}` or `{data.NAME}` gets what that template stands for.

    Args:
        task: a checked task.
        parameters: those of the run, nested.
        seed: the seed of the run.
        places: where the run finds things.

    Raises:
        SpecError: a parameter cannot be spelled, a file cannot be merged into, or an argument holds a zero byte.
    """
    # Values are put in once: a parameter whose text holds braces is not read as a template again.
    values = _place_values(seed, places)
    filled = _filled(parameters, values)
    values |= _parameter_values(task, filled)
    told = {SEED_VARIABLE: str(seed), PARAMS_VARIABLE: _config_path(places, "json")}
    environment = {name: fill(text, values) for name, text in task.env.values.items()} | told
    arguments = tuple(word for text in task.command for word in _expand(text, task, filled, values))
    for word in (*arguments, *environment.values()):
        _refuse_unwritable(word)
    return Launch(arguments=arguments, environment=environment, files=_files(task, filled, places))


def _place_values(seed: int, places: Places) -> dict[str, str]:
    """Return what each template stands for, but for those of parameters."""
    configs = {name: _config_path(places, form) for name, form in CONFIG_FORMATS.items()}
    data = {f"{ONE_DATA}{name}": path for name, path in places.data.items()}
    # Without a checkpoint, `{resume}` stands for nothing, so nobody sees the empty text.
    single = {SEED: str(seed), RUN_FOLDER: places.run_folder, GPUS: str(places.gpus), CHECKPOINT: places.checkpoint}
    single |= {PYTHON: places.python, ROOT: places.root}
    return single | configs | data


def _config_path(places: Places, form: Format) -> str:
    return f"{places.run_folder}/params.{form}"


def _filled(parameters: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Replace parameters whose whole value is the template of a place; the seed becomes a number."""
    replaced: dict[str, Any] = {f"{{{name}}}": text for name, text in values.items() if name.startswith(ONE_DATA)}
    replaced |= {f"{{{RUN_FOLDER}}}": values[RUN_FOLDER], f"{{{SEED}}}": int(values[SEED])}
    return {
        name: _filled(value, values) if isinstance(value, dict) else _replace(value, replaced)
        for name, value in parameters.items()
    }


def _replace(value: Any, replaced: Mapping[str, Any]) -> Any:
    return replaced.get(value, value) if isinstance(value, str) else value


def _parameter_values(task: TaskSpec, parameters: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{ONE_PARAMETER}{name}": spell_value(name, _look_up(parameters, name), task.spelling)
        for name in named_parameters(task)
    }


def _look_up(parameters: Mapping[str, Any], name: str) -> Any:
    node: Any = parameters
    for part in name.split("."):
        node = node[part]
    return node


def _expand(text: str, task: TaskSpec, parameters: Mapping[str, Any], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the arguments that one word of the command stands for."""
    if text == f"{{{PARAMS}}}":
        return spell(unnamed_parameters(task, parameters), task.spelling)
    if text == f"{{{RESUME}}}":
        words = task.resume.arguments if task.resume and values[CHECKPOINT] else ()
        return tuple(fill(word, values) for word in words)
    return (fill(text, values),)


def _refuse_unwritable(word: str) -> None:
    try:
        is_whole = b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        is_whole = False
    if not is_whole:
        raise SpecError(f"no argument can hold {word!r}: it has a zero byte or half a character; take that out")


def _files(task: TaskSpec, parameters: Mapping[str, Any], places: Places) -> dict[str, str]:
    texts = (*task.command, *task.env.values.values(), *(task.resume.arguments if task.resume else ()))
    asked = {CONFIG_FORMATS[name] for text in texts for name in field_names(text) if name in CONFIG_FORMATS}
    # The JSON file is always there: the helper `knockout` reads it, and it tells a person what ran.
    written = {
        _config_path(places, form): render(parameters, form) for form in FORMATS if form in asked or form == "json"
    }
    for path, how in task.files.items():
        form = format_of(path)
        if how == "merge" and path not in places.texts:
            raise SpecError(
                f"`{path}` is not in the checkout, so there is nothing to merge into; commit it, or say `write`",
                ("task", "files", path),
            )
        written[path] = merge(places.texts[path], parameters, path) if how == "merge" else render(parameters, form)
    return written


def hidden_variables(names: Iterable[str], keep: Iterable[str]) -> set[str]:
    """Return the variables that a command must not see.

    Args:
        names: the variables of the worker.
        keep: patterns of those that the command sees all the same: `SLURM_*`.
    """
    patterns = tuple(keep)
    return {
        name
        for name in names
        if any(fnmatchcase(name, hidden) for hidden in HIDDEN) and not any(fnmatchcase(name, one) for one in patterns)
    }
