"""`python -m benchmarks.guards`: how often the guard stops a run that is not slow, and how soon one that is.

Two guarded runs at a time do a small real computation under the real watcher and the real probe. A neighbour takes the
processor away from them. Their reference was measured before the neighbour started. An epoch's processor time is its
wall-clock time here, because a virtual machine on a busy host counts it so.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.page import publish
from orchestrator.launch.forked import AnyJob
from orchestrator.launch.guards import Pace, fastest_pace, rule
from orchestrator.launch.local import Job, JobCommand
from orchestrator.launch.paired_probe import PairedProbe, Side
from orchestrator.launch.slots import Slot
from orchestrator.launch.watcher import LiveRun
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.members import mark_variables
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.probes import read_probes
from orchestrator.runs.states import RunState

BEGIN, END = "<!-- begin: written by python -m benchmarks.guards -->", "<!-- end -->"
CODE = Path(__file__).parent / "tiny_job"
PROBE = (sys.executable, "-m", "model.probe")
SLOT = Slot("cpu0", {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
GUARDS = GuardSpec(relative_to_reference=1.5, warmup_epochs=1, slow_epochs=2)
EPOCHS = 12
SLOW = 2.2
"""Computation of the slow arm, as a multiple of the reference's."""
AT_ONCE = 2
LOOK_SECONDS = 0.01
DUTY_SECONDS = 0.02
"""Seconds that a job with half of the time runs, and then stands still."""
BUSY_LOOP = """\
import random, time
chance = random.Random(0)
while True:
    until = time.monotonic() + chance.uniform(0.2, 1.0)
    while time.monotonic() < until:
        pass
    time.sleep(chance.uniform(0.2, 1.0))
"""


@dataclass(frozen=True)
class Guarded:
    """The outcome of one guarded run."""

    ruled_at: int | None
    """The number of epochs before the guard stopped the run as too slow."""
    suspected_at: int | None
    """The same number if only epochs counted, without a probe."""
    num_probes: int


@dataclass(frozen=True)
class Neighbour:
    """A process that takes the processor away."""

    name: str
    num_busy_loops: int = 0
    has_half_time: bool = False
    """Whether each job must stand still for half of the time."""

    @contextmanager
    def present(self) -> Iterator[None]:
        """Run the busy loops inside the `with` block."""
        loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(self.num_busy_loops)]
        try:
            yield
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()

    @contextmanager
    def on(self, live: LiveRun) -> Iterator[None]:
        """Stop and continue a job in turn, if this neighbour does so; like a quota, never resume a paused job."""
        is_over = threading.Event()
        ticking = threading.Thread(target=_tick, args=(live, is_over))
        if self.has_half_time:
            ticking.start()
        try:
            yield
        finally:
            is_over.set()
            if self.has_half_time:
                ticking.join()


NEIGHBOURS = (
    Neighbour("none"),
    Neighbour("four busy loops, on and off", num_busy_loops=4),
    Neighbour("each job on half of its time", has_half_time=True),
)


def _tick(live: LiveRun, is_over: threading.Event) -> None:
    with suppress(ProcessLookupError):
        while not is_over.is_set():
            for number in (signal.SIGSTOP, signal.SIGCONT):
                if not live.is_paused:
                    os.killpg(live.job.pid, number)
                is_over.wait(DUTY_SECONDS)


def make_folder(root: Path, name: str, cost: float, num_epochs: int) -> RunFolder:
    """Make the folder of a run whose epochs cost a multiple of the reference's."""
    folder = RunFolder(root / name)
    folder.path.mkdir()
    folder.config.write_text(json.dumps({"cost": cost, "epochs": num_epochs}))
    return folder


def _command(folder: RunFolder) -> JobCommand:
    arguments = (sys.executable, "-m", "model", str(folder.path), "--data-folder", str(folder.path))
    return JobCommand(arguments=arguments, folder=CODE, environment=SLOT.environment | mark_variables(folder))


def measure_reference(root: Path) -> tuple[RunFolder, Pace]:
    """Train the reference alone."""
    folder = make_folder(root, "reference", 1.0, EPOCHS)
    job = Job(folder, _command(folder), SLOT)
    while job.exit_status() is None:
        time.sleep(LOOK_SECONDS)
    pace = fastest_pace(folder.read_epochs(), GUARDS)
    assert pace is not None, folder.log_tail()
    return folder, pace


def guard_run(folder: RunFolder, reference: RunFolder, pace: Pace, neighbour: Neighbour) -> Guarded:
    """Train a guarded run to its end."""
    job = Job(folder, _command(folder), SLOT)
    live = LiveRun(id=folder.path.name, num_epochs=EPOCHS, folder=folder, job=job)

    def probe(job: AnyJob) -> PairedProbe:
        return PairedProbe(Side(folder.config, CODE, PROBE), Side(reference.config, CODE, PROBE), job.slot, [job.pid])

    ruling, suspected_at = None, None
    with neighbour.on(live):
        while ruling is None and job.exit_status() is None:
            ruling = live.check(GUARDS, lambda: pace, start_probe=probe)
            if suspected_at is None and rule(live.epochs, GUARDS, pace) is not None:
                suspected_at = len(live.epochs)
            time.sleep(LOOK_SECONDS)
    live.kill()
    probes = read_probes(folder)
    return Guarded(
        ruled_at=probes[-1].epoch if ruling is not None and ruling.state is RunState.TOO_SLOW else None,
        suspected_at=suspected_at,
        num_probes=len(probes),
    )


def guard_runs(root: Path, cost: float, neighbour: Neighbour, num_runs: int) -> list[Guarded]:
    """Train runs of the same cost beside a neighbour, two at a time."""
    root.mkdir()
    reference, pace = measure_reference(root)
    folders = [make_folder(root, f"run{number}", cost, EPOCHS) for number in range(num_runs)]
    with neighbour.present(), ThreadPoolExecutor(AT_ONCE) as slots:
        return list(slots.map(lambda folder: guard_run(folder, reference, pace, neighbour), folders))


def equal_line(found: list[Guarded], neighbour: Neighbour) -> str:
    """Return a table row about runs that cost as much as their reference."""
    suspected = sum(run.suspected_at is not None for run in found)
    ruled = sum(run.ruled_at is not None for run in found)
    probes = sum(run.num_probes for run in found)
    return f"| {neighbour.name} | {len(found)} | {suspected} | {probes} | {ruled} |"


def slow_line(found: list[Guarded], neighbour: Neighbour) -> str:
    """Return a table row about slow runs."""
    ruled = [run.ruled_at for run in found if run.ruled_at is not None]
    after = f"{median(ruled):g} | {max(ruled)}" if ruled else "- | -"
    probes = sum(run.num_probes for run in found) / len(found)
    return f"| {neighbour.name} | {len(found)} | {len(ruled)} | {after} | {probes:.1f} |"


def lines(num_equal: int, num_slow: int) -> Iterator[str]:
    """Train and yield both tables, line by line."""
    limit = f"Limit {GUARDS.relative_to_reference:g} x the reference's epoch"
    yield f"{limit}, {EPOCHS} epochs a run, {AT_ONCE} runs at a time on {os.cpu_count()} cores."
    yield "Runs that cost what their reference costs:"
    yield ""
    yield "| neighbour | runs | slow by their epochs | probes | ruled too_slow |"
    yield "| --- | --- | --- | --- | --- |"
    yield from _measure(1.0, num_equal, equal_line)
    yield ""
    fewest = GUARDS.warmup_epochs + GUARDS.slow_epochs
    yield f"Runs that cost {SLOW:g} x as much; a ruling needs at least {fewest} epochs:"
    yield ""
    yield "| neighbour | runs | ruled too_slow | after epochs, median | at most | probes a run |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield from _measure(SLOW, num_slow, slow_line)


def _measure(cost: float, num_runs: int, write: Callable[[list[Guarded], Neighbour], str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        for number, neighbour in enumerate(NEIGHBOURS):
            yield write(guard_runs(Path(name) / str(number), cost, neighbour, num_runs), neighbour)


def main(words: list[str] | None = None) -> int:
    """Train, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guards", description="False alarms of the speed guard.")
    parser.add_argument("--quick", action="store_true", help="a few runs: the figures say little")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(*((2, 2) if options.quick else (70, 20))), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
