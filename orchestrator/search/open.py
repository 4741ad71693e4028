"""Opens a search of the campaign file at a profile, and checks it. Starts nothing, and does not load Optuna."""

from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.load import seed_list
from orchestrator.campaign.scored import Objective, find_objective
from orchestrator.campaign.search_spec import SearchSpec
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.errors import UsageError
from orchestrator.search.space import require_possible
from orchestrator.wording import did_you_mean


class SearchOptions(Struct, frozen=True, kw_only=True):
    """Options of a command on a search."""

    trials: int | None = None
    """Points to visit in addition; None for as many in all as the file says."""
    slots: int | None = None
    """Jobs at once; None for as many as fit."""
    snapshot: bool = False
    """Whether uncommitted code is trained too."""
    url: str | None = None
    """SQLAlchemy URL of the trials' database; None for the file beside the queue."""


@dataclass(frozen=True)
class Search:
    """A search of the campaign file at a profile."""

    name: str
    spec: SearchSpec
    selection: Selection
    stack: Arm
    """The arm whose knobs it moves."""
    objective: Objective

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of each point."""
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
        objective = find_objective(spec, selection.campaign, ("searches", name))
        require_possible(name, spec, stack, selection.configs)
    return Search(name, spec, selection, stack, objective)


def storage_file(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for another database, or a text that is no URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database.removeprefix("file:")).resolve()
