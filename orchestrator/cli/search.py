"""`knockout search` and `promote`: the best values of some knobs, and an experiment made of them."""

import argparse

from orchestrator.api import search as api_search
from orchestrator.api.search import SearchOptions
from orchestrator.cli.live import LiveTable
from orchestrator.cli.output import say
from orchestrator.cli.request import read_request
from orchestrator.errors import INTERRUPTED


def search(options: argparse.Namespace) -> int:
    """Visit points; print the best one and how sure that is."""
    with LiveTable() as table:
        outcome = api_search.search(read_request(options), options.search, _search_options(options), table)
    found = outcome.found
    say(problem for problem in found.problems if problem not in table.shown_problems)
    say(outcome.sentences)
    say([f"report: {outcome.report}"])
    if not found.is_complete:
        more = f" with `--trials {found.num_left}`" if options.trials and found.num_left else ""
        say([f"stopped: what was trained is kept, the same command{more} goes on"])
        return INTERRUPTED
    return 1 if found.problems else 0


def promote(options: argparse.Namespace) -> int:
    """Make an experiment of the best point."""
    found = api_search.promote(read_request(options), options.search, _search_options(options), options.experiment)
    promoted = found.promoted
    command = f"knockout run {promoted.experiment} --profile {found.profile} --seeds {promoted.fresh_seeds}"
    return say(
        [
            f"{options.file}: {promoted.experiment} is the point of {promoted.trial.arm}",
            f"on fresh seeds: `{command}`",
        ]
    )


def _search_options(options: argparse.Namespace) -> SearchOptions:
    return SearchOptions(
        trials=getattr(options, "trials", None),
        slots=getattr(options, "slots", None),
        snapshot=options.snapshot,
        url=options.storage,
    )
