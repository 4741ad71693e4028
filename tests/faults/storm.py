"""A campaign of faults: a seeded choice of kinds and moments, while `work` goes on and always has runs."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.runs.folder import RunFolder
from tests.faults.inspection import inspect
from tests.faults.kinds import Kind, Kinds
from tests.faults.machine import Counts, Machine

MOMENTS = int(os.environ.get("FAULTS_MOMENTS", "0"))
"""How many faults a soak makes; 0 for the few that `make test` makes."""
SEED = int(os.environ.get("FAULTS_SEED", "1"))
REFILL_SEEDS = 6 if MOMENTS else 2
"""How many seeds are added where few runs wait; the campaign has to finish each of their runs."""
KIND = "kind: "
"""Prefix of a kind's name in the counts of a machine."""


class Storm:
    """The faults that one machine meets."""

    def __init__(self, machine: Machine, seed: int = SEED, num_works: int = 2) -> None:
        self.machine, self.random, self.num_works = machine, random.Random(seed), num_works
        self.picture = machine.picture()
        self.edited: dict[Path, str] = {}
        self.num_seeds = 2

    def rage(self, kinds: Kinds, moments: int) -> None:
        """Make `moments` faults, each at a random moment."""
        for kind in self.draw(kinds.possible(), moments):
            self.wait_a_moment()
            self.strike(kind)
        self.restore_checkout()

    def draw(self, possible: list[Kind], moments: int) -> list[Kind]:
        """Draw kinds in a random order: each kind once where `moments` allows that, further ones by weight."""
        drawn = self.random.sample(possible, min(moments, len(possible)))
        drawn += self.random.choices(possible, [kind.weight for kind in possible], k=moments - len(drawn))
        self.random.shuffle(drawn)
        return drawn

    def strike(self, kind: Kind) -> None:
        """Make a fault, and look at once for losses."""
        self.machine.latest = f"{kind.name}, fault {self.machine.counts.total() + 1}"
        kind.make(self)
        self.machine.counts[f"{KIND}{kind.name}"] += 1
        self.machine.look()

    def settle(self) -> Counts:
        """Finish every run, look for losses, and return all counts."""
        self.machine.finish()
        inspect(self.machine, self.picture)
        return self.machine.counts

    # ---- moments

    def wait_a_moment(self) -> None:
        if self.random.random() < 0.3:
            self.machine.keep_working(self.num_works)
            time.sleep(self.random.uniform(0.0, 0.6))  # wherever it is by then
            return
        self.go_on(self.random.randint(1, 60))

    def go_on(self, num_lines: int = 20) -> None:
        """Wait until jobs have written `num_lines` more lines of the journal."""
        target = self.machine.count_lines() + num_lines
        self.wait(lambda: self.machine.count_lines() >= target)

    def wait(self, is_so: Callable[[], Any]) -> Any:
        """Wait until `is_so` returns a true value, while `work` goes on and always has runs."""

        def look() -> Any:
            self.refill()
            return is_so()

        return self.machine.wait_while_working(look, self.num_works)

    def refill(self) -> None:
        """Queue more runs before all are done."""
        if sum(not folder.result.exists() for folder in self.machine.folders()) < 4:
            self.restore_checkout()
            self.num_seeds += REFILL_SEEDS
            self.machine.must("queue", "add", "--seeds", str(self.num_seeds))

    # ---- choices

    def pick_job(self) -> int:
        return int(self.random.choice(self.wait(self.machine.jobs)))

    def pick_work(self) -> Any:
        self.machine.keep_working(1)
        return self.random.choice(self.machine.works)

    def pick_unfinished(self) -> RunFolder:
        """Kill every process, and return a run that was under way."""

        def under_way() -> list[RunFolder]:
            folders = self.machine.folders()
            return [folder for folder in folders if not folder.result.exists() and count_lines(folder) > 1]

        while True:
            self.wait(under_way)
            self.machine.power_off()
            if found := under_way():
                return self.random.choice(found)

    def pick_finished(self) -> RunFolder:
        """Return a run that is done."""

        def done() -> list[RunFolder]:
            folders = self.machine.folders()
            return [folder for folder in folders if folder.result.exists() and folder.predictions.exists()]

        return self.random.choice(self.wait(done))

    def restore_checkout(self) -> None:
        """Undo the user's edits, after a check that nobody else changed the checkout."""
        self.machine.compare(self.picture)
        for path, content in self.edited.items():
            path.write_text(content)
        self.edited.clear()
        self.picture = self.machine.picture()


def count_lines(folder: RunFolder) -> int:
    """Count the lines of a run's epochs, also where a fault has spoilt them."""
    return folder.epochs.read_bytes().count(b"\n") if folder.epochs.is_file() else 0
