"""Follows one live run from outside: reads its finished epochs, asks the guards, and settles how it ended."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from model.run_folder import EpochRecord, Result, RunFolder
from orchestrator.guards import Pace, Ruling, rule
from orchestrator.launchers.local import Job
from orchestrator.plan import PlannedRun
from orchestrator.spec import GuardSpec
from orchestrator.states import Failure, RunState

INTERRUPTED_STATUS = 130
LOG_LINES = 40


@dataclass
class LiveRun:
    """A run and the job that trains it."""

    run: PlannedRun
    folder: RunFolder
    job: Job
    epochs: list[EpochRecord] = field(default_factory=list)

    def read_epochs(self) -> bool:
        """Read what the job has finished; return whether there is anything new."""
        epochs = self.folder.read_epochs()
        is_new = len(epochs) != len(self.epochs)
        self.epochs = epochs
        return is_new

    def check(self, guards: GuardSpec, reference_pace: Callable[[], Pace | None]) -> Ruling | None:
        """Ask the guards about new epochs; a ruling has ended the job by the time it is returned."""
        if not self.read_epochs():
            return None
        ruling = rule(self.epochs, guards, reference_pace())
        if ruling is not None:
            self.job.kill()
            self._record_ruling(ruling)
        return ruling

    def _record_ruling(self, ruling: Ruling) -> None:
        # The job may have finished in the moment before it was stopped; then its own result stands.
        if self.folder.read_result() is None:
            self.folder.write_result(
                Result(state=ruling.state.value, reason=ruling.reason, failure=ruling.failure, epochs=len(self.epochs))
            )

    def end(self, status: int) -> tuple[RunState, Result | None]:
        """Say how a run ended whose job is gone; a death without a result becomes one, with its cause."""
        self.read_epochs()
        result = self.folder.read_result()
        if result is None and status in (INTERRUPTED_STATUS, -signal.SIGTERM, -signal.SIGINT):
            return RunState.INTERRUPTED, None
        if result is None:
            result = Result(
                state=RunState.FAILED.value,
                failure=Failure.CRASHED.value,
                reason=describe_death(status, self.folder),
                epochs=len(self.epochs),
            )
            self.folder.write_result(result)
        return RunState(result.state), result


def describe_death(status: int, folder: RunFolder) -> str:
    """Say how a job died, with the last lines of its log."""
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    tail = folder.log_tail(LOG_LINES)
    if not tail:
        return f"the job died {how} and left no log"
    return f"the job died {how}; the last lines of {folder.log.name}:\n" + "\n".join(tail)
