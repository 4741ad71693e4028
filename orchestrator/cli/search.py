"""`search`, `promote`: what looks for a best point and makes an experiment of it."""

import argparse

from orchestrator.cli.asking import request_of, require_places
from orchestrator.cli.live import LiveTable
from orchestrator.cli.output import say
from orchestrator.errors import INTERRUPTED
from orchestrator.report.searches import sentences, write_search_report
from orchestrator.search import loop
from orchestrator.search.open import SearchOptions, open_search, storage_file
from orchestrator.search.promote import promote, require_begun


def run_search(options: argparse.Namespace) -> int:
    """Visit points, and say which is the best and how sure that is."""
    asked = open_search(request_of(options), options.search)
    require_places(asked.selection.paths.runs, asked.selection.paths.reports)
    with LiveTable() as table:
        found = loop.search(asked, _options_of(options), table)
    say(problem for problem in found.problems if problem not in table.told)
    say(sentences(found))
    say([f"report: {write_search_report(found, asked.selection.paths)}"])
    if not found.is_complete:
        more = f" with `--trials {found.num_left}`" if options.trials and found.num_left else ""
        say([f"stopped: what was trained is kept, the same command{more} goes on"])
        return INTERRUPTED
    return 1 if found.problems else 0


def promote_winner(options: argparse.Namespace) -> int:
    """Make an experiment of the best point."""
    asked = open_search(request_of(options), options.search)
    how = _options_of(options)
    require_begun(asked.name, storage_file(how.url or asked.selection.paths.searches_url))
    promoted = promote(options.file, loop.look(asked, how), options.experiment)
    name, profile = promoted.experiment, asked.selection.campaign.profile
    return say(
        [
            f"{options.file}: {name} is the point of {promoted.trial.arm}",
            f"on fresh seeds: `knockout run {name} --profile {profile} --seeds {promoted.fresh_seeds}`",
        ]
    )


def _options_of(options: argparse.Namespace) -> SearchOptions:
    return SearchOptions(
        trials=getattr(options, "trials", None),
        slots=getattr(options, "slots", None),
        snapshot=options.snapshot,
        url=options.storage,
    )
