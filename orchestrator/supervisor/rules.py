"""What to do with a running command, and what its end means for the run. Pure.

A stranger's command says little by its exit status. One launcher ends with status 1 after a request to stop, a shell
with 137 for a killed child. So the request, the signal and the last lines of the log decide too.
"""

import re
import signal
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from orchestrator.errors import AWAY, INTERRUPTED, NO_SPACE, FaultKind, kind_of_status
from orchestrator.processes import describe_status, name_signal
from orchestrator.runs.states import Failure, RunState
from orchestrator.wording import counted

FAILED = 1
"""Exit status of a supervisor whose run has failed, or was too slow."""
SHELL_SIGNAL = 128
"""A shell's status for a child that a signal ended is this plus the signal's number."""
STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals by which somebody asks a command to stop."""
OUT_OF_MEMORY = re.compile(
    r"""CUDA\ out\ of\ memory | CUDA\ error:\ out\ of\ memory | CUBLAS_STATUS_ALLOC_FAILED | OutOfMemoryError\b
    | DefaultCPUAllocator:\ (?:can't\ allocate|not\ enough)\ memory | RESOURCE_EXHAUSTED:\ Out\ of\ memory
    | std::bad_alloc | Cannot\ allocate\ memory | ^(?:\[\w+\]:\ *)?[\w.]*MemoryError\b""",
    re.VERBOSE | re.MULTILINE,
)
"""How Python, PyTorch, JAX, TensorFlow, C++ and the system say that memory is short."""
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
WORKER_SIGNAL = re.compile(r"Signal (\d+) \(SIG\w+\) received by PID|died with <Signals\.SIG\w+: (\d+)>")
"""How torchrun and Python's `subprocess` say that a signal ended a process of theirs."""


class Action(Enum):
    """What the supervisor does next."""

    WAIT = "wait"
    ASK = "ask"
    """Send the command the signal by which it saves and ends."""
    END = "end"
    """End every process of the run: by SIGTERM, and a little later by SIGKILL."""
    KILL = "kill"
    """End every process of the run at once."""


class Moment(Struct, frozen=True, kw_only=True):
    """What the supervisor sees at one moment of a running command."""

    seconds: float
    """Since the command was started."""
    requests: int = 0
    """How often somebody has asked the supervisor to stop."""
    asked_seconds: float | None = None
    """When the command was asked, on the same clock as `seconds`; None if it was not."""
    has_ended: bool = False
    """Whether the command itself has ended; its processes may go on."""
    has_members: bool = True
    """Whether any process of the run lives."""


class Limits(Struct, frozen=True, kw_only=True):
    """How long a command may take."""

    grace_seconds: float
    run_seconds: float | None = None
    """For this attempt; None for no limit."""


def choose_action(moment: Moment, limits: Limits) -> Action:
    """Return what to do next.

    After a request to stop, processes have their grace though the command itself ends. Example: a shell ends at once,
    and the training that it started still saves.
    """
    if moment.has_ended and moment.asked_seconds is None:
        return Action.END
    if moment.requests > 1:
        return Action.KILL
    if moment.asked_seconds is not None:
        is_over = moment.has_ended and not moment.has_members
        return Action.END if is_over or moment.seconds - moment.asked_seconds >= limits.grace_seconds else Action.WAIT
    if limits.run_seconds is not None and moment.seconds > limits.run_seconds:
        return Action.END
    return Action.ASK if moment.requests else Action.WAIT


class End(Struct, frozen=True, kw_only=True):
    """How a command ended."""

    status: int
    """Its exit status, or minus the number of the signal that ended it."""
    is_asked: bool = False
    """Whether it was asked to stop before it ended."""
    too_long_seconds: float | None = None
    """Seconds of the run at which it was ended because that was too long; None if it was not."""
    limit_seconds: float | None = None
    memory_kills: int = 0
    """Processes of the machine that the kernel has killed meanwhile for want of memory."""
    log_tail: Sequence[str] = ()
    """The last lines of the log."""
    outlived: str | None = None
    """A sentence about processes that were still there."""


class Conclusion(Struct, frozen=True, kw_only=True):
    """What the end of a command means."""

    state: RunState
    """INTERRUPTED for a run that can go on: then there is no result."""
    reason: str
    status: int
    """Exit status of the supervisor."""
    failure: Failure | None = None


def conclude(end: End) -> Conclusion:
    """Say what the end of a command means for its run."""
    if end.too_long_seconds is not None and end.limit_seconds is not None:
        took, limit = f"{end.too_long_seconds:.1f} s", f"{end.limit_seconds:g} s"
        reason = _say(f"the command took {took} and was ended; the limit is {limit} (run_seconds)", end)
        return Conclusion(state=RunState.TOO_SLOW, reason=reason, status=FAILED)
    died = f"the command ended {describe_status(end.status)}"
    if end.is_asked:
        return _interrupted(f"asked to stop; {died}", INTERRUPTED, end)
    if end.status == 0:
        return Conclusion(state=RunState.DONE, reason=_say(died, end), status=0)
    return _conclude_death(died, end)


def _conclude_death(died: str, end: End) -> Conclusion:
    tail, number = "\n".join(end.log_tail), find_signal(end)
    if number == signal.SIGKILL and end.memory_kills:
        # A person can send SIGKILL too. Only the kernel's own count, if it rose, shows that memory was short.
        killed = counted(end.memory_kills, "process", "processes")
        why = f"{died}, and the kernel killed {killed} meanwhile for want of memory"
        return _failed(Failure.OUT_OF_MEMORY, why, end)
    if number is not None and kind_of_status(-number) is FaultKind.INTERRUPTS:
        status = INTERRUPTED if number in STOPPING_SIGNALS else AWAY
        return _interrupted(f"{died}: {name_signal(number)} came from outside, so the run can go on", status, end)
    if DISK_FULL.search(tail):
        return _interrupted(f"{died}, because the disk is full; free some space, and run again", NO_SPACE, end)
    if OUT_OF_MEMORY.search(tail):
        return _failed(Failure.OUT_OF_MEMORY, f"{died}, because it ran out of memory", end)
    return _failed(Failure.CRASHED, died, end)


def find_signal(end: End) -> int | None:
    """Return the signal that ended a command, or the process that it waited for; None if none did."""
    if end.status < 0:
        return -end.status
    if end.status - SHELL_SIGNAL in signal.valid_signals():
        return end.status - SHELL_SIGNAL
    # A launcher asks its other workers to end once one is killed, so those two signals say nothing about the cause.
    told = WORKER_SIGNAL.findall("\n".join(end.log_tail))
    numbers = {int(first or second) for first, second in told}
    outside = [number for number in numbers if number not in STOPPING_SIGNALS]
    return outside[0] if len(outside) == 1 else None


def _say(what: str, end: End) -> str:
    return f"{what}; {end.outlived}" if end.outlived else what


def _interrupted(what: str, status: int, end: End) -> Conclusion:
    return Conclusion(state=RunState.INTERRUPTED, reason=_say(what, end), status=status)


def _failed(failure: Failure, what: str, end: End) -> Conclusion:
    said, tail = _say(what, end), "\n".join(end.log_tail)
    reason = f"{said}; the last lines of its log:\n{tail}" if tail else f"{said}, and left no log"
    return Conclusion(state=RunState.FAILED, failure=failure, reason=reason, status=FAILED)


def describe_ended(ended: Sequence[int], left: Sequence[int], *, has_ended: bool) -> str | None:
    """Say which processes a sweep found when a command was over; None if there were none.

    Args:
        ended: numbers of those that it ended.
        left: numbers of those that it could not end.
        has_ended: whether the command itself had ended before. Else it is one of them.
    """
    when = "outlived the command" if has_ended else "did not end in time"
    were = "was" if len(ended) == 1 else "were"
    parts = [f"{_count(ended)} {when} and {were} ended: {', '.join(map(str, ended))}"] if ended else []
    if left:
        parts.append(f"{_count(left)} could not be ended; end by hand: {', '.join(map(str, left))}")
    return "; ".join(parts) or None


def _count(pids: Sequence[int]) -> str:
    return counted(len(pids), "process", "processes")
