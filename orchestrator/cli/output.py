"""How commands ask and answer: which campaign is meant, sentences on stderr, JSON and tables on stdout."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from orchestrator.api.surroundings import explain_place
from orchestrator.campaign.selection import Request, Selection
from orchestrator.errors import UsageError
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState
from orchestrator.wording import one_line, visible


def request_of(options: argparse.Namespace) -> Request:
    """Read what a command that concerns a campaign was asked."""
    return Request(
        file=options.file,
        profile=options.profile,
        seeds=getattr(options, "seeds", None),
        experiments=tuple(getattr(options, "experiments", ())),
        everything=getattr(options, "everything", False),
    )


def require_places(*places: Path) -> None:
    """Refuse now what could not be written at the end.

    Raises:
        UsageError: a folder is not there and cannot be made, or cannot be written to.
    """
    for place in places:
        if (problem := explain_place(place)) is not None:
            raise UsageError(problem)


def print_left_out(options: argparse.Namespace, selection: Selection) -> None:
    """Say how many of the file's experiments a command took that named none."""
    taken, there = len(selection.arms) - 1, len(selection.campaign.experiments)
    if taken < there and not options.experiments:
        say([f"{taken} of the file's {there} experiments: this profile's default ones; --all takes them all"])


BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def say(sentences: Iterable[str]) -> int:
    """Print sentences as they are; return the exit status of a command that went well."""
    lines = [visible(sentence) for sentence in sentences]
    if lines:
        print("\n".join(lines), flush=True)
    return 0


def print_json(value: object) -> int:
    """Print a value for a program; return the exit status of a command that went well."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:
        # A file's name that is no UTF-8; `json` writes its bytes as `os.fsdecode` read them.
        text = json.dumps(msgspec.to_builtins(value), indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = BEYOND_ASCII.sub(lambda sign: json.dumps(sign[0])[1:-1], text)
    print(text)
    return 0


def paths_of(options: argparse.Namespace) -> Paths:
    """Find the folders of a campaign that need not be read; a typo in -f must not look like an empty queue.

    Raises:
        UsageError: the campaign file is not there.
    """
    if not options.file.is_file():
        raise UsageError(f"{options.file}: there is no such file; name the campaign with -f FILE")
    return Paths(options.file.resolve().parent)


# Rich takes any digit for one of a size, also those that are no number.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES") or value.isascii()}
OUT = Console(_environ=ENVIRONMENT, soft_wrap=False, highlight=False, emoji=False)
STYLES = {
    "done": "green",
    "improved": "bold green",
    "regression": "red",
    "too_slow": "yellow",
    "failed": "bold red",
    "running": "cyan",
    "interrupted": "magenta",
}


def styled(word: str) -> str:
    """Give a state or a verdict its colour."""
    return f"[{STYLES.get(word, 'default')}]{word}[/]"


def show(text: str, style: str | None = None) -> None:
    """Print text as it is: nothing in it is taken for a style, and what a screen would obey is shown instead."""
    OUT.print(visible(text), style=style, markup=False, soft_wrap=True)


def cell(text: str) -> str:
    """Make a cell, or a title, of a table that shows text as it is."""
    return escape(one_line(text))


INTERRUPTED = 130


def print_failures(rows: Sequence[QueuedRun]) -> int:
    """Say why runs failed; return the exit status."""
    failed = [row for row in rows if row.state is RunState.FAILED]
    for row in failed:
        say([f"{row.id} failed ({row.failure}): {row.reason}"])
    if failed:
        say(["`knockout retry --failed` lets failed runs wait again, `knockout run --retry` trains them"])
    return 1 if failed else 0
