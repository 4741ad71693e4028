"""Runs in the script's own interpreter, of Python 3.8 or newer: starts a script and leaves where argparse is asked.

`python -c THIS ANSWER SCRIPT [ARGUMENT ...]` writes what the parser knows to the file ANSWER. This file imports the
standard library alone, and nothing of Knockout.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import runpy
import sys
from pathlib import Path
from typing import Any

KINDS = {
    "_StoreTrueAction": "store_true",
    "_StoreFalseAction": "store_false",
    "BooleanOptionalAction": "boolean_optional",
    "_StoreConstAction": "store_const",
    "_AppendAction": "append",
    "_AppendConstAction": "append_const",
    "_CountAction": "count",
    "_ExtendAction": "extend",
    "_HelpAction": "help",
    "_VersionAction": "version",
}
"""Class of an action -> its word; everything else stores a value."""
parsers: list[argparse.ArgumentParser] = []
"""Every parser that the script has made, in order."""


def plain(value: object) -> tuple[object, str]:
    """Return a value as JSON has it and an empty text, or None and how Python writes the value."""
    # Of a member of an enum, parsers take the value.
    value = getattr(value, "value", value) if hasattr(type(value), "__members__") else value
    if value is None or isinstance(value, (bool, int, str)):
        return value, ""
    if isinstance(value, float) and math.isfinite(value):
        return value, ""
    if isinstance(value, (list, tuple)):
        parts = [plain(one) for one in value]
        return ([one for one, _ in parts], "") if not any(text for _, text in parts) else (None, repr(value)[:200])
    if isinstance(value, os.PathLike):
        return os.fspath(value), ""
    return None, repr(value)[:200]


def kind_of(action: argparse.Action) -> str:
    """Return the word of an action, by its class or a class above it."""
    return next((KINDS[one.__name__] for one in type(action).__mro__ if one.__name__ in KINDS), "store")


def describe(action: argparse.Action) -> dict[str, object]:
    """Return an action as plain values."""
    default, expression = plain(action.default)
    choices = [plain(one)[0] for one in action.choices] if action.choices is not None else []
    convert = action.type
    return {
        "destination": action.dest,
        "words": list(action.option_strings),
        "action": kind_of(action),
        "type": getattr(convert, "__name__", type(convert).__name__) if convert else "",
        "default": default,
        "expression": expression,
        "choices": [one for one in choices if one is not None],
        "nargs": action.nargs,
        "required": bool(action.required),
        "help": " ".join(str(action.help or "").split())[:200] if action.help != argparse.SUPPRESS else "",
    }


def subcommands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a parser's subcommands."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what a parser can be told."""
    skipped = (argparse._SubParsersAction, argparse._HelpAction, argparse._VersionAction)
    return [one for one in parser._actions if not isinstance(one, skipped) and one.dest != argparse.SUPPRESS]


def roots() -> list[argparse.ArgumentParser]:
    """Return the parsers that belong to no subcommand and that no other parser has taken over as its parent."""
    below = {id(sub) for one in parsers for sub in subcommands_of(one).values()}
    free = [one for one in parsers if id(one) not in below]
    held = {id(one): {id(action) for action in actions_of(one)} for one in free}
    return [one for one in free if not any(held[id(one)] < held[id(other)] for other in free)]


def leave(path: str, answer: dict[str, object]) -> None:
    """Write the answer and end at once, whatever threads and exit handlers the script has."""
    # A process that is killed meanwhile leaves no half of an answer.
    part = Path(path + ".part")
    part.write_text(json.dumps(answer), encoding="utf-8")
    part.replace(path)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def answer_of(parser: argparse.ArgumentParser) -> dict[str, object]:
    """Return what a parser knows, as plain values."""
    subs = subcommands_of(parser)
    return {
        "actions": [describe(one) for one in actions_of(parser)],
        "subcommands": {name: [describe(one) for one in actions_of(sub)] for name, sub in subs.items()},
        "num_parsers": len([one for one in roots() if actions_of(one)]),
    }


def install(path: str) -> None:
    """Make every parser of argparse write its answer where it would parse."""
    made, parse_known = argparse.ArgumentParser.__init__, argparse.ArgumentParser.parse_known_args

    def note(self: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        parsers.append(self)

    def ask(self: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        leave(path, answer_of(self))

    def ask_known(self: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        # Some scripts read the name of a file of settings first, by a small parser of its own.
        free = roots()
        if self not in free or any(len(actions_of(one)) > len(actions_of(self)) for one in free):
            return parse_known(self, *given, **named)
        return leave(path, answer_of(self))

    for name, function in (("__init__", note), ("parse_args", ask), ("parse_known_args", ask_known)):
        setattr(argparse.ArgumentParser, name, function)


def main() -> None:
    """Run the script that the command line names, up to its parser."""
    path, script = sys.argv[1], sys.argv[2]
    sys.argv = sys.argv[2:]
    # As for `python SCRIPT`: imports look beside the script first.
    sys.path[0] = str(Path(script).absolute().parent)
    install(path)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit:
        leave(path, {"error": "it ended before it asked argparse"})
    except BaseException as error:  # whatever it is, the orchestrator says it and reads the tree
        leave(path, {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
    leave(path, {"error": "it came to its end and never asked argparse"})


if __name__ == "__main__":
    main()
