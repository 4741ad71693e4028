"""What every command prints with, and where a campaign lies. Loads nothing heavy: a look at the queue must be quick."""

import argparse
from collections.abc import Iterable

import msgspec

from orchestrator.errors import UsageError
from orchestrator.layout import Layout


def say(sentences: Iterable[str]) -> int:
    """Print sentences as they are; return the exit status of a command that went well."""
    lines = list(sentences)
    if lines:
        print("\n".join(lines), flush=True)
    return 0


def print_json(value: object) -> int:
    """Print a value for a program; return the exit status of a command that went well."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    return 0


def layout_of(options: argparse.Namespace) -> Layout:
    """Find the folders of a campaign that need not be read; a typo in -f must not look like an empty queue.

    Raises:
        UsageError: the campaign file is not there.
    """
    if not options.file.is_file():
        raise UsageError(f"{options.file}: there is no such file; name the campaign with -f FILE")
    return Layout(options.file.resolve().parent)
