"""A search in a temporary git repository, through the real command line; killed in the middle and gone on with."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

ROOT = Path(__file__).parents[1]
KNOCKOUT = Path(sys.executable).parent / "knockout"
CAMPAIGN = """\
campaign: tiny
title: How much focus?
task: Tell ten emulated transmitters apart.
margin: 5.0
seeds: 2
data:
  emulate: {seed: 3, packets: 8, samples: 256}
  captures:
    LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 6]}
    LocA-val: {path: data/LocA.h5, devices: [0, 10], packets: [6, 8]}
    LocC: {path: data/LocC.h5, devices: [0, 10], packets: [0, 8]}
    LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 8]}
  train: [LocA]
  validate: [LocA-val]
  choose: [LocC]
  report: [LocD]
  samples: 256
profiles:
  quick: {}
baseline:
  model: {dim: 16, depth: 1, num_heads: 2, head_dim: 8, mlp_multiple: 8}
  optim: {epochs: 2, batch_size: 20, learning_rate: 1e-3}
  runtime: {precision: fp32, compile: false}
experiments:
  E5:
    title: Focal loss
    group: optimisation
    hypothesis: Hard pairs need the gradient.
    change: {loss.kind: focal, loss.gamma: 2.0}
searches:
  focal:
    title: How much focus
    on: E5
    space:
      loss.gamma: {kind: float, low: 0.01, high: 5.0}
    trials: 4
    enqueue:
      - at: {loss.gamma: 3.0}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    shutil.copytree(ROOT / "model", root / "model", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "experiments.yaml").write_text(CAMPAIGN)
    (root / ".gitignore").write_text("/data/\nresults/\nreports/\n__pycache__/\n")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (("init", "--quiet"), ("add", "-A"), ("commit", "--quiet", "-m", "start")):
        subprocess.run(["git", *identity, *words], cwd=root, check=True)
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "COLUMNS": "200"}
    return {**os.environ, **quiet, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "error"}


def trials_of(repo: Path) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{repo / 'results' / 'optuna.db'}"
    (summary,) = optuna.get_all_study_summaries(storage=url)
    return optuna.load_study(study_name=summary.study_name, storage=url).get_trials()


def knockout(repo: Path, environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [str(KNOCKOUT), *words], cwd=repo, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def count_results(repo: Path) -> int:
    return len(list((repo / "results" / "runs").glob("*/result.json")))


def test_a_search_that_is_killed_goes_on_without_losing_a_trial(repo: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [str(KNOCKOUT), "search", "focal"], cwd=repo, env=environment, stdout=subprocess.DEVNULL
    ) as first:
        deadline = time.monotonic() + 120
        while count_results(repo) < 1 and time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    before = {trial.number: trial.state for trial in trials_of(repo)}
    assert TrialState.RUNNING in before.values()

    said = knockout(repo, environment, "search", "focal")
    trials = trials_of(repo)
    assert "search focal: 4 points visited of 4, on E5" in said
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert trials[0].params == {"loss.gamma": 3.0}
    assert count_results(repo) == 4

    knockout(repo, environment, "search", "focal")
    assert (len(trials_of(repo)), count_results(repo)) == (4, 4)
    branches = subprocess.run(["git", "branch", "--list", "experiment/*"], cwd=repo, capture_output=True, check=True)
    assert branches.stdout == b""

    said = knockout(repo, environment, "promote", "focal")
    assert "`knockout run focal-best --profile quick --seeds 1-2`" in said
    assert "focal-best" in knockout(repo, environment, "show", "focal-best")
