"""Times a run and its reference in turns: two processes of `model.probe` on one slot, each in its own code.

A machine's speed drifts, so two turns that follow each other are a fair pair. Before its turn each process waits for a
byte from the other, so only one computes at a time. They never wait for this process.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from orchestrator.launch.slots import Slot
from orchestrator.runs.probes import TURNS, Measurement

LIMIT_SECONDS = 300
"""Longest time of a probe with its start. Compilation for a GPU may take a minute of it."""
SHARES = (1, 2, 4, 8)
"""Divisors of the batch size. If memory runs out, both sides start again with the next one."""

ERROR_BYTES = 8192
"""Bytes of a process's last output that are kept, to say why it died."""


class Turn(Struct, frozen=True, kw_only=True):
    """A line that `model.probe` writes about a turn."""

    epoch_seconds: float | None = None
    problem: str | None = None
    is_out_of_memory: bool = False


@dataclass(frozen=True)
class Side:
    """What one process trains: a run's configuration file and the folder with its code."""

    config: Path
    code: Path
    command: tuple[str, ...]
    """What times turns."""


class PairedProbe:
    """A probe under way. The caller asks `measurement` now and then, and calls `close` at the end."""

    def __init__(self, arm: Side, reference: Side, slot: Slot, paused_groups: Sequence[int]) -> None:
        """Start both processes.

        Args:
            arm: the run that looks too slow. It has the first turn.
            reference: the run to compare with.
            slot: where both compute.
            paused_groups: process groups of the paused jobs, the run's own last. The last process of the probe lets
                them run on, even if this one died.

        Raises:
            OSError: a process cannot be started.
        """
        self._sides, self._slot, self._paused_groups = (arm, reference), slot, paused_groups
        self._deadline = time.monotonic() + LIMIT_SECONDS
        self._share = 0
        self.is_over = False
        """Whether the last measurement is final. Both processes have ended, one has failed, or the time is up."""
        self._processes = self._start(SHARES[0])

    def _start(self, share: int) -> list["_Process"]:
        (arm_reads, reference_writes), (reference_reads, arm_writes) = os.pipe(), os.pipe()
        limit = max(1, int(self._deadline - time.monotonic()))
        words = ["--turns", str(TURNS + 1), "--share", str(share), "--limit", str(limit)]
        # The reference has the last turn, so its end is the end of the probe.
        # Code from before the second slot of a GPU takes one group, the last that is named.
        last = [word for group in self._paused_groups for word in ("--resume", str(group))]
        ends = ((arm_reads, arm_writes, ["--first"]), (reference_reads, reference_writes, last))
        started: list[_Process] = []
        try:
            for side, (reads, writes, own) in zip(self._sides, ends, strict=True):
                started.append(_Process(side, [*words, *own], self._slot, reads, writes))
        except OSError:
            for process in started:
                process.close()
            raise
        finally:
            for end in (arm_reads, reference_writes, reference_reads, arm_writes):
                os.close(end)
        return started

    def measurement(self) -> Measurement:
        """Return what was measured so far. If memory ran out, start both again with smaller batches."""
        statuses = [process.status() for process in self._processes]
        # Ask for the ends first: then all that an ended process wrote can be read.
        self.is_over = None not in statuses or any(statuses) or time.monotonic() > self._deadline
        arm, reference = (process.read() for process in self._processes)
        refused = next((turn for turn in (*arm, *reference) if turn.problem is not None), None)
        # The paused job keeps its memory, so both sides together may not fit.
        # Equal smaller batches keep the comparison fair.
        larger = [share for share in SHARES if share > SHARES[self._share]]
        if refused is not None and refused.is_out_of_memory and larger:
            return self._start_anew(larger[0])
        problem = refused.problem if refused is not None else self._find_problem() if self.is_over else None
        return _pair(arm, reference, SHARES[self._share], problem)

    def _start_anew(self, share: int) -> Measurement:
        self.close()
        self._share, self.is_over = self._share + 1, False
        try:
            self._processes = self._start(share)
        except OSError as error:
            self.is_over = True
            return Measurement(share=share, problem=str(error))
        return Measurement(share=share)

    def _find_problem(self) -> str | None:
        """Say why the turns ended early, if neither process has said so."""
        if time.monotonic() > self._deadline:
            return f"the turns took longer than {LIMIT_SECONDS} s"
        failed = [process for process in self._processes if process.status()]
        return failed[0].describe_death() if failed else None

    def close(self) -> None:
        """End both processes."""
        for process in self._processes:
            process.close()


def _pair(arm: Sequence[Turn], reference: Sequence[Turn], share: int, problem: str | None) -> Measurement:
    """Pair turn with turn. Drop the first pair, in which one side may still have been starting."""
    sides = ([turn.epoch_seconds for turn in of if turn.epoch_seconds is not None] for of in (arm, reference))
    pairs = list(zip(*sides, strict=False))[1:]
    return Measurement(
        arm_seconds=tuple(of_arm for of_arm, _ in pairs),
        reference_seconds=tuple(of_reference for _, of_reference in pairs),
        share=share,
        problem=problem,
    )


class _Process:
    """One side of a probe."""

    def __init__(self, side: Side, words: Sequence[str], slot: Slot, reads: int, writes: int) -> None:
        self._turns: list[Turn] = []
        self._rest, self._errors = b"", b""
        self._command = side.command
        command = [*side.command, str(side.config.resolve()), "--pass-to", str(writes)]
        # `-m` looks in the working folder first, so each side runs its own checkout's `model`.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        self._process = subprocess.Popen(
            [*command, *words],
            cwd=side.code,
            env=environment | slot.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=reads,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writes,),
            start_new_session=True,
        )
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        return self._process.stdout, self._process.stderr

    def status(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def read(self) -> list[Turn]:
        """Return all turns that it has written so far."""
        answers, errors = (_read_now(pipe) for pipe in self._pipes())
        *lines, self._rest = (self._rest + answers).split(b"\n")
        for line in lines:
            # An experiment's code may print lines of its own. They are no turns.
            with suppress(msgspec.DecodeError):
                self._turns.append(msgspec.json.decode(line, type=Turn))
        self._errors = (self._errors + errors)[-ERROR_BYTES:]
        return self._turns

    def describe_death(self) -> str:
        """Say how it ended, and quote the last line that it printed."""
        last = self._errors.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        name = " ".join((Path(self._command[0]).name, *self._command[1:]))
        return f"`{name}` ended with status {self.status()}: {last[0]}"

    def close(self) -> None:
        """End it and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in self._pipes():
            pipe.close()


def _read_now(pipe: IO[bytes]) -> bytes:
    """Read what is there, without a wait; nothing from a closed pipe."""
    parts = []
    while not pipe.closed and (content := pipe.read(65536)):
        parts.append(content)
    return b"".join(parts)
