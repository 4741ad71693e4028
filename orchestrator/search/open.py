"""A search of the campaign file, worked out for a profile and checked. Nothing is started, and Optuna is not loaded."""

from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.load import objective_captures, seed_list
from orchestrator.campaign.search_spec import SearchSpec
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.errors import UsageError
from orchestrator.search.space import require_possible
from orchestrator.task.knobs import did_you_mean


class SearchOptions(Struct, frozen=True, kw_only=True):
    """How a search goes about it."""

    trials: int | None = None
    """So many points more; None for as many in all as the file says."""
    slots: int | None = None
    snapshot: bool = False
    url: str | None = None
    """Where the trials are kept; None for the file beside the queue."""


@dataclass(frozen=True)
class Search:
    """A search of the campaign file, worked out for a profile."""

    name: str
    spec: SearchSpec
    selection: Selection
    stack: Arm
    captures: tuple[str, ...]
    """Those that it looks at."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that each point is trained at."""
        return seed_list(self.spec.seeds)


def open_search(request: Request, name: str) -> Search:
    """Load and check a campaign and one of its searches.

    Raises:
        SpecError: the campaign file is refused.
        UsageError: there is no search of that name.
    """
    selection = open_campaign(request)
    searches = selection.campaign.searches
    if name not in searches:
        hint = did_you_mean(name, searches) if searches else "; write one under `searches:`"
        raise UsageError(f"there is no search `{name}`{hint}")
    spec, stack = searches[name], selection.every_arm[searches[name].on]
    with selection.source.locating():
        captures = objective_captures(spec.objective, selection.campaign.data, ("searches", name, "objective"))
        require_possible(name, spec, stack.config)
    return Search(name, spec, selection, stack, captures)


def storage_file(url: str) -> Path | None:
    """Return the file that an SQLite URL names; None for another database, or what is no URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database.removeprefix("file:")).resolve()
