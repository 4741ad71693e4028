"""One step of the check: a command with a limit, and what its ending comes to."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "KNOCKOUT_GPU_CHECK"
"""Environment variable of a step's processes, by which they are found also outside the step's group."""
GRACE_SECONDS = 10.0
"""Seconds between the request to end and the kill."""
NUM_LAST_LINES, LINE_WIDTH = 8, 220
CANNOT = 2
"""Exit status of a command that this machine cannot carry out."""


@dataclass(frozen=True)
class Ending:
    """How a step's process ended."""

    status: int
    seconds: float
    was_ended: bool
    """Whether its limit ended it."""
    lines: tuple[str, ...]
    """The last lines that it printed, without empty ones."""

    @property
    def last_line(self) -> str:
        """The last line that it printed."""
        return self.lines[-1] if self.lines else "it printed nothing"


@dataclass(frozen=True)
class Step:
    """One command, its limit, and how to tell that it did nothing."""

    name: str
    limit_seconds: float
    command: tuple[str, ...]
    explain_unshown: Callable[[Ending], str]
    """Says why an ending shows nothing; empty if it shows something."""


@dataclass(frozen=True)
class Verdict:
    """What a step came to: ok, failed, not shown or time."""

    step: str
    word: str
    seconds: float
    why: str
    lines: tuple[str, ...]

    def summary(self) -> str:
        """Return the step's line of the summary."""
        return f"{self.step:<11} {self.word:<9} {self.seconds:4.0f} s  {self.why}".rstrip()


def judge(step: Step, ending: Ending) -> Verdict:
    """Say what an ending comes to. Pure."""
    if ending.was_ended:
        word, why = "time", f"ended after {step.limit_seconds:g} s"
    elif unshown := step.explain_unshown(ending):
        word, why = "not shown", unshown
    elif ending.status != 0:
        word, why = "failed", f"status {ending.status}"
    else:
        word, why = "ok", ""
    return Verdict(step.name, word, ending.seconds, why, ending.lines)


def explain_silence(ending: Ending) -> str:
    """Say that a step printed nothing, and so showed nothing."""
    return "" if ending.lines or ending.status else "it printed nothing"


def explain_no_test(ending: Ending) -> str:
    """Say that pytest ran no test: skipped tests are none. Its status is 5 if it found none at all."""
    has_passed = any(re.search(r"\b[1-9]\d* passed\b", line) for line in ending.lines)
    if ending.status not in (0, 5) or has_passed:
        return ""
    return f"no test ran: {ending.last_line.removeprefix('no test ran: ')}"


def explain_no_benchmark(ending: Ending) -> str:
    """Say that nothing was measured: status 2 means that this machine cannot be measured."""
    return ending.last_line if ending.status == CANNOT else explain_silence(ending)


def explain_no_run(root: Path, started: float, ending: Ending) -> str:
    """Say that a campaign trained nothing: a result from before shows nothing of this machine.

    Args:
        root: the project's folder.
        started: time of the clock, in seconds, from which on results count.
        ending: how the campaign's command ended.
    """
    if ending.status != 0 or any(is_newer(path, started) for path in root.glob("results/runs/*/result.json")):
        return ""
    return "no run ended in this step; move the folder `results` away, and the campaign trains again"


def is_newer(path: Path, started: float) -> bool:
    """Whether a file was written after a time of the clock, in seconds. File times may lag by less than a second."""
    return path.stat().st_mtime >= started - 1


def run_step(step: Step, log: Path, root: Path, variables: Mapping[str, str]) -> Ending:
    """Run a step until it ends or its limit ends it. No process of it stays.

    Args:
        step: what to run.
        log: the file for all that it prints.
        root: its working folder.
        variables: its environment.
    """
    mark = f"{os.getpid()}-{step.name}"
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=root,
            env={**variables, MARK: mark},
            start_new_session=True,
        )
        try:
            process.wait(step.limit_seconds)
            was_ended = False
        except subprocess.TimeoutExpired:
            was_ended = True
        finally:
            end_processes(process, mark)
    return Ending(process.returncode, time.monotonic() - started, was_ended, read_last_lines(log))


def end_processes(process: "subprocess.Popen[bytes]", mark: str, grace_seconds: float = GRACE_SECONDS) -> None:
    """Ask a step's process and its group to end, then kill what is left of the step.

    Args:
        process: the step's first process; it leads a group.
        mark: the value of `MARK` in the environment of all its processes.
        grace_seconds: how long the first process may take to end by itself.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Trainings lead groups of their own. A process may fork between the look and the kill, so look more than once.
    for _ in range(10):
        left = list(find_marked(mark))
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def find_marked(mark: str) -> Iterator[int]:
    """Yield the numbers of the processes that carry a mark. Without `/proc` there are none."""
    wanted = f"\0{MARK}={mark}\0".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        # A process of another user cannot be read, and one that has just ended is gone.
        with contextlib.suppress(OSError):
            if wanted in b"\0" + entry.read_bytes():
                yield int(entry.parent.name)


def read_last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that are not empty, each cut to a width."""
    lines = [line.rstrip() for line in log.read_text(errors="replace").splitlines()]
    return tuple(line[:LINE_WIDTH] for line in lines if line)[-NUM_LAST_LINES:]
