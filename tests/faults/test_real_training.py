"""A real training, killed again and again, gives the numbers of one that was never stopped, bit for bit."""

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

MOMENTS = int(os.environ.get("FAULTS_REAL_MOMENTS", "4"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
TIMES = ("seconds", "cpu_seconds", "data_seconds", "bursts_per_second", "peak_memory_bytes")
"""Fields of an epoch that say how fast it was, not what it came to."""
KILLS = ("kill -9 of a job", "kill -9 of `work`", "kill -9 of `work` and its jobs", "SIGTERM to `work`")


def numbers_of(folder: Path) -> dict[str, Any]:
    """What a run came to, without how long it took."""
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    with (folder / "predictions.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        predictions = {name: (arrays[name].dtype.str, arrays[name].tobytes()) for name in arrays.files}
    return {
        "epochs": [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in epochs],
        "result": json.loads((folder / "result.json").read_text()),
        "predictions": predictions,
    }


def count_epochs(machine: Any) -> int:
    return sum(len(folder.read_epochs()) for folder in machine.folders())


def strike(machine: Any, name: str) -> None:
    """Wait until a job is at work, and kill what is named."""
    jobs = machine.wait_while_working(machine.jobs, count=1)
    works = [work.pid for work in machine.works]
    signal_name = "TERM" if name.startswith("SIGTERM") else "KILL"
    machine.kill((works if "`work`" in name else []) + ([job.pid for job in jobs] if "job" in name else []), signal_name)


def test_a_training_that_is_killed_again_and_again_gives_the_same_numbers(
    real_study: Path, real_machine: Any, tell: Any
) -> None:
    """Laws 3 and 4, with the code that is shipped."""
    started, choice, machine = time.monotonic(), random.Random(SEED), real_machine
    shutil.copytree(real_study, machine.repo, symlinks=True)
    before = machine.picture()
    for number in range(MOMENTS):
        target = count_epochs(machine) + choice.randint(1, 3)
        machine.wait_while_working(lambda target=target: count_epochs(machine) >= target, count=1)
        name = KILLS[number % len(KILLS)]
        strike(machine, name)
        machine.counts[name] += 1
        machine.look()
        if name == "kill -9 of a job":
            machine.wait_for(lambda: machine.results(), "the death of the job is written down")
            machine.must("retry", "--failed")
    machine.finish()
    machine.check(before)
    machine.counts["seconds"] = round(time.monotonic() - started)
    machine.counts["losses of any kind"] = len(machine.losses)
    tell("faults at random moments, real training", machine.counts)
    assert machine.losses == []
    shutil.copytree(real_study, machine.repo.parent / "unharmed" / "study", symlinks=True)
    machine.repo = machine.repo.parent / "unharmed" / "study"
    machine.must("work", "--slots", machine.slots)
    never_stopped = {folder.path.name: numbers_of(folder.path) for folder in machine.folders()}
    machine.repo = machine.repo.parents[1] / "study"
    assert {folder.path.name: numbers_of(folder.path) for folder in machine.folders()} == never_stopped
