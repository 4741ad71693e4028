"""Looks at a Python script in the way that its framework asks for, and reads its tree where nothing else answers."""

import ast
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct, structs

from orchestrator.errors import CodeError, UsageError
from orchestrator.files import UNREADABLE, read_plain
from orchestrator.scripts import hook
from orchestrator.scripts.answers import config_options, read_answer, read_config, read_settings
from orchestrator.scripts.argparse_calls import Parsers, parsers_of
from orchestrator.scripts.declarations import (
    absl_options,
    click_options,
    constants,
    dataclass_options,
    dataclasses_parsed,
    fire_options,
)
from orchestrator.scripts.draft import Found, read_words
from orchestrator.scripts.imports import Module
from orchestrator.scripts.names import seed_rank
from orchestrator.scripts.options import Option, options_of
from orchestrator.scripts.syntax import Framework, call_name, calls, framework_of, keywords, text_of
from orchestrator.scripts.trial import MAX_COPY_BYTES, Place, TooLargeError, Trial, run_trial, throw_away_code
from orchestrator.task.config_files import SUFFIXES
from orchestrator.task.spelling import StyleName
from orchestrator.wording import counted, describe_bytes, listed, one_line

ANSWER = "answer.json"
"""The file of a trial that the hook writes."""
MAX_ERROR = 160
"""Most characters of a script's error that a note shows."""
RESERVED = ("defaults", "hydra")
"""Keys of a Hydra configuration that are not the script's."""


class Look(Struct, frozen=True, kw_only=True):
    """A Python script, and how it is looked at."""

    place: Place
    script: str
    """From the campaign's folder."""
    modules: tuple[Module, ...]
    """The script, and what it imports."""
    interpreter: str
    """As the campaign file names it."""
    arguments: tuple[str, ...]
    is_static: bool
    seconds: float

    @property
    def main(self) -> Module:
        """The module that takes the parameters: the script, or the first one that it imports and that does."""
        of_others = ("none", "globals")
        own, *others = self.modules
        if framework_of(own.tree) != "none":
            return own
        return next((one for one in others if framework_of(one.tree) not in of_others), own)


def look(asked: Look) -> Found:
    """Return what a script can be told: by asking the script where that helps, else by its tree alone."""
    framework = framework_of(asked.main.tree)
    # These read the file of settings themselves when they are asked.
    if framework not in _OWN_FILES and (path := find_settings(asked)) is not None:
        return _of_settings(asked, framework, path)
    return _look_by(asked, framework)


def _look_by(asked: Look, framework: Framework) -> Found:
    ask = None if asked.is_static else _ASK.get(framework)
    notes: tuple[str, ...] = ()
    if ask is not None:
        found = ask(asked)
        if found.style is not None:
            return found
        notes = found.notes
    by_tree = _BY_TREE[framework](asked)
    return structs.replace(by_tree, notes=(*notes, *by_tree.notes))


class _Ran(Struct, frozen=True, kw_only=True):
    """What a script said when it was run."""

    output: str = ""
    answer: bytes = b""
    """What the hook wrote; empty for nothing."""
    last_error: str = "it said nothing"
    problem: str = ""
    """Why there is no answer."""


def _run(asked: Look, words: Sequence[str]) -> _Ran:
    """Run the script's interpreter in a copy of the code."""
    try:
        with throw_away_code(asked.place) as (folder, scratch):
            interpreter = _absolute(asked.place.root, asked.interpreter)
            # The place of the answer is known only now.
            command = [interpreter, *(str(scratch / ANSWER) if word == ANSWER else word for word in words)]
            trial = run_trial(command, folder, scratch, asked.seconds)
            answer = (scratch / ANSWER).read_bytes() if (scratch / ANSWER).is_file() else b""
    except TooLargeError:
        return _Ran(problem=_too_large(asked.script))
    except (CodeError, OSError) as error:
        return _Ran(problem=f"{asked.script} was not run ({one_line(str(error), MAX_ERROR)}); {_TREE_ALONE}")
    problem = _too_late(asked, trial) if trial.status is None else ""
    said = one_line(trial.last_error, MAX_ERROR) or "it said nothing"
    return _Ran(output=trial.output, answer=answer, last_error=said, problem=problem)


_TREE_ALONE = "its syntax tree alone was read"


def _too_large(script: str) -> str:
    return (
        f"{script} was not run: its folder is in no repository, and holds too many files, or more than "
        f"{describe_bytes(MAX_COPY_BYTES)}, to copy; run `git init` and commit the code, or keep what the tree tells"
    )


def _too_late(asked: Look, trial: Trial) -> str:
    others = trial.num_swept - 1
    also = f", and so {'was' if others == 1 else 'were'} {counted(others, 'process', 'processes')} that it had started"
    return (
        f"{asked.script} went on where its parameters are asked for; it was ended after {asked.seconds:g} s"
        f"{also if others else ''}; {_TREE_ALONE}"
    )


def _absolute(root: Path, interpreter: str) -> str:
    """Return a path that also holds in another folder; a link stays, since an environment is known by it."""
    return str(root / interpreter) if "/" in interpreter else shutil.which(interpreter) or interpreter


def _ask_argparse(asked: Look) -> Found:
    """Run the script up to its parser."""
    source = Path(hook.__file__).read_text(encoding="utf-8")
    ran = _run(asked, ["-c", source, ANSWER, asked.script, *asked.arguments])
    if ran.problem:
        return Found(notes=(ran.problem,))
    parsers, error = read_answer(ran.answer) if ran.answer else (None, ran.last_error)
    if parsers is None:
        why = one_line(error, MAX_ERROR)
        return Found(notes=(f"{asked.script} could not be run up to its parser ({why}); {_TREE_ALONE}",))
    return _of_parsers(asked, parsers)


def _of_parsers(asked: Look, parsers: Parsers) -> Found:
    """Return the options of a parser, or of the subcommand that the usual arguments name."""
    notes = []
    if parsers.num_parsers > 1:
        notes.append(
            f"{asked.script} has {counted(parsers.num_parsers, 'argparse parser')}; the parameters are those of the "
            "one with the most options"
        )
    if parsers.num_computed:
        notes.append(
            f"{asked.script} works out the names of {counted(parsers.num_computed, 'option')}, which the tree alone "
            "does not show"
        )
    if not parsers.subcommands:
        return Found(
            style="argparse", options=options_of(parsers.actions), arguments=asked.arguments, notes=tuple(notes)
        )
    # Options of the main parser may stand in front of the subcommand.
    named = [index for index, word in enumerate(asked.arguments) if word in parsers.subcommands]
    chosen = asked.arguments[named[0]] if named else next(iter(parsers.subcommands))
    if "train" in parsers.subcommands and not named:
        chosen = "train"
    if not named:
        notes.append(
            f"{asked.script} has the subcommands {listed(parsers.subcommands)}; `{chosen}` is a guess: name yours by "
            f"`knockout init {asked.script} -- {chosen}`"
        )
    end = named[0] + 1 if named else 0
    words = asked.arguments[:end] if named else (chosen,)
    return Found(
        style="argparse",
        options=options_of(parsers.subcommands[chosen]),
        words=words,
        arguments=asked.arguments[end:],
        notes=tuple(notes),
    )


def _argparse_by_tree(asked: Look) -> Found:
    parsers = parsers_of(asked.main.tree)
    # Functions of other modules may add options to the parser that the script hands them.
    others = [action for one in asked.modules if one is not asked.main for action in parsers_of(one.tree).loose]
    return _of_parsers(asked, structs.replace(parsers, actions=(*parsers.actions, *others)))


def _hf_by_tree(asked: Look) -> Found:
    trees = [module.tree for module in asked.modules]
    # A repository may have dataclasses that are no options, so only those that the parser is given count.
    parsed = dataclasses_parsed(asked.main.tree)
    options = dataclass_options(trees, lambda name: name in parsed)
    known = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    elsewhere = [name for name in parsed if name not in known]
    notes: tuple[str, ...] = ()
    if elsewhere:
        notes = (
            f"{listed(elsewhere)} come from an installed package, so the tree does not show their options; add those "
            "that you change to `baseline`",
        )
    # Each class of training arguments of Hugging Face has this one.
    if any(name.endswith("TrainingArguments") for name in elsewhere):
        options.append(Option(name="seed", kind="integer", default=42))
    return Found(style="argparse", options=tuple(options), arguments=asked.arguments, notes=notes)


def _ask_for_config(asked: Look, words: Sequence[str], option: str) -> tuple[dict[str, Any] | None, str]:
    """Return the configuration that a script prints when it is asked, or None and why there is none."""
    ran = _run(asked, [asked.script, *words])
    values = None if ran.problem else read_config(ran.output)
    refused = f"{asked.script} did not print its configuration by `{option}` ({ran.last_error}); {_TREE_ALONE}"
    return values, "" if values is not None else ran.problem or refused


def _ask_hydra(asked: Look) -> Found:
    values, problem = _ask_for_config(asked, (*asked.arguments, "--cfg", "job"), "--cfg job")
    if values is None:
        return Found(notes=(problem,))
    return Found(
        style="hydra",
        options=tuple(config_options(values, spelled_as_flags=False)),
        words=asked.arguments,
        code=_hydra_code(asked),
    )


def _hydra_place(asked: Look) -> tuple[str, str]:
    """Return the folder of Hydra's files, from the campaign's folder, and the name of the main one; or empty texts."""
    decorators = (one for node in ast.walk(asked.main.tree) for one in getattr(node, "decorator_list", ()))
    for one in decorators:
        if isinstance(one, ast.Call) and call_name(one).endswith("main"):
            given = keywords(one)
            path, name = text_of(given.get("config_path")), text_of(given.get("config_name"))
            folder = PurePosixPath(asked.main.path).parent / path
            return (_normal(folder), name.removesuffix(".yaml")) if path else ("", name)
    return "", ""


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _hydra_code(asked: Look) -> tuple[str, ...]:
    folder, _ = _hydra_place(asked)
    return (f"{folder}/*",) if folder and not folder.startswith(("..", "/")) else ()


def _hydra_by_tree(asked: Look) -> Found:
    folder, name = _hydra_place(asked)
    values = None
    if name:
        try:
            text = read_plain(asked.place.root / folder / f"{name}.yaml").decode(errors="replace")
            values = read_config(text)
        except UNREADABLE:
            values = None
    own = {key: value for key, value in (values or {}).items() if key not in RESERVED}
    notes: tuple[str, ...] = ()
    if "defaults" in (values or {}):
        notes = (f"{folder}/{name}.yaml takes in other files by `defaults`, whose parameters are missing here",)
    if values is None:
        notes = (f"the settings of {asked.script} were not found; write the parameters into `baseline`",)
    return Found(
        style="hydra",
        options=tuple(config_options(own, spelled_as_flags=False)),
        words=asked.arguments,
        code=_hydra_code(asked),
        notes=notes,
    )


def _ask_lightning(asked: Look) -> Found:
    words = _with_subcommand(asked)
    values, problem = _ask_for_config(asked, (*words, "--print_config"), "--print_config")
    if values is None:
        return Found(notes=(problem,))
    return Found(style="argparse", options=tuple(config_options(values, spelled_as_flags=True)), words=words)


def _with_subcommand(asked: Look) -> tuple[str, ...]:
    """Return the usual arguments, with `fit` where LightningCLI waits for a subcommand and none is named."""
    if framework_of(asked.main.tree) != "lightning" or any(not word.startswith("-") for word in asked.arguments[:1]):
        return asked.arguments
    made = [one for one in calls(asked.main.tree) if call_name(one).endswith("LightningCLI")]
    has_none = any(isinstance(run := keywords(one).get("run"), ast.Constant) and run.value is False for one in made)
    return asked.arguments if has_none else ("fit", *asked.arguments)


def _lightning_by_tree(asked: Look) -> Found:
    note = f"the tree does not show the options of {asked.script}; write those that you change into `baseline`"
    words = _with_subcommand(asked)
    return Found(
        style="argparse", options=(Option(name="seed_everything", kind="integer"),), words=words, notes=(note,)
    )


def _globals_by_tree(asked: Look) -> Found:
    return Found(style="literal", options=tuple(constants(asked.main.tree)), arguments=asked.arguments)


def _nothing(asked: Look) -> Found:
    found = [option.name for option in constants(asked.main.tree)]
    hint = f" (its constants: {listed(found[:6])})" if found else ""
    told = read_words(asked.arguments)
    if told.options:
        return told
    note = (
        f"nothing in {asked.script} takes parameters from outside{hint}; let it read $KNOCKOUT_PARAMS, or give it "
        "options; or name the arguments that it takes, or its file of settings, behind `--`: "
        f"`knockout init {asked.script} -- --config config.yaml`"
    )
    return Found(words=asked.arguments, notes=(note,))


def find_settings(asked: Look) -> str | None:
    """Return the file of settings that the usual arguments name: YAML, JSON or TOML in the campaign's folder."""
    for word in (part for one in asked.arguments for part in (one, one.partition("=")[2])):
        path = PurePosixPath(word)
        is_inside = not path.is_absolute() and ".." not in path.parts
        if path.suffix in SUFFIXES and is_inside and (asked.place.root / word).is_file():
            return _normal(path)
    return None


def _of_settings(asked: Look, framework: Framework, path: str) -> Found:
    """Return the leaves of a file of settings, and the option of the seed where the file has none."""
    try:
        values = read_settings(read_plain(asked.place.root / path), path)
    except UNREADABLE as error:
        raise UsageError(f"{path}: this file of settings cannot be read: {one_line(str(error), MAX_ERROR)}") from None
    leaves = config_options(values, spelled_as_flags=False)
    own = _look_by(asked, framework) if not any(seed_rank(one.name) is not None for one in leaves) else Found()
    seeds = [one for one in own.options if seed_rank(one.name) is not None]
    # A leaf has no word, so the seed of the command is told from one in the file.
    flags = [structs.replace(one, word=one.word or f"--{one.name}") for one in seeds if not one.is_positional]
    return Found(options=(*leaves, *flags), words=asked.arguments, code=(path,), files=(path,))


def _declared(style: StyleName, read: Callable[[ast.Module], list[Option]]) -> Callable[[Look], Found]:
    def by_tree(asked: Look) -> Found:
        return Found(style=style, options=tuple(read(asked.main.tree)), arguments=asked.arguments)

    return by_tree


_OWN_FILES = ("hydra", "lightning", "jsonargparse")
_ASK: dict[Framework, Callable[[Look], Found]] = {
    "argparse": _ask_argparse,
    "hf": _ask_argparse,
    "hydra": _ask_hydra,
    "lightning": _ask_lightning,
    "jsonargparse": _ask_lightning,
}
"""Framework -> how the script itself is asked; the result has no style where it did not answer."""
_BY_TREE: dict[Framework, Callable[[Look], Found]] = {
    "argparse": _argparse_by_tree,
    "hf": _hf_by_tree,
    "jsonargparse": _argparse_by_tree,
    "hydra": _hydra_by_tree,
    "lightning": _lightning_by_tree,
    "globals": _globals_by_tree,
    "absl": _declared("absl", absl_options),
    "click": _declared("argparse", click_options),
    "fire": _declared("literal", fire_options),
    "none": _nothing,
}
