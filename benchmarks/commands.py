"""Seconds of two commands: `knockout status` over 10,000 runs, and `knockout plan` of 50 experiments x 5 seeds."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.overhead import KNOCKOUT, build_repository, quiet_environment
from benchmarks.timing import Row, time_in_turn
from orchestrator.queue.store import QueuedRun, open_store
from orchestrator.runs.paths import Paths
from orchestrator.runs.states import RunState

NUM_RUNS, NUM_SEEDS = 10_000, 5
ROUNDS = 5


def fill_queue(root: Path) -> None:
    """Put 10,000 runs into the queue, most of them done."""
    store = open_store(Paths(root))
    states = [RunState.DONE] * 8 + [RunState.QUEUED, RunState.FAILED]
    store.add(
        QueuedRun(
            id=f"E{number % 50}-s{number // 50}-{number:08x}",
            experiment=f"E{number % 50}",
            seed=number // 50,
            profile="quick",
            state=states[number % 10],
            reason="all epochs trained",
        )
        for number in range(NUM_RUNS)
    )
    store.close()


def bench_commands() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build_repository(root)
        fill_queue(root)
        environment = quiet_environment(root)
        emulate = ["data", "emulate", "--folder", "data", "--packets", "4", "--samples", "256"]

        def call(*words: str) -> None:
            done = subprocess.run(list(words), cwd=root, env=environment, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr

        call(str(KNOCKOUT), *emulate)
        status, plan, torch = time_in_turn(
            lambda: call(str(KNOCKOUT), "status"),
            lambda: call(str(KNOCKOUT), "plan", "--seeds", str(NUM_SEEDS)),
            lambda: call(sys.executable, "-c", "import torch"),
            rounds=ROUNDS,
        )
    against = f"python -c 'import torch', {torch:.2f} s"
    return [
        Row(f"knockout status, 10,000 runs, {status:.2f} s", against, f"{status / torch:.2f}", "0.5 s"),
        Row(f"knockout plan, 50 experiments x 5 seeds, {plan:.2f} s", against, f"{plan / torch:.2f}", "1 s"),
    ]
