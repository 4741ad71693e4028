"""What a run costs beyond its training: jobs that find their result there and leave, two at a time."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Row
from model.run_folder import Result, RunFolder
from orchestrator.launchers.forked import AnyJob, Launcher
from orchestrator.launchers.local import Job, Slot, make_slots

ROOT = Path(__file__).parents[1]
RUNS = {"forked": 200, "alone": 20}
Start = Callable[[RunFolder, Slot], AnyJob]


def build_folders(root: Path, count: int) -> list[RunFolder]:
    folders = [RunFolder(root / f"run-{number}") for number in range(count)]
    for folder in folders:
        folder.path.mkdir(exist_ok=True)
        folder.write_result(Result(state="done", reason="there already", epochs=1))
    return folders


def seconds_a_run(folders: list[RunFolder], start: Start) -> float:
    """Run all of them, two at a time, after one that pays for what is paid once."""
    slots = make_slots(2, 0, 2)
    first, *rest = folders
    drain([start(first, slots[0])])
    started = time.perf_counter()
    live: list[AnyJob] = []
    for folder in rest:
        while len(live) == len(slots):
            live = [job for job in live if job.exit_status() is None]
        free = next(slot for slot in slots if all(job.slot is not slot for job in live))
        live.append(start(folder, free))
    drain(live)
    return (time.perf_counter() - started) / len(rest)


def drain(jobs: list[AnyJob]) -> None:
    for job in jobs:
        while job.exit_status() is None:
            time.sleep(0.001)


def bench_overhead() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        launcher = Launcher(ROOT)
        forked = seconds_a_run(
            build_folders(Path(folder), RUNS["forked"]), lambda run, slot: launcher.start(run, ROOT, "", slot)
        )
        launcher.close()
        alone = seconds_a_run(build_folders(Path(folder), RUNS["alone"]), lambda run, slot: Job(run, ROOT, ROOT, slot))
    what = f"starting and ending a job, {1000 * forked:.0f} ms a run"
    return [
        Row(what, f"a process that imports for itself, {1000 * alone:.0f} ms", f"{forked / alone:.3f}", "50 ms a run")
    ]
