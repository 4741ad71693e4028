"""Rules over a typed task: templates, paths, names and combinations that cannot work. Pure.

`check_task` needs the section alone. `check_baseline` needs the parameters too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.task.config_files import SUFFIXES
from orchestrator.task.knobs import leaves
from orchestrator.task.spec import PROGRESS_FILES, ProgressSpec, ResumeSpec, TaskSpec
from orchestrator.task.spelling import TemplateStyle, spell, spell_value
from orchestrator.task.templates import (
    CHECKPOINT,
    CONFIG_FORMATS,
    ONE_PARAMETER,
    PARAMS,
    PARAMS_VARIABLE,
    QUESTION_FIELDS,
    RESUME,
    RUN_FOLDER,
    SEED,
    SEED_VARIABLE,
    WORD_FIELDS,
    check_fields,
    check_place,
    field_names,
)
from orchestrator.task.typed import Where, refuse_outside, refuse_twice
from orchestrator.wording import did_you_mean

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][\w-]*", re.ASCII)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_DATA_VALUE = re.compile(r"\{data\.(?P<name>[^{}]*)\}")
_SIGNS = re.compile(r"[*?\[]")
_TORCHRUN = ("torchrun", "torch.distributed.run", "torch.distributed.launch")
_EXCLUDES = (":!", ":^", ":(exclude)")
"""What begins a pathspec of files that do not count."""


def check_task(task: TaskSpec, where: Where = ("task",)) -> None:
    """Refuse a task that cannot work, whatever its parameters are.

    Raises:
        SpecError: `where` is the path of the key at fault.
    """
    _check_templates(task, where)
    _check_places(task, where)
    _check_code(task, (*where, "code"))
    _check_outputs(task, (*where, "outputs"))
    _check_files(task, (*where, "files"))
    _check_names(task, where)
    _check_spelling(task, where)
    if task.resume:
        _check_resume(task, task.resume, (*where, "resume"))
    elif RESUME in _fields_of(task.command):
        raise SpecError("`{resume}` needs the section `resume`, which says when and how", (*where, "command"))


def _check_templates(task: TaskSpec, where: Where) -> None:
    for text, known, place in _texts(task):
        check_fields(text, known, task.data, (*where, *place))
    for text, place in _questions(task):
        check_fields(text, QUESTION_FIELDS, (), (*where, *place))


def _texts(task: TaskSpec) -> Iterator[tuple[str, tuple[str, ...], Where]]:
    """Yield each text with templates, the templates that it may have, and its path."""
    for index, word in enumerate(task.command):
        yield word, (*WORD_FIELDS, PARAMS, RESUME), ("command", f"[{index}]")
    for name, text in task.env.values.items():
        yield text, WORD_FIELDS, ("env", name)
    if task.resume:
        for index, word in enumerate(task.resume.arguments):
            yield word, (*WORD_FIELDS, CHECKPOINT), ("resume", "arguments", f"[{index}]")


def _questions(task: TaskSpec) -> Iterator[tuple[str, Where]]:
    """Yield each word of the commands that answer questions, and its path."""
    schema = task.schema if isinstance(task.schema, tuple) else None
    for key, command in {
        "schema": schema,
        "check": task.check,
        "prepare": task.prepare,
        "standby": task.standby,
    }.items():
        for index, word in enumerate(command or ()):
            yield word, (key, f"[{index}]")


def _check_places(task: TaskSpec, where: Where) -> None:
    for name, items in task.items.items():
        check_place(items.file, (*where, "items", name, "file"))
    if task.resume:
        check_place(task.resume.when, (*where, "resume", "when"))
    progress = task.progress or ProgressSpec(stdout="-")
    for key in PROGRESS_FILES:
        if path := getattr(progress, key):
            check_place(path, (*where, "progress", key))


def _fields_of(texts: Iterable[str]) -> set[str]:
    return {name for text in texts for name in field_names(text)}


def _check_code(task: TaskSpec, where: Where) -> None:
    refuse_twice(task.code, where)
    for index, pathspec in enumerate(task.code):
        # What git calls magic, `:(glob)` and `:!`, stands before the path.
        path = pathspec.partition(")")[2] if pathspec.startswith(":(") else pathspec.lstrip(":!^")
        refuse_outside(path, (*where, f"[{index}]"))
    if all(pathspec.startswith(_EXCLUDES) for pathspec in task.code):
        raise SpecError("these pathspecs only exclude; name the files that a run executes", where)


def _check_outputs(task: TaskSpec, where: Where) -> None:
    refuse_twice(task.outputs, where)
    # Each output becomes a link before the command starts: it must be one plain path of the run's own.
    for index, output in enumerate(task.outputs):
        place = (*where, f"[{index}]")
        refuse_outside(output, place)
        if _SIGNS.search(output):
            raise SpecError(
                f"`{output}` is a glob; an output is linked before it is there, so name a plain path", place
            )
        _refuse_overlap(output, task, place)


def _refuse_overlap(output: str, task: TaskSpec, where: Where) -> None:
    excluded = [pathspec.split(mark)[1] for pathspec in task.code for mark in _EXCLUDES if pathspec.startswith(mark)]
    if not any(_is_inside(output, path) for path in excluded):
        for pathspec in task.code:
            if not pathspec.startswith(_EXCLUDES) and _overlap(output, pathspec):
                raise SpecError(
                    f"the output `{output}` overlaps with `{pathspec}` of `code`; write elsewhere, or take it out "
                    f"of the code by `:!{output}`",
                    where,
                )
    for name, data in task.data.items():
        if _overlap(output, data.path):
            raise SpecError(
                f"the output `{output}` overlaps with the data `{name}` ({data.path}), so a run would change what "
                "others read; write elsewhere",
                where,
            )


def _overlap(path: str, other: str) -> bool:
    """Whether one path is the other or lies in it; `.` stands for tracked files alone, and overlaps with nothing."""
    if PurePosixPath(other) == PurePosixPath("."):
        return False
    return _is_inside(path, other) or _is_inside(other, path) or fnmatchcase(path, other)


def _is_inside(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))


def _check_files(task: TaskSpec, where: Where) -> None:
    for path in task.files:
        place = (*where, path)
        refuse_outside(path, place)
        if PurePosixPath(path).suffix not in SUFFIXES:
            raise SpecError(f"`{path}` has none of the suffixes {', '.join(SUFFIXES)}, so its format is unknown", place)
        # Data are links into the user's own files, so a write there would reach those.
        for name, data in task.data.items():
            if _overlap(path, data.path):
                raise SpecError(f"`{path}` lies in the data `{name}`, which a run may only read", place)


def _check_names(task: TaskSpec, where: Where) -> None:
    for name in task.env.values:
        if not _VARIABLE.fullmatch(name):
            raise SpecError(f"a variable is letters, digits and `_`, found `{name}`", (*where, "env", name))
    for key, names in (("data", task.data), ("items", task.items)):
        for name in names:
            if not _NAME.fullmatch(name):
                raise SpecError(f"a name here is letters, digits, `_` and `-`, found `{name}`", (*where, key, name))
    for index, module in enumerate(task.preload):
        if not _MODULE.fullmatch(module):
            raise SpecError(
                f"`{module}` is no module of Python; write what an `import` line names",
                (*where, "preload", f"[{index}]"),
            )
    refuse_twice(task.preload, (*where, "preload"))
    refuse_twice(task.cosmetic, (*where, "cosmetic"))


def _check_spelling(task: TaskSpec, where: Where) -> None:
    if task.forms and task.style not in ("argparse", "absl"):
        name = "template" if isinstance(task.style, TemplateStyle) else task.style
        raise SpecError(f"style `{name}` spells every parameter alike; take `forms` out", (*where, "forms"))
    if isinstance(task.style, TemplateStyle) and "{value}" not in task.style.template:
        raise SpecError(
            f"the template holds no `{{value}}`, found `{task.style.template}`; write e.g. `-{{name}} {{value}}`",
            (*where, "style", "template"),
        )


def _check_resume(task: TaskSpec, resume: ResumeSpec, where: Where) -> None:
    if resume.signal == "SIGUSR1" and any(PurePosixPath(word).name in _TORCHRUN for word in task.command):
        raise SpecError(
            "SIGUSR1 ends torchrun itself, before a worker can save; write `signal: SIGTERM`", (*where, "signal")
        )
    if resume.arguments and RESUME not in _fields_of(task.command):
        raise SpecError(
            "nothing passes these arguments on; put `{resume}` into `task.command` where they belong",
            (*where, "arguments"),
        )
    # Whatever lies elsewhere in a checkout goes with it when the attempt ends.
    if not resume.when.startswith(f"{{{RUN_FOLDER}}}"):
        _check_kept(resume.when, task.outputs, (*where, "when"))


def _check_kept(path: str, outputs: tuple[str, ...], where: Where) -> None:
    if not any(_is_inside(path, output) for output in outputs):
        raise SpecError(
            f"`{path}` lies in none of `outputs`, so it would go with the checkout; add its folder to `task.outputs`",
            where,
        )


def named_parameters(task: TaskSpec) -> tuple[str, ...]:
    """Return the parameters that the command or its environment names one by one, `{params.lr}`.

    `{params}` spells all others.
    """
    fields = _fields_of((*task.command, *task.env.values.values(), *_resume_words(task)))
    return tuple(sorted(name.removeprefix(ONE_PARAMETER) for name in fields if name.startswith(ONE_PARAMETER)))


def unnamed_parameters(task: TaskSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `{params}` spells: dotted name -> value of all parameters that no template names."""
    named = named_parameters(task)
    return {name: value for name, value in leaves(parameters) if not _is_named(name, named)}


def _is_named(name: str, named: tuple[str, ...]) -> bool:
    """Whether a template names a parameter, or the section that it lies in."""
    return any(name == one or name.startswith(f"{one}.") for one in named)


def _resume_words(task: TaskSpec) -> tuple[str, ...]:
    return task.resume.arguments if task.resume else ()


def check_baseline(task: TaskSpec, parameters: Mapping[str, Any], where: Where = ("task",)) -> None:
    """Refuse a baseline that never reaches the script, or that its style cannot spell.

    Args:
        task: a checked task.
        parameters: those of the baseline, nested.
        where: path of the section `task`; an error about a parameter has the path below `baseline`.

    Raises:
        SpecError: `where` is the path of the key at fault.
    """
    names = tuple(name for name, _ in leaves(parameters))
    _check_named(task, names, where)
    _check_reach(task, names, where)
    _check_seed(task, parameters, where)
    for key, listed in (("forms", task.forms), ("cosmetic", task.cosmetic)):
        for name in listed:
            if name not in names:
                hint = did_you_mean(name, names) if names else "; `baseline` has none"
                raise SpecError(f"there is no parameter `{name}`{hint}", (*where, key, name))
    _check_data_values(task, parameters)
    _check_spelled(task, parameters)


def check_arm(task: TaskSpec, baseline: Mapping[str, Any], parameters: Mapping[str, Any], where: Where) -> None:
    """Refuse parameters of an experiment that the command line cannot tell from others.

    Args:
        task: a task that `check_baseline` has passed.
        baseline: its parameters, nested.
        parameters: those of the experiment.
        where: path of the change in the campaign file.

    Raises:
        SpecError: a parameter cannot be spelled, or is null where the style leaves a null out.
    """
    before, spelled = dict(leaves(baseline)), unnamed_parameters(task, parameters)
    try:
        _check_spelled(task, parameters)
    except SpecError as error:
        raise SpecError(str(error), (*where, ".".join(error.where[1:]))) from None
    has_null = task.style in ("literal", "hydra") or getattr(task.style, "null", None) is not None
    if has_null or PARAMS not in _fields_of(task.command):
        return
    for name, value in spelled.items():
        # Without the option, the script takes its own default. The baseline's value need not be that default.
        if value is None and before.get(name) is not None:
            raise SpecError(
                f"`{name}` is null here and `{before[name]}` in `baseline`; a command line leaves a null out, so the "
                "script would take its own default: pass parameters on by `{config}`",
                (*where, name),
            )


def _check_spelled(task: TaskSpec, parameters: Mapping[str, Any]) -> None:
    values = dict(leaves(parameters))
    try:
        if PARAMS in _fields_of(task.command):
            spell(unnamed_parameters(task, parameters), task.spelling)
        for name in named_parameters(task):
            if name in values:
                spell_value(name, values[name], task.spelling)
    except SpecError as error:
        raise SpecError(str(error), ("baseline", *error.where)) from None


def _check_data_values(task: TaskSpec, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that stands for data which the task does not name."""
    for name, value in leaves(parameters):
        match = _DATA_VALUE.fullmatch(value) if isinstance(value, str) else None
        if match and match["name"] not in task.data:
            hint = did_you_mean(match["name"], task.data) if task.data else "; give it a line in `task.data`"
            raise SpecError(f"there are no data `{match['name']}`{hint}", ("baseline", *name.split(".")))


def _check_named(task: TaskSpec, names: tuple[str, ...], where: Where) -> None:
    for text, _, place in _texts(task):
        for field in field_names(text):
            name = field.removeprefix(ONE_PARAMETER)
            if name != field and name not in names and not any(one.startswith(f"{name}.") for one in names):
                hint = did_you_mean(name, names) if names else "; `baseline` has none"
                raise SpecError(f"there is no parameter `{name}`{hint}", (*where, *place))


def _check_reach(task: TaskSpec, names: tuple[str, ...], where: Where) -> None:
    texts = (*task.command, *task.env.values.values())
    is_read = "params" in task.reads or any(PARAMS_VARIABLE in text for text in texts)
    if not names or task.files or is_read or _fields_of(texts) & {PARAMS, *CONFIG_FORMATS}:
        return
    # Without `{params}`, only those parameters reach the script that a template names.
    named = named_parameters(task)
    missed = [name for name in names if not _is_named(name, named)]
    if len(missed) == len(names):
        raise SpecError(
            "no template passes parameters on: put `{params}` or `{config}` into `task.command`", (*where, "command")
        )
    if missed:
        raise SpecError(
            f"no template passes `{missed[0]}` on: put `{{params}}`, which spells all that are not named, into "
            "`task.command`",
            (*where, "command"),
        )


def _check_seed(task: TaskSpec, parameters: Mapping[str, Any], where: Where) -> None:
    texts = (*task.command, *task.env.values.values())
    is_value = any(value == f"{{{SEED}}}" for _, value in leaves(parameters))
    if not (
        is_value or "seed" in task.reads or SEED in _fields_of(texts) or any(SEED_VARIABLE in text for text in texts)
    ):
        raise SpecError(
            "the seed never reaches the script: put `{seed}` into `task.command` or `task.env`; if the script takes it "
            "by `import knockout` or $KNOCKOUT_SEED, write `reads: [seed]`",
            (*where, "command"),
        )
