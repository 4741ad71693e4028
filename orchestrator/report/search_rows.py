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
        found = _read_summary(path)
        # A file that cannot be read may belong to this campaign, so it is listed with that sentence.
        if found is None or (found.campaign, found.profile) == (campaign.name, campaign.profile):
            row = _found_row(found) if found else _unreadable_row(path.parent.name)
            rows.append(row | {"link": f"../{quote(path.parent.name)}/report.md"})
    return rows


def _read_summary(path: Path) -> SearchSummary | None:
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
        "score": _score_cell(found),
        "to_default": _default_cell(found),
    }


def _score_cell(found: SearchSummary) -> str:
    score = found.score
    if score is None:
        return wording.MISSING
    objective, beside = found.objective, ""
    if not score.standard_error:
        unknown = "one seed, and no items" if objective.metric else "the number of bursts is not known"
        beside = f", without an error: {unknown}"
    elif not score.is_across_seeds:
        beside = ", sampling error only"
    error = f" ± {objective.number(score.standard_error)}" if score.standard_error else ""
    number = f"{objective.number(score.mean)}{error}"
    if objective.metric:
        return f"{objective.name} {number} {objective.unit}".rstrip() + beside
    return f"{number} on {wording.listed(found.captures)}{beside}"


def _default_cell(found: SearchSummary) -> str:
    # The difference comes from the file: this package does not judge a search again.
    if found.to_default is not None:
        return f"{_describe_comparison(found, found.to_default)}: {_difference_words(found, found.to_default)}"
    if not found.default_visited:
        return wording.MISSING if found.score is None else "the default point was not visited"
    return "it is the default point"


def _describe_comparison(found: SearchSummary, difference: Difference) -> str:
    if not difference.is_decided:
        return "no difference found"
    scored = "better" if found.objective.metric else "higher"
    return "better" if difference.is_across_seeds else f"{scored}, judged by sampling error only (one seed)"


def _difference_words(found: SearchSummary, difference: Difference) -> str:
    objective = found.objective
    if difference.low is None or difference.high is None:
        return f"{objective.difference(difference.points)}, of unknown error"
    said = f"{wording.points(difference.points)} {wording.interval((difference.low, difference.high))}"
    if objective.metric:
        ends = (objective.difference(end) for end in (difference.low, difference.high))
        said = f"{objective.difference(difference.points)} [{', '.join(ends)}]"
    return f"{said}, {difference.adjusted}" if difference.adjusted else said
