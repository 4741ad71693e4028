"""Seconds a run beyond its training: jobs that import torch and end, two at a time, under ours and other launchers.

Ours goes the whole way through the command line: queue, branch, worktree, lock, provenance, watcher, result. The others
only start a process or call a function. Hydra's own launcher starts no process.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from benchmarks.timing import Row

ROOT = Path(__file__).parents[1]
KNOCKOUT = Path(sys.executable).parent / "knockout"
EXPERIMENTS, SEEDS = 49, 4
"""With the baseline they make 200 runs of 50 branches."""
OTHERS = 40
"""Runs under launchers that take about a second a run."""
AT_ONCE = 2
CAMPAIGN = """\
campaign: overhead
title: What a run costs
question: Nothing.
margin: 1.0
seeds: {seeds}
data:
  emulate: {{seed: 1, packets: 4, samples: 256}}
  captures:
    LocA: {{path: data/LocA.h5, devices: [0, 10], packets: [0, 4]}}
    LocB: {{path: data/LocB.h5, devices: [0, 10], packets: [0, 4]}}
    LocD: {{path: data/LocD.h5, devices: [0, 10], packets: [0, 4]}}
  train: [LocA]
  validate: [LocB]
  report: [LocD]
  samples: 256
profiles: {{quick: {{}}}}
baseline:
  model: {{dim: 16, depth: 1, num_heads: 2, head_dim: 8, mlp_multiple: 8}}
  optim: {{epochs: 1, batch_size: 20, learning_rate: 1e-3}}
  runtime: {{precision: fp32, compile: false}}
experiments:
{experiments}"""
IDLE_JOB = """

def train_alone(build_study, folder, data_folder, device_name, tell):
    folder.write_result(Result(state="done", reason="it does nothing", epochs=0))
    return 0
"""
HYDRA_JOB = """\
import hydra

@hydra.main(version_base=None, config_path=None)
def main(config):
    import torch

main()
"""


def build_repository(root: Path) -> None:
    """Make a campaign whose jobs import everything and do nothing."""
    shutil.copytree(ROOT / "model", root / "model", ignore=shutil.ignore_patterns("__pycache__"))
    with (root / "model" / "train" / "job.py").open("a") as file:
        file.write(IDLE_JOB)
    names = (
        f"  E{n}: {{title: t, group: g, hypothesis: h, change: {{optim.clip_norm: {n + 2}}}}}\n"
        for n in range(EXPERIMENTS)
    )
    (root / "experiments.yaml").write_text(CAMPAIGN.format(seeds=SEEDS, experiments="".join(names)))
    (root / ".gitignore").write_text("/data/\nresults/\nreports/\n__pycache__/\n")
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "start"]):
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *words]
        subprocess.run(git, cwd=root, check=True)


def quiet_environment(root: Path) -> dict[str, str]:
    """Keep a campaign's worktrees in its folder, and its queue at the default place."""
    return {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "KNOCKOUT_DATABASE": ""}


def measure_knockout(root: Path) -> tuple[float, float]:
    """Return seconds a run of `queue add`, and of `work`, over 200 runs of 50 experiments."""
    build_repository(root)
    environment = quiet_environment(root)
    command = [str(KNOCKOUT), "data", "emulate", "--folder", "data", "--packets", "4", "--samples", "256"]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    seconds = []
    for words in (["queue", "add", "--all"], ["work", "--slots", str(AT_ONCE)]):
        started = time.perf_counter()
        done = subprocess.run(
            [str(KNOCKOUT), *words], cwd=root, env=environment, check=False, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stdout + done.stderr
    num_runs = (EXPERIMENTS + 1) * SEEDS
    assert f"{num_runs} runs ended: {num_runs} done" in done.stdout, done.stdout
    return seconds[0] / num_runs, seconds[1] / num_runs


def measure_subprocesses(count: int = OTHERS, *, at_once: int = AT_ONCE) -> float:
    """Return seconds a run of fresh processes that import torch."""
    live: list[subprocess.Popen[bytes]] = []
    started = time.perf_counter()
    for _ in range(count):
        while len(live) == at_once:
            live = [process for process in live if process.poll() is None]
            time.sleep(0.001)
        live.append(subprocess.Popen([sys.executable, "-c", "import torch"]))
    for process in live:
        process.wait()
    return (time.perf_counter() - started) / count


def measure_submitit(folder: Path, count: int = OTHERS, *, at_once: int = AT_ONCE) -> float:
    """Return seconds a run under submitit's local executor, of jobs that import torch."""
    program = textwrap.dedent(f"""
        import time, submitit
        def job():
            import torch
        started = time.perf_counter()
        executor = submitit.LocalExecutor(folder={str(folder)!r})
        live, left = [], {count}
        while live or left:
            while left and len(live) < {at_once}:
                live.append(executor.submit(job)); left -= 1
            live = [one for one in live if not one.done()]
            time.sleep(0.005)
        print((time.perf_counter() - started) / {count})
    """)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure_hydra(folder: Path) -> float:
    """Return seconds a run of Hydra's multirun with its own launcher: one run after the other, in one process."""
    (folder / "job.py").write_text(HYDRA_JOB)
    count = (EXPERIMENTS + 1) * SEEDS
    command = [sys.executable, "job.py", "--multirun", f"+seed=range({count})"]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (time.perf_counter() - started) / count


def find_missing(*names: str) -> list[str]:
    """Return the packages that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def bench_overhead() -> list[Row]:
    missing = find_missing("submitit", "hydra")
    if missing:
        return [Row("seconds a run", f"{', '.join(missing)}: not installed", "-", "pip install 'knockout[bench]'")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("ours", "submitit", "hydra"):
            (folder / part).mkdir()
        add, work = measure_knockout(folder / "ours")
        others = {
            "fresh processes": measure_subprocesses(),
            "submitit's local executor": measure_submitit(folder / "submitit"),
            "Hydra multirun, no process a run": measure_hydra(folder / "hydra"),
        }
    total = add + work
    what = f"seconds a run beyond its training, {1000 * work:.0f} ms of `work` and {1000 * add:.0f} of `queue add`"
    return [
        Row(what, f"{name}, {1000 * seconds:.0f} ms", f"{total / seconds:.3f}", "50 ms a run")
        for name, seconds in others.items()
    ]
