"""The words of `knockout init` and `knockout check`: the first two commands for a script of one's own."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.options import Verbs, add_file, add_json, add_verb, parse_budget

SUFFIXES = (".py", ".sh", ".bash", ".r", ".jl", ".pl", ".lua", ".js")
"""Ends of the names of scripts."""
INIT, USUAL = "init", "--"
"""The command whose words behind `--` are the usual arguments of a script."""


def add_first_steps(verbs: Verbs) -> None:
    """Add both commands."""
    verb = add_verb(
        verbs,
        INIT,
        "script.init",
        "write a first campaign file for a training script",
        "Looks at the script and writes a file that you then trim. Nothing else is written or overwritten.\n"
        "Write its usual arguments behind `--`, if it has any: knockout init train.py -- --data=imagenet\n"
        "Write what starts it before it: knockout init torchrun --nproc_per_node=2 train.py --data=imagenet\n"
        "`knockout check` is the next step.",
    )
    verb.add_argument("script", type=Path, metavar="SCRIPT", help="the script that trains, e.g. train.py")
    add_file(verb)
    verb.add_argument("--static", action="store_true", help="only read the script: run nothing of it")
    verb.set_defaults(start=(), arguments=())
    _add_check(verbs)


def _add_check(verbs: Verbs) -> None:
    verb = add_verb(
        verbs,
        "check",
        "script.check",
        "run the baseline three times, and say what the campaign file lacks",
        "Each run has a checkout of its own, which is thrown away: seed 0, seed 0 again, seed 1. You learn what the\n"
        "command reads, writes and prints, whether the seed has an effect, and which lines to add.\n"
        "exit status: 0 all holds; 1 something does not; 2 the command did not run",
    )
    add_file(verb)
    verb.add_argument("--profile", metavar="NAME", help="scale of the campaign (`smoke`, if the file has it)")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="NAME=VALUE",
        help="change a parameter for these runs, e.g. --set epochs=1",
    )
    verb.add_argument("--resume", action="store_true", help="stop and resume a fourth run, and compare its numbers")
    verb.add_argument("--write", action="store_true", help="add the lines that are missing; nothing of yours changes")
    verb.add_argument(
        "--limit", type=parse_budget, default=600.0, metavar="TIME", help="longest time of a run, e.g. 90s, 30m (10m)"
    )
    add_json(verb)


def read_words(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line; of `init`, the words behind `--` belong to the script.

    Args:
        parser: the command line.
        words: None for those of this process.
    """
    given = list(sys.argv[1:] if words is None else words)
    if given[:1] != [INIT]:
        return parser.parse_args(given)
    own, start, usual = split_words(given)
    options = parser.parse_args(own)
    options.start, options.arguments = tuple(start), tuple(usual)
    return options


def split_words(given: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Divide the words of `init` into our own, those that start the script, and its usual arguments.

    `init -f a.yaml torchrun --standalone train.py --lr=1` has our own words up to a program, which is no file here.
    """
    own = list(given[: given.index(USUAL)] if USUAL in given else given)
    usual = list(given[len(own) + 1 :])
    begin = next((place for place, word in enumerate(own) if place and _is_program(word, own[place - 1])), None)
    if begin is None:
        return own, [], usual
    end = next((place for place in range(begin + 1, len(own)) if _is_script(own[place])), None)
    if end is None:
        return own, [], usual
    return [*own[:begin], own[end]], own[begin:end], [*own[end + 1 :], *usual]


def _is_program(word: str, before: str) -> bool:
    # `-f FILE` takes the next word.
    if word.startswith("-") or before in ("-f", "--file"):
        return False
    in_environment = Path(word).parent.name in ("bin", "Scripts") and os.access(word, os.X_OK)
    return in_environment or not (os.path.lexists(word) or Path(word).suffix.lower() in SUFFIXES)


def _is_script(word: str) -> bool:
    return Path(word).suffix.lower() in SUFFIXES and Path(word).is_file()
