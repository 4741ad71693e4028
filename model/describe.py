"""Describe configurations without training, as `model.studies.radio.describe` does.

`python -m model.describe --data-folder DIR` reads a JSON list of job configurations from its standard input and prints
a JSON list with a `Description` for each.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from model.config import JobConfig
from model.studies.radio.describe import describe


def main(arguments: list[str] | None = None) -> int:
    """Read configurations from standard input, print their descriptions, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m model.describe", description=__doc__)
    parser.add_argument("--data-folder", type=Path, help="open the captures, relative to this folder")
    options = parser.parse_args(arguments)
    configs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[JobConfig])
    answers = [describe(config, options.data_folder) for config in configs]
    print(msgspec.json.encode(answers).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
