"""Options that several commands share, and the numbers that they take."""

import argparse
import re
from pathlib import Path

MAX_SEEDS = 10_000
"""Most seeds of a command, as of a campaign; `help` loads no type of the campaign file."""
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `3` as seeds 0, 1, 2 and `2-4` as seeds 2, 3, 4."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds (3) nor a range (2-4)")
    first, last = (0, int(match[1]) - 1) if match[2] is None else (int(match[1]), int(match[2]))
    if last < first:
        raise argparse.ArgumentTypeError(f"{text!r} names no seed")
    if last - first >= MAX_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} names more than {MAX_SEEDS:,} seeds")
    return tuple(range(first, last + 1))


def parse_budget(text: str) -> float:
    """Read `90s`, `30m` and `2h` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; say 90s, 30m or 2h")
    return float(match[1]) * UNIT_SECONDS[match[2]]


def parse_positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def parse_natural(text: str) -> int:
    """Read a whole number from 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def add_file(verb: argparse.ArgumentParser) -> None:
    """Let a command name the campaign file."""
    verb.add_argument("-f", "--file", type=Path, default=Path("experiments.yaml"), help="campaign file (%(default)s)")


def add_campaign(verb: argparse.ArgumentParser, *, with_experiments: bool = True) -> None:
    """Let a command name the campaign file, the profile, and experiments and seeds."""
    add_file(verb)
    verb.add_argument("--profile", metavar="NAME", help="scale of the campaign, e.g. quick or paper")
    if with_experiments:
        verb.add_argument("--seeds", type=parse_seeds, metavar="N|A-B", help="so many seeds, or seeds A to B")
        verb.add_argument(
            "experiments",
            nargs="*",
            metavar="EXPERIMENT",
            help="only these, and the references they need; tag:GROUP names all of a group",
        )
        verb.add_argument(
            "--all",
            action="store_true",
            dest="everything",
            help="every experiment, not only the default ones",
        )


def add_slots(verb: argparse.ArgumentParser, *also: str) -> None:
    """Let a command say how many trainings run at a time."""
    how = "trainings at a time (one a GPU, or two on a CPU)"
    verb.add_argument("--slots", *also, dest="slots", type=parse_positive, metavar="N", help=how)


def add_snapshot(verb: argparse.ArgumentParser) -> None:
    """Let a command take uncommitted code."""
    verb.add_argument(
        "--snapshot", action="store_true", help="take uncommitted changes to model/ onto the experiments' branches"
    )


def add_json(verb: argparse.ArgumentParser) -> None:
    """Let a program read what a command prints."""
    verb.add_argument("--json", action="store_true", help="print JSON, for programs")


SEARCH = (
    "search.search",
    "look for the best values of some knobs",
    "Every point is trained as runs of the queue, and scored at a location that nothing is reported on. A point that\n"
    "was trained before costs nothing. Stop it and run it again to go on; several may search at once.\n"
    "`knockout promote SEARCH` writes the best point into the campaign file.",
)
"""Which call of the console it is, its summary, and its details."""
PROMOTE = (
    "search.promote",
    "write the best point of a search into the campaign file, as an experiment",
    "It was chosen for its score, so that score is too high: only fresh seeds, at a location that the search never\n"
    "saw, say what it is worth. The command for that is printed.",
)


def add_search_options(search: argparse.ArgumentParser, promote: argparse.ArgumentParser) -> None:
    """Add what the two take beside a campaign."""
    for verb in (search, promote):
        verb.add_argument("search", metavar="SEARCH", help="a name under `searches:`, e.g. focal")
        verb.add_argument("--storage", metavar="URL", help="where Optuna keeps the trials (results/optuna.db)")
    search.add_argument("--trials", type=parse_positive, metavar="N", help="so many points more (as the file says)")
    promote.add_argument("--as", dest="experiment", metavar="EXPERIMENT", help="what to call it (SEARCH-best)")
