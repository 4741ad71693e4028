"""Every path under `results/` and `reports/`, as properties of one frozen class: the one owner of these names."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from model.run_folder import RunFolder


@dataclass(frozen=True)
class Layout:
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
    def runs(self) -> Path:
        """The run folders."""
        return self.results / "runs"

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.runs / run_id)

    @property
    def fingerprints(self) -> Path:
        """Hashes of capture files, kept so that a large file is read once."""
        return self.results / "fingerprints.json"

    @property
    def reports(self) -> Path:
        """One folder a report, and `latest`."""
        return self.root / "reports"

    def report(self, name: str) -> Path:
        """Return the folder of one report."""
        return self.reports / name

    @property
    def latest_report(self) -> Path:
        """The link to the newest report."""
        return self.reports / "latest"

    @property
    def worktrees(self) -> Path:
        """Checkouts of experiments' commits: outside the user's checkout, one folder a repository."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "knockout" / f"{self.root.name}-{_short_hash(str(self.root.resolve()))}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
