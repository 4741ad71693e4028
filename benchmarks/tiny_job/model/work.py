"""The computation of an epoch: as many matrix products as its configuration says."""

import json
import time
from pathlib import Path

import numpy as np

STEPS = 20
SIZE = 96
REPEATS = 40


class Work:
    """The computation of a configuration."""

    def __init__(self, config: Path) -> None:
        options = json.loads(config.read_text())
        self.epochs: int = options["epochs"]
        self._products = round(REPEATS * options["cost"])
        self._matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE))

    def run(self, num_steps: int) -> float:
        """Take some steps; return their seconds."""
        started = time.perf_counter()
        for _ in range(num_steps * self._products):
            self._matrix @ self._matrix
        # By the clock, although a probe on a CPU counts processor time, so that the neighbour's noise reaches it here.
        return time.perf_counter() - started
