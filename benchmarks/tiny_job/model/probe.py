"""Turns of the small computation, by the protocol of the real `model.probe`."""

import argparse
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from model.work import STEPS, Work

TURN_STEPS = 5


def main() -> None:
    """Take turns with the process at the other end of the pipes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    for name in ("--turns", "--pass-to", "--share", "--limit", "--resume"):
        parser.add_argument(name, type=int)
    parser.add_argument("--first", action="store_true")
    options = parser.parse_args()
    work = Work(options.config)
    work.run(TURN_STEPS)
    for number in range(options.turns):
        if not (options.first and number == 0) and not os.read(sys.stdin.fileno(), 1):
            break
        seconds = work.run(TURN_STEPS)
        sys.stdout.write(json.dumps({"epoch_seconds": seconds * STEPS / TURN_STEPS}) + "\n")
        sys.stdout.flush()
        with suppress(BrokenPipeError):
            os.write(options.pass_to, b".")
    if options.resume:
        with suppress(ProcessLookupError):
            os.killpg(options.resume, signal.SIGCONT)


main()
