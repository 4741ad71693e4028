"""Every path under `results/` and `reports/`, as properties of one frozen class: the one owner of these names."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from model.endings import describe_system_error
from model.train.run_folder import RunFolder
from orchestrator.errors import RunError, UsageError

DATABASE_VARIABLE = "KNOCKOUT_DATABASE"
"""Environment variable with the SQLAlchemy URL of a database that several machines share."""

CACHE_VARIABLE = "XDG_CACHE_HOME"
"""Environment variable that names the folder of all caches of a user."""


@dataclass(frozen=True)
class Paths:
    """Where things lie, seen from the folder of the campaign file."""

    root: Path

    @property
    def results(self) -> Path:
        """All that trainings leave."""
        return self.root / "results"

    @property
    def database(self) -> Path:
        """The queue."""
        return self.results / "knockout.db"

    @property
    def database_url(self) -> str:
        """Where the queue is: the file beside the run folders, unless KNOCKOUT_DATABASE names another."""
        return os.environ.get(DATABASE_VARIABLE) or sqlite_url(self.database)

    @property
    def has_own_database(self) -> bool:
        """Whether the queue is the file beside the run folders."""
        return not os.environ.get(DATABASE_VARIABLE)

    @property
    def has_queue(self) -> bool:
        """Whether there may be anything in the queue."""
        try:
            return not self.has_own_database or self.database.exists()
        except OSError:  # whoever opens it says why it cannot be read
            return True

    @property
    def runs(self) -> Path:
        """The run folders."""
        return self.results / "runs"

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.runs / run_id)

    def code_copy(self, code_hash: str) -> Path:
        """Return where a copy of code lies that no repository holds."""
        return self.results / "code" / code_hash[:12]

    def queued_campaign(self, campaign: str, profile: str) -> Path:
        """Return where a campaign is kept as it was when runs of it were last queued."""
        return self.results / "queued" / f"{campaign}-{_short_hash(profile)}.json"

    @property
    def searches_url(self) -> str:
        """Where searches keep their trials, unless told otherwise: Optuna's tables, in a file of their own."""
        return sqlite_url(self.results / "optuna.db")

    @property
    def searches_lock(self) -> Path:
        """Locked by the search that asks or tells just now."""
        return self.results / "optuna.lock"

    @property
    def fingerprints(self) -> Path:
        """Hashes of capture files, kept so that a large file is read once."""
        return self.results / "fingerprints.json"

    @property
    def bursts(self) -> Path:
        """Hashes of bursts, kept so that captures are compared by content once."""
        return self.results / "bursts"

    @property
    def reports(self) -> Path:
        """One folder a report, and `latest`."""
        return self.root / "reports"

    def report(self, name: str) -> Path:
        """Return the folder of one report."""
        return self.reports / name

    def search_report(self, campaign: str, search: str, profile: str, key: str) -> Path:
        """Return the folder of a search's report."""
        return self.report(f"{campaign}-search-{search}-{profile}-{key}")

    def search_summary(self, report: Path) -> Path:
        """Return where a search's report says in short, for a program, what it says."""
        return report / "search.json"

    def search_summaries(self, campaign: str) -> list[Path]:
        """Return what there is of these for a campaign, and for another whose name begins as if it were a search's."""
        folders = sorted(self.reports.glob(f"{campaign}-search-*"))
        return [path for folder in folders if (path := self.search_summary(folder)).exists()]

    @property
    def latest_report(self) -> Path:
        """The link to the newest report."""
        return self.reports / "latest"

    @property
    def worktrees(self) -> Path:
        """Checkouts of experiments' commits: outside the user's checkout, one folder a repository.

        They lie in the user's cache; in `results/` where that user has no home, or one that nobody can write.
        """
        cache = _find_cache()
        if cache is None:
            return self.results / "worktrees"
        return cache / "knockout" / f"{self.root.name}-{_short_hash(str(self.root.resolve()))}"


def _find_cache() -> Path | None:
    """Return the folder of the user's caches; None where there is no home that could hold it."""
    named = os.environ.get(CACHE_VARIABLE, "")
    # The specification of this variable says that a relative path is to be passed over.
    if Path(named).is_absolute():
        return Path(named)
    try:
        cache = Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry in the list of users
        return None
    there = next((folder for folder in (cache, *cache.parents) if folder.exists()), cache)
    return cache if cache.is_absolute() and os.access(there, os.W_OK | os.X_OK) else None


def sqlite_url(file: Path) -> str:
    """Return the URL of a database file, whatever signs its path has."""
    return f"sqlite:///{quote(str(file))}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def explain_place(place: Path) -> str | None:
    """Say why files cannot be written to a folder that exists or is to be made; None if they can."""
    there = next(folder for folder in (place, *place.absolute().parents) if os.path.lexists(folder))
    if not there.is_dir():
        return f"{there} must be a folder, and is none; rename or remove it"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"this user cannot write to {there}; give the right to it, or work in another folder"
    return None


def require_places(*places: Path) -> None:
    """Refuse at the start of a command the folders that it could not write at its end.

    Raises:
        UsageError: a folder does not exist and cannot be made, or it cannot be written to.
    """
    for place in places:
        if (problem := explain_place(place)) is not None:
            raise UsageError(problem)


def find_paths(file: Path) -> Paths:
    """Return the folders of a campaign whose file is not read. A typo in the name must not look like an empty queue.

    Raises:
        UsageError: the campaign file does not exist.
    """
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file; name the campaign with -f FILE")
    return Paths(file.resolve().parent)


GIVE = "give the user who runs Knockout the right to write there, or move away what is in its place"


def require_place(reports: Path) -> None:
    """Make sure that a report can be written.

    Args:
        reports: the folder of all reports; it is made if there is none.

    Raises:
        RunError: nothing can be written there.
    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=reports) as file:
            file.write(b"a report")
    except OSError as error:
        raise refuse_report(reports, error) from None


def refuse_report(place: Path, error: OSError) -> RunError:
    """Say that a report cannot be written, why, and what to do."""
    return RunError(f"{place}: the report cannot be written ({describe_system_error(error)}); {GIVE}")
