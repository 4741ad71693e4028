"""What `knockout search` and `knockout promote` take beside a campaign."""

import argparse

from orchestrator.cli.options import parse_positive

SEARCH = (
    "search.run_search",
    "look for the best values of some knobs",
    "Every point is trained as runs of the queue, and scored at a location that nothing is reported on. A point that\n"
    "was trained before costs nothing. Stop it and run it again to go on; several may search at once.\n"
    "`knockout promote SEARCH` writes the best point into the campaign file.",
)
"""Which call of the console it is, its summary, and its details."""
PROMOTE = (
    "search.promote_winner",
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
