"""Seconds of a stranger's script as a run, one run after the other: with `preload`, without it, and under others.

A run takes from the end of one run to the end of the next: claim, worktree, supervisor, command, result. The first run
of a worker also waits for the imports of `preload`, so it is told apart.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.overhead import KNOCKOUT, find_missing, measure_submitit, measure_subprocesses, quiet_environment
from benchmarks.timing import Row
from orchestrator.code.checkouts import Checkouts
from orchestrator.runs.order import read_order
from orchestrator.runs.paths import Paths

SEEDS = 10
"""With four arms they make 40 runs."""
OTHERS = 10
WANTED = "40 ms beyond them"
SCRIPT = """\
import torch

print("loss: 0.5")
"""
CAMPAIGN = """\
campaign: starts
seeds: {seeds}
task:
  command: {command}
  code: [train.py]
  preload: {preload}
metrics:
  loss: {{better: lower, margin: 0.1, from: {{stdout: "loss: {{loss}}"}}}}
baseline: {{rate: 1}}
experiments:
  E1: {{change: {{rate: 2}}}}
  E2: {{change: {{rate: 3}}}}
  E3: {{change: {{rate: 4}}}}
"""


class Runs(NamedTuple):
    """Seconds of the runs of one campaign."""

    first: float
    """From the start of the command to the end of the first run."""
    each: float
    """From the end of one run to the end of the next, on average."""


def build_repository(root: Path, command: Sequence[str], preload: Sequence[str] = ()) -> None:
    """Make a campaign of 40 runs of a command."""
    root.mkdir()
    words = "[" + ", ".join(f'"{word}"' for word in (*command, "{seed}", "{params}")) + "]"
    text = CAMPAIGN.format(seeds=SEEDS, command=words, preload=f"[{', '.join(preload)}]")
    (root / "experiments.yaml").write_text(text)
    (root / "train.py").write_text(SCRIPT)
    (root / ".gitignore").write_text("results/\nreports/\ncache/\n")
    for git_words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "start"]):
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *git_words]
        subprocess.run(git, cwd=root, check=True)


def run_all(root: Path) -> Runs:
    """Queue the runs of a campaign, train one after the other, and return their seconds."""
    environment = quiet_environment(root)
    started_epoch_seconds = 0.0
    for words in (["queue", "add", "--all"], ["work", "--slots", "1"]):
        started_epoch_seconds = time.time()
        command = [str(KNOCKOUT), *words]
        done = subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    # The result is written last.
    ends = sorted(path.stat().st_mtime for path in root.glob("results/runs/*/result.json"))
    return runs_of(started_epoch_seconds, ends)


def runs_of(started_epoch_seconds: float, ends_epoch_seconds: Sequence[float]) -> Runs:
    """Return the seconds of runs that ended one after the other; there are at least two."""
    first, last = ends_epoch_seconds[0], ends_epoch_seconds[-1]
    return Runs(first=first - started_epoch_seconds, each=(last - first) / (len(ends_epoch_seconds) - 1))


def measure_worktree(root: Path) -> float:
    """Return the seconds that the worktree of one run takes, from its making to its removal."""
    paths = Paths(root)
    run_id = sorted(path.name for path in paths.results.glob("runs/*"))[0]
    code = read_order(paths.run(run_id)).code
    checkouts, seconds = Checkouts(paths), []
    for _ in range(OTHERS):
        started = time.perf_counter()
        checkouts.remove(checkouts.open_run(run_id, "baseline", code))
        seconds.append(time.perf_counter() - started)
    checkouts.close()
    return median(seconds)


def measure_process(command: Sequence[str]) -> float:
    """Return the seconds of a process of a command."""
    seconds = []
    for _ in range(OTHERS):
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def bench_torch(folder: Path) -> list[Row]:
    """Compare a script that imports torch as a run, as a job of submitit and as a process."""
    others = {"fresh processes": measure_subprocesses(OTHERS, at_once=1)}
    if not find_missing("submitit"):
        others["submitit's local executor"] = measure_submitit(folder, OTHERS, at_once=1)
    sides = {"with `preload: [torch]`": ["torch"], "without `preload`": []}
    rows = []
    for number, (name, preload) in enumerate(sides.items()):
        root = folder / f"torch-{number}"
        build_repository(root, [sys.executable, "train.py"], preload)
        runs = run_all(root)
        what = f"a script that imports torch as a run, {name}: {_ms(runs.each)}, the first one {_ms(runs.first)}"
        wanted = {"submitit's local executor": "0.1"} if preload else {}
        rows += [
            Row(what, f"{other}, {_ms(seconds)}", f"{runs.each / seconds:.2f}", wanted.get(other, ""))
            for other, seconds in others.items()
        ]
    return rows


def bench_supervised(folder: Path) -> list[Row]:
    """Compare commands that do nothing as runs with what no run can do without: their process and their worktree."""
    rows = []
    commands = {"/bin/true": ["/bin/true"], "python -c pass": [sys.executable, "-c", "pass"]}
    for number, (name, command) in enumerate(commands.items()):
        root = folder / f"nothing-{number}"
        build_repository(root, command)
        runs, process = run_all(root), measure_process(command)
        worktree = measure_worktree(root)
        what = f"`{name}` as a run: {_ms(runs.each)}, {_ms(runs.each - process - worktree)} beyond process and worktree"
        against = f"process {_ms(process)}, worktree {_ms(worktree)}"
        rows.append(Row(what, against, f"{runs.each / (process + worktree):.2f}", WANTED))
    return rows


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def bench_starts() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = bench_torch(folder) + bench_supervised(folder)
    if find_missing("submitit"):
        rows.append(Row("start of a script", "submitit: not installed", "-", "pip install 'knockout[bench]'"))
    return rows
