"""Options that several commands share, and the numbers that they take."""

import argparse
import re
from pathlib import Path
from typing import TypeAlias

MAX_SEEDS = 10_000
"""Most seeds of a command. Equals the limit of a campaign, which is not imported here: `--help` stays light."""
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


def parse_plan_budget(text: str) -> dict[str, float]:
    """Read `60` as a number of trainings, and `90s`, `30m` and `2h` as seconds."""
    if text.isdigit() and int(text) > 0:
        return {"trainings": int(text)}
    if not re.fullmatch(r"\d+(?:\.\d+)?[smh]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of trainings nor a time; say 60 (trainings), 30m or 2h"
        )
    return {"seconds": parse_budget(text)}


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


Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_verb(verbs: Verbs, name: str, call: str, summary: str, details: str = "") -> argparse.ArgumentParser:
    """Add a command; `call` is the module and the function of `orchestrator.cli` that it calls."""
    verb = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(call=call)
    return verb


def add_file(verb: argparse.ArgumentParser) -> None:
    """Let a command name the campaign file."""
    verb.add_argument("-f", "--file", type=Path, default=Path("experiments.yaml"), help="campaign file (%(default)s)")


def add_campaign(verb: argparse.ArgumentParser, *, with_experiments: bool = True) -> None:
    """Let a command name the campaign file, the profile, and experiments and seeds."""
    add_file(verb)
    verb.add_argument("--profile", metavar="NAME", help="scale of the campaign, e.g. quick or paper")
    if with_experiments:
        verb.add_argument("--seeds", type=parse_seeds, metavar="N|A-B", help="number of seeds, or seeds A to B")
        verb.add_argument(
            "experiments",
            nargs="*",
            metavar="EXPERIMENT",
            help="only these and their references; tag:GROUP names all experiments of a group",
        )
        verb.add_argument(
            "--all",
            action="store_true",
            dest="everything",
            help="every experiment, not only the default ones of the profile",
        )


def add_slots(verb: argparse.ArgumentParser, *also: str) -> None:
    """Let a command say how many trainings run at a time."""
    how = "trainings at a time (by default one on each GPU, or two on a CPU)"
    verb.add_argument("--slots", *also, dest="slots", type=parse_positive, metavar="N", help=how)


def add_snapshot(verb: argparse.ArgumentParser) -> None:
    """Let a command take uncommitted code."""
    verb.add_argument(
        "--snapshot", action="store_true", help="commit uncommitted changes to the code onto the experiments' branches"
    )


def add_json(verb: argparse.ArgumentParser) -> None:
    """Let a program read what a command prints."""
    verb.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_plan(verbs: Verbs) -> None:
    """Add `knockout plan`."""
    verb = add_verb(
        verbs,
        "plan",
        "plan.plan",
        "show what would be trained, what it would cost and what it would find; starts nothing",
        "Finished runs say how much a score varies from seed to seed. From this, it tells the smallest difference\n"
        "that the campaign finds with 80 % power, and the design that finds a difference of the margin.",
    )
    add_campaign(verb)
    verb.add_argument(
        "--budget",
        type=parse_plan_budget,
        metavar="N|TIME",
        help="trainings (60) or a time (2h): propose the design that finds the smallest difference within it",
    )
    add_json(verb)


SEARCH = (
    "search.search",
    "look for the best values of some knobs (settings of the configuration)",
    "Every point is trained as runs of the queue, and scored at a location that no report uses. A point that was\n"
    "trained before costs nothing. Run the same command again to go on; several processes may search at once.\n"
    "`knockout promote SEARCH` writes the best point into the campaign file.",
)
"""The function that it calls, its summary, and its details."""
PROMOTE = (
    "search.promote",
    "write the best point of a search into the campaign file, as an experiment",
    "The point was chosen for its score, so that score is too high. Only fresh seeds, at a location that the search\n"
    "never saw, show its true effect. `promote` prints the command for that.",
)


def add_search_options(search: argparse.ArgumentParser, promote: argparse.ArgumentParser) -> None:
    """Add the options that `search` and `promote` take beside those of a campaign."""
    for verb in (search, promote):
        verb.add_argument("search", metavar="SEARCH", help="a name under `searches:`, e.g. focal")
        verb.add_argument(
            "--storage", metavar="URL", help="database in which Optuna keeps the trials (results/optuna.db)"
        )
    search.add_argument(
        "--trials", type=parse_positive, metavar="N", help="number of further points (as many as the file says)"
    )
    promote.add_argument(
        "--as", dest="experiment", metavar="EXPERIMENT", help="name of the new experiment (SEARCH-best)"
    )
