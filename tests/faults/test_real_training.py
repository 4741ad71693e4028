"""A real training that is killed again and again has the numbers of an undisturbed one, bit for bit."""

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.inspection import inspect

MOMENTS = int(os.environ.get("FAULTS_REAL_MOMENTS", "4"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
TIMES = ("seconds", "cpu_seconds", "data_seconds", "bursts_per_second", "peak_memory_bytes")
"""Fields of an epoch that measure its speed, not its numbers."""
KILLS = ("kill -9 of its jobs", "kill -9 of `work`", "kill -9 of `work` and its jobs", "SIGTERM to `work`")


def numbers_of(folder: Path) -> dict[str, Any]:
    """Return a run's epochs, result and predictions, without durations."""
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
    """Kill jobs, `work` or both, as the name of the kind says."""
    works = [work.pid for work in machine.works] if "`work`" in name else []
    jobs = machine.jobs() if "job" in name else []
    machine.kill(works + jobs, "TERM" if name.startswith("SIGTERM") else "KILL")


class Killing:
    """Kills trainings in each way in turn, each time at a random epoch."""

    def __init__(self, machine: Any) -> None:
        self.machine, self.random, self.num_seeds = machine, random.Random(SEED), 1

    def queue(self) -> None:
        self.machine.must("queue", "add", "baseline", "E5", "--seeds", str(self.num_seeds))

    def refill(self) -> None:
        """Queue more runs where all are done."""
        if len(self.machine.results()) == len(self.machine.folders()):
            self.num_seeds += 1
            self.queue()

    def happen(self, name: str) -> None:
        target = count_epochs(self.machine) + self.random.randint(1, 8)

        def is_time() -> Any:
            self.refill()
            return count_epochs(self.machine) >= target and self.machine.jobs()

        self.machine.wait_while_working(is_time, count=1)
        strike(self.machine, name)
        self.machine.counts[name] += 1
        self.machine.look()


def test_a_training_that_is_killed_again_and_again_gives_the_same_numbers(
    real_study: Path, real_machine: Any, tell: Any
) -> None:
    """Laws 3 and 4, with the code that is shipped."""
    started, machine = time.monotonic(), real_machine
    killed, unharmed = machine.repo, machine.repo.parent / "unharmed" / "study"
    for repo in (killed, unharmed):
        shutil.copytree(real_study, repo, symlinks=True)
    before, killing = machine.picture(), Killing(machine)
    for number in range(MOMENTS):
        killing.happen(KILLS[number % len(KILLS)])
    machine.finish()
    inspect(machine, before)
    machine.counts["seconds"] = round(time.monotonic() - started)
    tell("faults at random moments, real training", machine.counts)
    assert machine.losses == []
    machine.repo = unharmed
    killing.queue()
    machine.must("work", "--slots", machine.slots)
    never_stopped = {folder.path.name: numbers_of(folder.path) for folder in machine.folders()}
    machine.repo = killed
    assert {folder.path.name: numbers_of(folder.path) for folder in machine.folders()} == never_stopped
