"""Follows one live run from outside: reads its finished epochs, asks the guards, and says how it ended."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec import Struct

from orchestrator.errors import AWAY, CHANGED, HELD, INTERRUPTED, NO_SPACE, UNKNOWN_STATUS, FaultKind, kind_of_status
from orchestrator.launch.forked import AnyJob
from orchestrator.launch.guards import Pace, Ruling, rule
from orchestrator.launch.probing import StartProbe, Suspicion
from orchestrator.processes import Process, count_memory_kills, describe_status, is_halted
from orchestrator.runs.folder import EpochRecord, Result, RunFolder
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.probes import append_probe, read_probes
from orchestrator.runs.states import Failure, RunState
from orchestrator.supervisor.log import SIGN

STOPPING_STATUSES = (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT)
"""Exit statuses of a job that somebody asked to stop."""
STOPPED = "stopped after an epoch; it goes on from there"
CAN_GO_ON = {
    **dict.fromkeys(STOPPING_STATUSES, STOPPED),
    AWAY: "the system refused something that the job needs; it goes on from its last checkpoint once that is mended",
    CHANGED: "a capture changed while the job trained; put it back, and it goes on from its last checkpoint",
    NO_SPACE: "the disk is full; free some space, and it goes on from its last checkpoint",
    HELD: "another job was at work in its folder, or has taken it over; it goes on from there",
    UNKNOWN_STATUS: "the job is gone and nobody can tell how it ended; it goes on from its last checkpoint, if any",
}
"""Exit status of a job without a result that can go on -> what is said about it."""
EXPLAINED_BY_LOG = (AWAY, CHANGED, NO_SPACE)
"""Statuses for which the last line of the log says more."""
MANY_EPOCHS = 1000
READ_SHARE = 20
"""More than so many epochs are read again only after this many times as long as that takes."""
LOG_LINES = 40
"""Last lines of the log in the reason of a failure."""


class Ending(Struct, frozen=True, kw_only=True):
    """How a run ended."""

    state: RunState
    reason: str
    result: Result | None = None
    """None for a run that can go on."""
    status: int | None = None
    """Exit status of the job; None if it left a result."""

    @property
    def is_disk_full(self) -> bool:
        """Whether the job ended because the disk is full."""
        return self.status == NO_SPACE


@dataclass
class LiveRun:
    """A run and the job that trains it. Tests replace the clock and the count of kills."""

    id: str
    num_epochs: int | None
    """Epochs of the whole training; None if nobody knows."""
    folder: RunFolder
    job: AnyJob
    epochs: list[EpochRecord] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    count_memory_kills: Callable[[], int | None] = count_memory_kills
    can_probe: bool = True
    """Whether it can be timed in turns with its reference."""
    is_quiet: bool = False
    """Whether its command may say nothing for hours: its task names no progress. Then silence is no hang."""

    def __post_init__(self) -> None:
        self._heard_at, self._log_bytes = self.clock(), self._measure_log()
        self._asked_at: float | None = None
        self._is_asked_to_stop = False
        self._holder_before = self.folder.last_holder()
        self._stamp: tuple[int, int] | None = None
        self._stamp_before = self._stamp_epochs()
        self._num_inherited = 0
        self._silent_seconds = 0.0
        self._read_due = 0.0
        self._memory_kills = self.count_memory_kills()
        self._probes = read_probes(self.folder)
        self._suspicion: Suspicion | None = None

    def read_epochs(self) -> bool:
        """Read the epochs that the job has finished; return whether there is a new one."""
        stamp, begun = self._stamp_epochs(), self.clock()
        if stamp == self._stamp or begun < self._read_due:
            return False
        try:
            epochs = self.folder.read_epochs()
        except ValueError:
            if stamp != self._stamp_before:
                raise
            # An earlier job left this file. The new one repairs it from its checkpoint before it trains.
            return False
        # A command may tell each of a million steps. Reading them takes a small share of this process's time.
        if len(epochs) > MANY_EPOCHS:
            self._read_due = self.clock() + READ_SHARE * (self.clock() - begun)
        if stamp == self._stamp_before:
            self._num_inherited = len(epochs)
        is_new = len(epochs) != len(self.epochs)
        self.epochs, self._stamp = epochs, stamp
        return is_new

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most memory that this job has held, in bytes; None until it has finished an epoch, or if it tells none."""
        own = self.epochs[self._num_inherited :]
        return max((record.peak_memory_bytes for record in own), default=0) or None

    def wait_aside(self) -> None:
        """Note that a probe of another run has paused this one's job: neither its silence nor its grace counts."""
        self._heard_at = self.clock()
        if self._asked_at is not None:
            self._asked_at = self._heard_at

    def _stamp_epochs(self) -> tuple[int, int] | None:
        """Return what changes when the file of epochs, or of progress, does; None if there is no file."""
        try:
            found = self.folder.epochs.stat()
        except FileNotFoundError:
            try:
                found = self.folder.progress.stat()
            except FileNotFoundError:
                return None
        # The size alone is not enough: a job that repairs this file replaces it, perhaps by one of the same size.
        return found.st_ino, found.st_size

    def check(
        self,
        guards: GuardSpec,
        reference_pace: Callable[[], Pace | None],
        other_load: Callable[[], str | None] = lambda: None,
        start_probe: StartProbe | None = None,
    ) -> Ruling | None:
        """Ask the guards about new epochs, or about silence. A ruling that is returned has ended the job already.

        Args:
            guards: the campaign's limits.
            reference_pace: returns the reference's pace; None while it has too few epochs.
            other_load: returns what else the machine is busy with. It is asked only before a ruling for slowness.
            start_probe: starts a probe before a ruling for slowness. None while jobs are to stop: then a probe under
                way ends, and no run is called slower than its reference.
        """
        if self._suspicion is not None:
            ruling = self._settle(self._suspicion, guards, start_probe)
        else:
            is_new = self.read_epochs()
            ruling = self._rule(guards, reference_pace(), other_load) if is_new else None
            if ruling is not None and ruling.state is RunState.TOO_SLOW:
                ruling = self._suspect(ruling, start_probe)
            ruling = ruling or self._rule_on_silence(guards, is_new=is_new)
        if ruling is not None:
            self.job.kill()
            self._record_ruling(ruling)
        return ruling

    def ask_to_stop(self) -> None:
        """Let the job finish its epoch and checkpoint. However it ends from now on, it has not failed."""
        self._is_asked_to_stop = True
        self.job.ask_to_stop()

    def _rule(self, guards: GuardSpec, reference: Pace | None, other_load: Callable[[], str | None]) -> Ruling | None:
        ruling = rule(self.epochs, guards, reference, probes=self._probes, can_probe=self.can_probe)
        if ruling is None or ruling.state is not RunState.TOO_SLOW:
            return ruling
        # A busy machine only makes the rules for slowness more patient. So the load is read once such a rule applies.
        return rule(self.epochs, guards, reference, other_load(), self._probes, can_probe=self.can_probe)

    def _suspect(self, ruling: Ruling, start_probe: StartProbe | None) -> Ruling | None:
        """Start a probe of a run that looks too slow. Without a probe only an absolute limit rules."""
        if start_probe is None or self._asked_at is not None:
            return None if ruling.is_relative else ruling
        if self.job.exit_status() is None:
            self._suspicion = Suspicion.raise_on(ruling, self.job, start_probe, self.clock)
        return None

    def _settle(self, suspicion: Suspicion, guards: GuardSpec, start_probe: StartProbe | None) -> Ruling | None:
        """Rule by a probe once it has measured enough. Meanwhile the job is paused, so its silence does not count."""
        self._heard_at = self.clock()
        if start_probe is None:
            self._suspicion = None
            suspicion.drop()
            return None
        settled = suspicion.settle(guards, lambda: len(self.folder.read_epochs()))
        if settled is None:
            return None
        ruling, probe = settled
        self._suspicion = None
        self._probes.append(probe)
        # A disk that cannot be written ends no training. This worker has the probe; a later one may repeat it.
        with suppress(OSError):
            append_probe(self.folder, probe)
        return ruling

    @property
    def is_paused(self) -> bool:
        """Whether its job is paused for a probe."""
        return self._suspicion is not None

    def kill(self) -> None:
        """End the job at once, and its probe if there is one."""
        self._end_probe()
        self.job.kill()

    def _end_probe(self) -> None:
        if self._suspicion is not None:
            self._suspicion.timing.close()
            self._suspicion = None

    def _rule_on_silence(self, guards: GuardSpec, *, is_new: bool) -> Ruling | None:
        """Ask a job to stop that is silent for too long. Rule that it hung if it is still there after its grace."""
        now, log_bytes = self.clock(), self._measure_log()
        if self._asked_at is not None:
            if now - self._asked_at < guards.hang_grace_seconds or self.job.exit_status() is not None:
                return None
            if self._is_halted():
                # A halted job cannot react. Its grace begins once it runs on.
                self._asked_at = now
                return None
            how = f"it was still there {now - self._asked_at:.0f} s later and was killed"
            return Ruling(state=RunState.FAILED, failure=Failure.HUNG, reason=self._describe_hang(how))
        if is_new or log_bytes != self._log_bytes:
            self._heard_at, self._log_bytes = now, log_bytes
        self._silent_seconds = now - self._heard_at
        is_silent = guards.hang_seconds is not None and self._silent_seconds >= guards.hang_seconds
        if is_silent and not (self.is_quiet and not self.epochs) and self.job.exit_status() is None:
            if self._is_halted():
                # Once it runs on, it has all its time again.
                self._heard_at = now
            else:
                self._asked_at = now
                self.job.ask_to_stop()
        return None

    def _is_halted(self) -> bool:
        """Whether somebody has stopped the job, or it waits for a disk that does not answer."""
        return self.job.pid is not None and is_halted(self.job.pid)

    def _measure_log(self) -> int:
        return self.folder.log.stat().st_size if self.folder.log.exists() else 0

    def _describe_hang(self, how: str) -> str:
        since = f"after epoch {self.epochs[-1].epoch}" if self.epochs else "before the first epoch ended"
        what = f"the job hung: no epoch and no line in its log for {self._silent_seconds:.0f} s {since}"
        return with_log_tail(f"{what}; asked to stop, {how}", self.folder)

    def _record_ruling(self, ruling: Ruling) -> None:
        # The job may have finished just before it was killed. Then its own result counts.
        if self.folder.read_result() is None and not self._is_overtaken():
            self.folder.write_result(
                Result(state=ruling.state.value, reason=ruling.reason, failure=ruling.failure, epochs=len(self.epochs))
            )

    def _is_overtaken(self) -> bool:
        """Whether another job has taken the folder since. Then nothing that this job did counts."""
        last = self.folder.last_holder()
        is_own = last is not None and (last.host, last.pid) == (Process.own().host, self.job.pid)
        return last != self._holder_before and not is_own

    def end(self, status: int) -> Ending:
        """Return how a run ended whose job is gone. A failure of its own becomes a result, with its cause."""
        self._end_probe()
        self._read_due = 0.0
        self.read_epochs()
        result = self.folder.read_result()
        if result is None:
            cause = self._find_cause(status)
            if cause is None or self._is_overtaken():
                return Ending(state=RunState.INTERRUPTED, reason=self._describe_going_on(status), status=status)
            failure, reason = cause
            result = Result(state=RunState.FAILED.value, failure=failure.value, reason=reason, epochs=len(self.epochs))
            self.folder.write_result(result)
        return Ending(state=RunState(result.state), reason=result.reason, result=result)

    def _describe_going_on(self, status: int) -> str:
        said = CAN_GO_ON.get(
            status, f"the job ended {describe_status(status)}, which was not its own doing; it goes on"
        )
        tail = self.folder.log_tail(1)
        # A supervisor's last line says it best: it has seen the command's end.
        if tail and tail[0].startswith(SIGN):
            return tail[0].removeprefix(SIGN).strip()
        return f"{said}: {tail[0]}" if tail and status in EXPLAINED_BY_LOG else said

    def _find_cause(self, status: int) -> tuple[Failure, str] | None:
        """Return the failure and the reason of a job without a result; None if the run is not known to be the cause."""
        if self._asked_at is not None:
            return Failure.HUNG, self._describe_hang(f"it ended {describe_status(status)}")
        if self._is_asked_to_stop:
            return None
        # A person can send SIGKILL too. Only the kernel's own count, if it rose, shows that memory was short.
        before, now = self._memory_kills, self.count_memory_kills()
        if status == -signal.SIGKILL and before is not None and now is not None and now > before:
            killed = f"the kernel killed {now - before} process{'' if now - before == 1 else 'es'} for want of memory"
            what = f"the job died {describe_status(status)}, and {killed} meanwhile"
            return Failure.OUT_OF_MEMORY, with_log_tail(what, self.folder)
        if kind_of_status(status) is FaultKind.OWN_DOING:
            return Failure.CRASHED, describe_death(status, self.folder)
        return None


def describe_death(status: int, folder: RunFolder) -> str:
    """Say how a job died, and quote the last lines of its log."""
    return with_log_tail(f"the job died {describe_status(status)}", folder)


def with_log_tail(what: str, folder: RunFolder) -> str:
    """Return a sentence about a job with the last lines of its log."""
    tail = folder.log_tail(LOG_LINES)
    if not tail:
        return f"{what} and left no log"
    return f"{what}; the last lines of {folder.log.name}:\n" + "\n".join(tail)
