"""The files that the supervisor adds to a run folder. No other module spells their names."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs.folder import RunFolder


@dataclass(frozen=True)
class RunFiles:
    """The supervisor's files in one run folder.

    Attributes:
        folder: the run folder, as whoever writes through it holds it.
    """

    folder: RunFolder

    @property
    def launch(self) -> Path:
        """How the command is started, written by whoever starts the supervisor."""
        return self.folder.path / "launch.json"

    @property
    def progress(self) -> Path:
        """One line for each row of progress, written as the rows arrive."""
        return self.folder.path / "progress.jsonl"

    @property
    def attempts(self) -> Path:
        """One line for each start of the command."""
        return self.folder.path / "attempts.jsonl"

    @property
    def outputs(self) -> Path:
        """The folder that keeps what the command writes in its checkout."""
        return self.folder.path / "outputs"

    @property
    def kept(self) -> tuple[Path, ...]:
        """Files of the run folder that no start removes."""
        own = self.folder
        written = (own.config, own.order, own.provenance, own.probes, own.result, own.log, own.lock)
        return (*written, self.launch, self.attempts)
