"""Every path of a campaign's results, reports and worktrees. No other module spells a name of a file on disk.

`RunFolder` names the files inside a run folder.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import RunError, UsageError, describe_system_error
from orchestrator.files import content_hash, find_cache
from orchestrator.runs.folder import RunFolder

DATABASE_VARIABLE = "KNOCKOUT_DATABASE"
"""Environment variable with the SQLAlchemy URL of a database that several machines share."""


@dataclass(frozen=True)
class Paths:
    """The paths of a campaign.

    Attributes:
        root: the folder of the campaign file.
    """

    root: Path

    @property
    def results(self) -> Path:
        """Everything that trainings write."""
        return self.root / "results"

    @property
    def database(self) -> Path:
        """The file of the queue, if it is in SQLite."""
        return self.results / "knockout.db"

    @property
    def database_logs(self) -> tuple[Path, Path]:
        """The files that SQLite keeps beside the queue: its log, and the log's index."""
        log, index = (self.database.with_name(f"{self.database.name}{ending}") for ending in ("-wal", "-shm"))
        return log, index

    @property
    def database_url(self) -> str:
        """The URL of the queue: the file beside the run folders, unless KNOCKOUT_DATABASE names another."""
        return os.environ.get(DATABASE_VARIABLE) or sqlite_url(self.database)

    @property
    def has_own_database(self) -> bool:
        """Whether the queue is the file beside the run folders."""
        return not os.environ.get(DATABASE_VARIABLE)

    @property
    def has_queue(self) -> bool:
        """Whether a queue exists, as far as this can be seen without opening it."""
        try:
            return not self.has_own_database or self.database.exists()
        except OSError:  # opening it gives the reason
            return True

    @property
    def runs(self) -> Path:
        """The run folders."""
        return self.results / "runs"

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.runs / run_id)

    def ordered_runs(self) -> list[RunFolder]:
        """Return the folders of all runs that were ever queued, in no order."""
        return [self.run(path.parent.name) for path in self.runs.glob(f"*/{self.run('').order.name}")]

    def set_aside(self, run_id: str) -> Path:
        """Return where a run folder goes whose files contradict each other."""
        return self.results / "set-aside" / run_id

    def code_copy(self, code_hash: str) -> Path:
        """Return the folder for a copy of code outside a repository."""
        return self.results / "code" / code_hash[:12]

    def queued_campaign(self, campaign: str, profile: str) -> Path:
        """Return the file that keeps a campaign as it was when its runs were last queued."""
        return self.results / "queued" / f"{campaign}-{_short_hash(profile)}.json"

    @property
    def looks(self) -> Path:
        """The file that notes the runs on which verdicts were shown, a line each time."""
        return self.results / "looks.jsonl"

    @property
    def searches_url(self) -> str:
        """The URL of the trials of searches, unless a command names another."""
        return sqlite_url(self.results / "optuna.db")

    @property
    def searches_lock(self) -> Path:
        """The file that a search locks while it asks Optuna for a trial or reports one."""
        return self.results / "optuna.lock"

    @property
    def fingerprints(self) -> Path:
        """The file of kept hashes of captures."""
        return self.results / "fingerprints.json"

    @property
    def bursts(self) -> Path:
        """The folder of kept hashes of bursts, by which captures are compared by content."""
        return self.results / "bursts"

    def found_apart(self, key: str) -> Path:
        """Return the file that marks captures as checked: their roles share no burst. `key` is a hash of both."""
        return self.bursts / f"{key}.apart"

    @property
    def reports(self) -> Path:
        """The folder of all reports."""
        return self.root / "reports"

    def report(self, name: str) -> Path:
        """Return the folder of one report."""
        return self.reports / name

    def search_report(self, campaign: str, search: str, profile: str, key: str) -> Path:
        """Return the folder of a search's report."""
        return self.report(f"{campaign}-search-{search}-{profile}-{key}")

    def search_summary(self, report: Path) -> Path:
        """Return the summary, for programs, in the folder of a search's report."""
        return report / "search.json"

    def search_summaries(self, campaign: str) -> list[Path]:
        """Return the summaries of a campaign's searches.

        Those of another campaign are among them if its name begins with `<campaign>-search-`.
        """
        folders = sorted(self.reports.glob(f"{campaign}-search-*"))
        return [path for folder in folders if (path := self.search_summary(folder)).exists()]

    @property
    def latest_report(self) -> Path:
        """The link to the newest report."""
        return self.reports / "latest"

    @property
    def worktrees(self) -> Path:
        """The folder for checkouts of experiments' commits.

        It lies in the user's cache, outside the user's checkout. It lies in `results/` if the user has no home that can
        be written.
        """
        cache = find_cache()
        if cache is None:
            return self.results / "worktrees"
        # The hash of the whole path keeps two campaigns apart whose folders have the same name.
        return cache / "knockout" / f"{self.root.name}-{_short_hash(str(self.root.resolve()))}"

    def look(self, experiment: str, commit: str) -> Path:
        """Return where `knockout checkout` puts an experiment's commit for a person to look at."""
        return self.worktrees / f"look-{experiment}-{commit[:12]}"

    @property
    def helper(self) -> Path:
        """The folder in which the scripts of runs find `import knockout`."""
        return self.results / "helper"

    @property
    def worktree_locks(self) -> Path:
        """The locks of the worktrees, one file each."""
        return self.worktrees.with_name(f"{self.worktrees.name}.locks")

    def worktree_lock(self, worktree: Path) -> Path:
        """Return the file that is locked as long as the process of a worktree lives."""
        return self.worktree_locks / worktree.name


def sqlite_url(file: Path) -> str:
    """Return the URL of a database file; special characters in its path are quoted."""
    return f"sqlite:///{quote(str(file))}"


def _short_hash(text: str) -> str:
    return content_hash(text.encode())[:8]


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


REPORT_REMEDY = "give the user who runs Knockout the right to write there, or move away what is in its place"


def require_place(reports: Path) -> None:
    """Check that a report can be written, hours before it is.

    Args:
        reports: the folder of all reports; it is made if it is missing.

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
    """Return the error that a report cannot be written, with the reason and what to do."""
    return RunError(f"{place}: the report cannot be written ({describe_system_error(error)}); {REPORT_REMEDY}")
