"""Kinds of faults: a process of a stranger's run dies. Their machine, and what must be true of it."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.processes import MARK, run_mark
from orchestrator.runs.folder import RunFolder
from orchestrator.supervisor import read_attempts
from tests.builders.stranger_repo import STRANGERS
from tests.builders.study_harness import NO_BYTE_CODE
from tests.faults.inspection import wait_until_empty
from tests.faults.kinds import Kinds
from tests.faults.machine import Machine, command_line, parent_of
from tests.faults.storm import Storm

STRANGER_DEATHS = Kinds("a process of a stranger's script dies")
STYLES = {
    "globals": ("max_iters: 20, eval_interval: 5", "max_iters: 40, eval_interval: 5", "step_seconds"),
    "torchrun": ("steps: 10", "steps: 30", "step-seconds"),
}
"""Script -> what its campaign says of the number of steps, what it says here, and its parameter for their length."""
STEP_SECONDS = {"globals": 0.08, "torchrun": 0.1}
STEPS = {"globals": tuple(range(0, 41, 5)), "torchrun": tuple(range(1, 31))}
"""Script -> the steps that it prints."""
SLOTS = {"globals": "2", "torchrun": "1"}
TOLD = re.compile(rb"^step (\d+): .*loss .*$", re.MULTILINE)
"""A line that both scripts print right after they have saved the step."""
kind = STRANGER_DEATHS.kind


class StrangerMachine(Machine):
    """A machine on which the campaign of a stranger's script waits."""

    def __init__(self, root: Path, style: str) -> None:
        super().__init__(root)
        self.style, self.slots = style, SLOTS[style]
        self.finished: dict[str, tuple[bytes, bytes]] = {}
        """Finished run -> the bytes of its result and of its attempts when both were first seen."""
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        shutil.copytree(STRANGERS / style, self.repo, ignore=NO_BYTE_CODE)
        few, many, pace = STYLES[style]
        self.edit("experiments.yaml", few, many)
        if style == "torchrun":
            # Its losses come so near to 0 that noise is ten times the lowest.
            self.edit("experiments.yaml", "divergence_factor: 10, ", "")
        self.edit("experiments.yaml", f"{pace}: 0.0", f"{pace}: {STEP_SECONDS[style]}")

    def supervisors(self) -> list[int]:
        """Return the living processes that the locks of the run folders name."""
        named = set()
        for folder in self.folders():
            with contextlib.suppress(OSError, ValueError):
                named.add(int(json.loads(folder.lock.read_bytes())["pid"]))
        return [pid for pid in self.processes() if pid in named]

    def commands(self) -> list[int]:
        """Return the commands of the runs: Python or torchrun."""
        supervisors = self.supervisors()
        return [pid for pid in self.scripts() if parent_of(pid) in supervisors]

    def workers(self) -> list[int]:
        """Return the processes that torchrun has started."""
        commands = self.commands()
        return [pid for pid in self.scripts() if parent_of(pid) in commands]

    def scripts(self) -> list[int]:
        return [pid for pid in self.processes() if b"train.py" in command_line(pid)]

    def servers(self) -> list[int]:
        """Return the processes that fork supervisors, without the supervisors."""
        servers = [pid for pid in self.processes() if b"orchestrator.launch.supervisors" in command_line(pid)]
        return [pid for pid in servers if parent_of(pid) not in servers and pid not in self.supervisors()]

    def look(self) -> None:
        """Check after a fault that no finished run has changed."""
        super().look()
        for folder in self.folders():
            with contextlib.suppress(FileNotFoundError):
                now = (folder.result.read_bytes(), folder.attempts.read_bytes())
                # `retry` takes the result of a failed run away, so only those that are done must stay.
                if folder.path.name in self.failed:
                    continue
                if self.finished.setdefault(folder.path.name, now) != now:
                    self.counts["finished runs trained twice"] += 1
                    self.lose(f"{folder.path.name}: it had a result, and that or its attempts changed")
                    self.finished[folder.path.name] = now


class StrangerStorm(Storm):
    """Faults at random moments of a clock, since a stranger's script keeps no journal."""

    def wait_a_moment(self) -> None:
        # A run fails as lost after five deaths of `work` without a step between them, which is no fault here.
        target = self.random.choice((0, 1)) and self.count_told() + 1
        self.wait(lambda: self.count_told() >= target)
        until = time.monotonic() + self.random.uniform(0.1, 4.0)
        self.wait(lambda: time.monotonic() > until)

    def count_told(self) -> int:
        """Count the lines with a step in all logs."""
        logs = (folder.log for folder in self.machine.folders())
        return sum(len(TOLD.findall(log.read_bytes())) for log in logs if log.exists())

    def settle_strangers(self) -> None:
        """Finish every run, collect what is left of the campaign, and look for losses."""
        assert isinstance(self.machine, StrangerMachine)
        self.machine.finish()
        self.machine.must("report")
        self.machine.must("gc")
        inspect_strangers(self.machine, self.picture)


def pick(storm: Storm, find: str) -> list[int]:
    """Return one of the processes that a method of the machine names, once there is one."""
    return [int(storm.random.choice(storm.wait(getattr(storm.machine, find))))]


@kind("kill -9 of a supervisor", "SIGKILL to the process that `job.lock` names")
def kill_supervisor(storm: Storm) -> None:
    storm.machine.kill(pick(storm, "supervisors"))


@kind("kill -9 of a command", "SIGKILL to the script's process, or to torchrun", weight=2)
def kill_command(storm: Storm) -> None:
    storm.machine.kill(pick(storm, "commands"))


@kind("kill -9 of a torchrun worker", "SIGKILL to one of two; each leads a session of its own", weight=2)
def kill_worker(storm: Storm) -> None:
    storm.machine.kill(pick(storm, "workers"))


@kind("kill -9 of the server of supervisors", "SIGKILL to the process that forks them, which live on without it")
def kill_server(storm: Storm) -> None:
    storm.machine.kill(pick(storm, "servers"))


@kind("kill -9 of `work` over a script", "its supervisors go on, for a moment or to their end")
def kill_work(storm: Storm) -> None:
    pick(storm, "supervisors")
    storm.machine.kill([storm.pick_work().pid])


@kind("kill -9 of `work` and its supervisors", "only the script's own processes are left")
def kill_above(storm: Storm) -> None:
    supervisors = storm.wait(storm.machine.supervisors)
    storm.machine.kill([work.pid for work in storm.machine.works] + supervisors)


@kind("kill -9 of everything of a script", "as when the power fails")
def cut_power(storm: Storm) -> None:
    pick(storm, "commands")
    storm.machine.power_off()


def inspect_strangers(machine: StrangerMachine, before: dict[str, object]) -> None:
    """Count every difference between the machine and what must be true of it."""
    machine.look()
    states = {row["id"]: row["state"] for row in machine.rows()}
    for folder in machine.folders():
        result = folder.read_result()
        if result is None or (result.state, states.get(folder.path.name)) != ("done", "done"):
            machine.lose(f"{folder.path.name}: the queue says {states.get(folder.path.name)}, its folder {result}")
        _check_steps(machine, folder)
    machine.compare(before)
    left = {
        "processes": wait_until_empty(machine.processes),
        "marked processes": wait_until_empty(lambda: list(marked(machine.folders()))),
        "worktrees": machine.git("worktree", "list").splitlines()[1:],
        "folders in the cache": [str(path) for path in machine.cache.glob("knockout/*/*")],
    }
    for what, found in left.items():
        if found:
            machine.counts["leftovers"] += len(found)
            machine.lose(f"{what}: {found}")
    if not list((machine.repo / "reports").glob("*/report.md")):
        machine.lose("no report is there")
    machine.counts["runs"] += len(states)
    machine.counts["losses of any kind"] += len(machine.losses)


def marked(folders: Iterable[RunFolder]) -> Iterable[int]:
    """Yield every process that carries the mark of one of these runs."""
    marks = {f"{MARK}={run_mark(folder.path)}".encode() for folder in folders}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and marks.intersection((entry / "environ").read_bytes().split(b"\0")):
                yield int(entry.name)


def _check_steps(machine: StrangerMachine, folder: RunFolder) -> None:
    name, style, parts = folder.path.name, machine.style, log_parts(folder)
    lost = lost_steps(parts, is_told_again=style == "globals")
    machine.counts["checkpointed steps lost"] += lost
    machine.counts["attempts"] += len(parts)
    if lost:
        machine.lose(f"{name}: {lost} checkpointed steps were trained again; its steps are {steps_of(parts)}")
    recorded = [record.step for record in folder.read_epochs()]
    missing = [step for step in STEPS[style] if step not in recorded]
    # A kill between the checkpoint and the line leaves no line.
    if recorded != sorted(set(recorded)) or len(missing) >= len(parts) or STEPS[style][-1] not in recorded:
        machine.lose(f"{name}: after {len(parts)} attempts its records are {recorded}")
    if style == "globals" and (other := other_lines(folder, machine.repo)):
        machine.lose(f"{name}: a run that was never stopped does not print {sorted(other)}")


def log_parts(folder: RunFolder) -> list[bytes]:
    """Return what each attempt of a run has printed."""
    log, attempts = folder.log.read_bytes(), read_attempts(folder.attempts)
    ends = [attempt.log_bytes for attempt in attempts[1:]] + [len(log)]
    return [log[attempt.log_bytes : end] for attempt, end in zip(attempts, ends, strict=True)]


def steps_of(parts: Sequence[bytes]) -> list[list[int]]:
    return [[int(step) for step in TOLD.findall(part)] for part in parts]


def lost_steps(parts: Sequence[bytes], *, is_told_again: bool) -> int:
    """Count the steps that an attempt trained again though an earlier one had told them, so had saved them.

    Args:
        parts: what each attempt printed, the oldest first.
        is_told_again: whether an attempt begins with the line of the step that it goes on from.
    """
    lost, newest = 0, -1
    for steps in steps_of(parts):
        if steps:
            lost += max(0, newest - steps[0] + (not is_told_again)) if newest >= 0 else 0
            newest = max(newest, *steps)
    return lost


def other_lines(folder: RunFolder, repo: Path) -> set[bytes]:
    """Return the lines of a run that the same command, never stopped, does not print; an empty line for a missing one.

    Raises:
        CalledProcessError: the command fails.
    """
    arguments = json.loads(folder.launch.read_bytes())["arguments"]
    words = ["--step_seconds=0.0" if word.startswith("--step_seconds=") else word for word in arguments]
    place = repo.parent / "never-stopped"
    shutil.copytree(repo, place, ignore=shutil.ignore_patterns(".git", "results", "reports"))
    try:
        whole = subprocess.run([sys.executable, *words[1:]], cwd=place, check=True, capture_output=True).stdout
    finally:
        shutil.rmtree(place)
    wanted, told = (set(_lines(text)) for text in (whole, folder.log.read_bytes()))
    return (told - wanted) | ({b""} if wanted - told else set())


def _lines(text: bytes) -> list[bytes]:
    return [found.group() for found in TOLD.finditer(text)]
