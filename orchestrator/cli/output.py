"""What a command says: sentences, JSON for programs, and the folders that it speaks of."""

import argparse
import json
import re
import sys
from collections.abc import Iterable

import msgspec

from orchestrator.errors import UsageError
from orchestrator.runs.paths import Paths
from orchestrator.wording import visible

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
