"""What a campaign's report says of its searches, as words: where the report of each lies, and what it found.

Read from the files beside those reports. Searches choose on other locations than verdicts are on, and no verdict knows
of them.
"""

from pathlib import Path
from urllib.parse import quote

import msgspec

from orchestrator import wording
from orchestrator.campaign.spec import Campaign
from orchestrator.files import read_plain
from orchestrator.runs.paths import Paths
from orchestrator.search.results import SUMMARY_FORMAT, Difference, SearchSummary

UNREADABLE = "what it found cannot be read; `knockout search` with its name writes it again"


def search_rows(campaign: Campaign, paths: Paths) -> list[dict[str, str]]:
    """Lay out the searches of a campaign at its profile that have a report, as words, in the order of their folders."""
    rows = []
    for path in paths.search_summaries(campaign.name):
        found = _read(path)
        if found is None or (found.campaign, found.profile) == (campaign.name, campaign.profile):
            words = _words(found) if found else _unreadable(path.parent.name)
            rows.append(words | {"link": f"../{quote(path.parent.name)}/report.md"})
    return rows


def _read(path: Path) -> SearchSummary | None:
    """Read what a search found; None where another version wrote it, or it is spoilt: no report fails for that."""
    try:
        found = msgspec.json.decode(read_plain(path), type=SearchSummary)
    except (OSError, ValueError, RecursionError):
        return None
    return found if found.format == SUMMARY_FORMAT else None


def _unreadable(name: str) -> dict[str, str]:
    unknown = dict.fromkeys(("title", "visited", "score", "to_default"), wording.MISSING)
    return unknown | {"name": name, "best": UNREADABLE}


def _words(found: SearchSummary) -> dict[str, str]:
    return {
        "name": found.search,
        "title": f"{found.title}, on {found.stack}",
        "visited": f"{found.visited} of {found.wanted}" if found.visited <= found.wanted else f"{found.visited}",
        "best": ", ".join(f"{knob} {value}" for knob, value in found.best.items()) or "no point was visited yet",
        "score": _score(found),
        "to_default": _to_default(found),
    }


def _score(found: SearchSummary) -> str:
    score = found.score
    if score is None:
        return wording.MISSING
    if not score.standard_error:
        return f"{score.mean:.1f} on {wording.listed(found.captures)}, nobody counted the bursts"
    of = "" if score.is_across_seeds else ", the bursts alone"
    return f"{score.mean:.1f} ± {score.standard_error:.1f} on {wording.listed(found.captures)}{of}"


def _to_default(found: SearchSummary) -> str:
    if found.to_default is not None:
        return f"{_says(found.to_default)}: {_numbers(found.to_default)}"
    if not found.default_visited:
        return wording.MISSING if found.score is None else "the default point was not visited"
    return "it is the default point"


def _says(difference: Difference) -> str:
    if not difference.is_decided:
        return "cannot be told apart"
    return "better" if difference.is_across_seeds else "higher, by the bursts of one seed alone"


def _numbers(difference: Difference) -> str:
    said = f"{wording.points(difference.points)} {wording.interval((difference.low, difference.high))}"
    return f"{said}, {difference.adjusted}" if difference.adjusted else said
