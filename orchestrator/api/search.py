"""`knockout search` and `knockout promote`: the best values of some knobs, and an experiment made of them."""

from pathlib import Path

from msgspec import Struct

from orchestrator.api.work import SILENT
from orchestrator.campaign.selection import Request
from orchestrator.launch.loop import Observer
from orchestrator.report.searches import sentences, write_search_report
from orchestrator.runs.paths import require_places
from orchestrator.search import loop
from orchestrator.search.open import SearchOptions, open_search, storage_file
from orchestrator.search.promote import Promoted, require_begun
from orchestrator.search.promote import promote as promote_best
from orchestrator.search.results import Searched

__all__ = ["PromotedPoint", "SearchOptions", "SearchOutcome", "promote", "search"]


class SearchOutcome(Struct, frozen=True, kw_only=True):
    """What a search has found, and the report of it."""

    found: Searched
    sentences: list[str]
    """What was found, for a person."""
    report: Path


class PromotedPoint(Struct, frozen=True, kw_only=True):
    """An experiment that the campaign file now has, and the profile that it was chosen at."""

    promoted: Promoted
    profile: str


def search(
    request: Request, name: str, options: SearchOptions | None = None, observer: Observer = SILENT
) -> SearchOutcome:
    """Visit points of a search until there are as many as wanted, and write its report.

    Args:
        request: the campaign file and the profile.
        name: a name under `searches:` of the campaign file.
        options: how.
        observer: who follows the runs.

    Raises:
        KnockoutError: something is refused; nothing has been started then.
    """
    asked = open_search(request, name)
    paths = asked.selection.paths
    require_places(paths.runs, paths.reports)
    found = loop.search(asked, options or SearchOptions(), observer)
    return SearchOutcome(found=found, sentences=list(sentences(found)), report=write_search_report(found, paths))


def promote(
    request: Request, name: str, options: SearchOptions | None = None, experiment: str | None = None
) -> PromotedPoint:
    """Write the best point of a search into the campaign file as an experiment.

    Args:
        request: the campaign file and the profile.
        name: a name under `searches:` of the campaign file.
        options: where the trials are kept.
        experiment: what to call it; NAME-best if not said.

    Raises:
        UsageError: the name is none for an experiment, or the search has no finished trial.
        SpecError: the campaign file is refused, before or after.
    """
    asked, options = open_search(request, name), options or SearchOptions()
    require_begun(asked.name, storage_file(options.url or asked.selection.paths.searches_url))
    promoted = promote_best(request.file, loop.look(asked, options), experiment)
    return PromotedPoint(promoted=promoted, profile=asked.selection.campaign.profile)
