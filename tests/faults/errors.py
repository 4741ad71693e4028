"""Kinds of faults: the system refuses a call; a preloaded library does that (`refusals.c`)."""

import errno
from collections.abc import Callable, Sequence

from tests.faults.kinds import Kinds
from tests.faults.refusing import Refusal, needs_library
from tests.faults.storm import Storm

ERRORS = Kinds("calls of the system are refused")
PASSING = ("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EINTR")
FULL = ("ENOSPC", "EDQUOT")
DENIED = ("EACCES", "EROFS", "EPERM")
LOCKS = ("ENOLCK", "EIO", "ESTALE", "ENOSYS")
REFUSAL_SECONDS = 6.0
"""How long calls fail at most, so that a waiting `work` sees them succeed again."""
STRETCH = 12
"""How many calls fail at most in a stretch of errors."""
COMMANDS = (("status",), ("queue", "list"), ("retry", "--failed"), ("gc",), ("why", "E5"), ("stop",), ("plan",))


def refuse(calls: str, path: str, numbers: Sequence[str], latest_first: int) -> Callable[[Storm], None]:
    """Return a function that has a `work` and its jobs meet one to three errors, or a stretch of them."""

    def make(storm: Storm) -> None:
        number = getattr(errno, storm.random.choice(numbers))
        is_stretch = storm.random.random() < 0.3
        refusal = Refusal(
            calls=calls, number=number, path=path, first=storm.random.randint(1, latest_first),
            seconds=REFUSAL_SECONDS, count=STRETCH if is_stretch else storm.random.randint(1, 3),
            chance=300 if is_stretch else 1000,
        )  # fmt: skip
        storm.machine.latest += f" ({errno.errorcode[number]}, {'a stretch' if is_stretch else refusal.count})"
        meet(storm, refusal)

    return make


def meet(storm: Storm, refusal: Refusal) -> None:
    """Have one `work` meet the errors until they are over; every other `work` ends, so this one gets all runs."""
    storm.machine.kill([other.pid for other in storm.machine.works], "TERM")
    work = storm.machine.start_work(refusal.environment)

    def is_over() -> bool:
        storm.refill()
        return refusal.is_over or work.poll() is not None

    storm.machine.wait_for(is_over, "calls are refused, or their time is up")
    storm.machine.counts["errors met"] += refusal.num_refused
    storm.machine.counts["faults whose errors no call met"] += not refusal.num_refused


EPOCHS, CHECKPOINT, RESULT, LOCK = "/epochs.jsonl", "/checkpoint.pt,/.checkpoint.pt.", "/result.json", "/job.lock"
TABLE: tuple[tuple[str, str, str, tuple[str, ...], int], ...] = (
    ("epochs.jsonl", "write,fsync", EPOCHS, PASSING + FULL, 20),
    ("epochs.jsonl", "open", EPOCHS, PASSING + DENIED, 12),
    ("a checkpoint", "write,fsync", CHECKPOINT, PASSING + FULL, 40),
    ("a checkpoint", "open,read", CHECKPOINT, PASSING + DENIED, 12),
    ("a checkpoint", "rename", CHECKPOINT, PASSING + FULL + DENIED, 10),
    ("result.json", "open,write,fsync,rename", f"{RESULT},/.result.json.", PASSING + FULL + DENIED, 3),
    ("job.lock", "open,write,fsync", LOCK, PASSING + FULL + DENIED, 3),
    ("job.lock", "lock", LOCK, LOCKS, 3),
    ("train.log", "open,write", "/train.log", PASSING + FULL + DENIED, 3),
    ("predictions", "write,fsync,rename", "predictions.npz", PASSING + FULL, 3),
    ("provenance.json", "open,write,fsync,rename", "provenance.json", PASSING + FULL + DENIED, 3),
    ("config.json and order.json", "open,read", "/config.json,/order.json", PASSING + DENIED, 3),
    ("the queue", "open,read", "/knockout.db", PASSING + DENIED, 12),
    ("the queue", "write,fsync", "/knockout.db", PASSING + FULL, 12),
    ("the queue", "lock", "/knockout.db", LOCKS, 12),
    ("captures", "open,read", "/data/Loc", PASSING + DENIED, 2),
)
"""For each kind: its words, the calls, parts of paths, errors, and the latest call that may be the first to fail."""


def enter_table() -> None:
    for what, calls, path, numbers, latest_first in TABLE:
        how = f"{', '.join(numbers)}; up to three times, or {STRETCH} times in some seconds"
        name = f"errors of {what}: {calls.replace(',', ', ')}"
        ERRORS.kind(name, how, needs=needs_library)(refuse(calls, path, numbers, latest_first))


enter_table()


@ERRORS.kind(
    "errors under a command",
    "some system calls of `status`, `plan`, `gc` and others are refused",
    needs=needs_library,
    weight=2,
)
def refuse_command(storm: Storm) -> None:
    words = storm.random.choice(COMMANDS)
    _, calls, path, numbers, _ = storm.random.choice(TABLE)
    number = getattr(errno, storm.random.choice(numbers))
    refusal = Refusal(calls=calls, number=number, path=path, first=storm.random.randint(1, 6), count=2, seconds=60)
    storm.machine.latest += f" (`knockout {' '.join(words)}`, {calls} of {path}, {errno.errorcode[number]})"
    storm.machine.may_refuse(*words, extra=refusal.environment)
    storm.machine.excuse_all()  # it may have been `stop`


@ERRORS.kind("a folder without locks", "flock and fcntl say ENOSYS or ENOLCK for a while", needs=needs_library)
def refuse_locks(storm: Storm) -> None:
    number = storm.random.choice((errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP))
    refusal = Refusal(calls="lock", number=number, path="/results/", count=10**6, seconds=REFUSAL_SECONDS)
    storm.machine.may_refuse("status", extra=refusal.environment)
    meet(storm, refusal)
