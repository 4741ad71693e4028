"""What a command prints: sentences for a person, JSON for a program."""

import json
import re
import sys
from collections.abc import Iterable

import msgspec

from orchestrator.wording import visible

BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def say(sentences: Iterable[str]) -> int:
    """Print sentences, one a line; return 0, the exit status of success."""
    lines = [visible(sentence) for sentence in sentences]
    if lines:
        print("\n".join(lines), flush=True)
    return 0


def say_if(sentence: str | None) -> int:
    """Print a sentence if there is one; return 0, the exit status of success."""
    return say([] if sentence is None else [sentence])


def print_json(value: object) -> int:
    """Print a value as JSON; return 0, the exit status of success."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:
        # A file name that is not UTF-8: `json` writes its bytes as `os.fsdecode` read them.
        text = json.dumps(msgspec.to_builtins(value), indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = BEYOND_ASCII.sub(lambda sign: json.dumps(sign[0])[1:-1], text)
    print(text)
    return 0


def describe_kept(command: str) -> str:
    """Say what stays of trainings that were asked to stop, and which command goes on with them."""
    return f"results and checkpoints are kept, `{command}` goes on from them; without a checkpoint a run starts over"
