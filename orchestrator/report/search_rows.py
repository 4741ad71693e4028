"""What a campaign's report says of its searches, as words: where the report of each lies, and what it found.

The files beside those reports hold it. Searches choose on other captures than verdicts use, so no verdict depends on
them.
"""

from pathlib import Path
from urllib.parse import quote

import msgspec

from orchestrator import wording
from orchestrator.campaign.spec import Campaign
from orchestrator.files import read_plain
from orchestrator.runs.paths import Paths
from orchestrator.search.results import SUMMARY_FORMAT, Difference, SearchSummary, name_point

UNREADABLE = "its findings cannot be read; `knockout search` with its name writes them again"


def search_rows(campaign: Campaign, paths: Paths) -> list[dict[str, str]]:
    """Return a row for each search of the campaign and profile that has a report, in the order of their folders."""
    rows = []
    for path in paths.search_summaries(campaign.name):
        found = _read(path)
        # A file that cannot be read may belong to this campaign, so it is listed with that sentence.
        if found is None or (found.campaign, found.profile) == (campaign.name, campaign.profile):
            row = _found_row(found) if found else _unreadable_row(path.parent.name)
            rows.append(row | {"link": f"../{quote(path.parent.name)}/report.md"})
    return rows


def _read(path: Path) -> SearchSummary | None:
    """Read what a search found; None if another version wrote the file, or if it is broken."""
    try:
        found = msgspec.json.decode(read_plain(path), type=SearchSummary)
    except (OSError, ValueError, RecursionError):
        return None
    return found if found.format == SUMMARY_FORMAT else None


def _unreadable_row(name: str) -> dict[str, str]:
    unknown = dict.fromkeys(("title", "visited", "score", "to_default"), wording.MISSING)
    return unknown | {"name": name, "best": UNREADABLE}


def _found_row(found: SearchSummary) -> dict[str, str]:
    return {
        "name": found.search,
        "title": f"{found.title}, on {found.stack}",
        "visited": f"{found.visited} of {found.wanted}" if found.visited <= found.wanted else f"{found.visited}",
        "best": name_point(found.best) or "no point was visited yet",
        "score": _score(found),
        "to_default": _to_default(found),
    }


def _score(found: SearchSummary) -> str:
    score = found.score
    if score is None:
        return wording.MISSING
    if not score.standard_error:
        unknown = "without an error: the number of bursts is not known"
        return f"{score.mean:.1f} on {wording.listed(found.captures)}, {unknown}"
    of = "" if score.is_across_seeds else ", sampling error only"
    return f"{score.mean:.1f} ± {score.standard_error:.1f} on {wording.listed(found.captures)}{of}"


def _to_default(found: SearchSummary) -> str:
    if found.to_default is not None:
        return f"{_describe_comparison(found.to_default)}: {_difference_words(found.to_default)}"
    if not found.default_visited:
        return wording.MISSING if found.score is None else "the default point was not visited"
    return "it is the default point"


def _describe_comparison(difference: Difference) -> str:
    if not difference.is_decided:
        return "no difference found"
    return "better" if difference.is_across_seeds else "higher, judged by sampling error only (one seed)"


def _difference_words(difference: Difference) -> str:
    said = f"{wording.points(difference.points)} {wording.interval((difference.low, difference.high))}"
    return f"{said}, {difference.adjusted}" if difference.adjusted else said
