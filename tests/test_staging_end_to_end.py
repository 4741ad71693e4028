"""A campaign that gives out its seeds itself, through the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

KNOCKOUT = Path(sys.executable).parent / "knockout"
CAMPAIGN = """\
campaign: staged
title: Does focal loss help?
task: Tell ten emulated transmitters apart.
margin: 60.0
seeds: 2
staging: {screen_seeds: 2, max_seeds: 3, confirm_seeds: 2}
data:
  emulate: {seed: 3, packets: 8, samples: 256}
  captures:
    LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 6]}
    LocA-val: {path: data/LocA.h5, devices: [0, 10], packets: [6, 8]}
    LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 8]}
  train: [LocA]
  validate: [LocA-val]
  report: [LocD]
  samples: 256
profiles:
  quick: {}
  fine: {margin: 0.01}
baseline:
  model: {dim: 16, depth: 1, num_heads: 2, head_dim: 8, mlp_multiple: 8}
  optim: {epochs: 1, batch_size: 20, learning_rate: 1e-3}
  runtime: {precision: fp32, compile: false}
experiments:
  E5: {title: Focal loss, group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiments.yaml").write_text(CAMPAIGN)
    return tmp_path


def knockout(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "COLUMNS": "200", "XDG_CACHE_HOME": str(folder / "cache")}
    environment = {**os.environ, **quiet}
    return subprocess.run(
        [str(KNOCKOUT), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def trained(folder: Path) -> list[str]:
    runs = folder / "results" / "runs"
    return sorted(path.name.rpartition("-")[0] for path in runs.iterdir()) if runs.exists() else []


def test_seeds_are_given_out_until_all_is_decided(folder: Path) -> None:
    nothing = knockout(folder, "run", "--until-decided", "--budget", "0s")
    assert nothing.returncode == 0, nothing.stderr
    assert "the budget is spent; 4 runs are wanted next" in nothing.stdout
    assert trained(folder) == []
    done = knockout(folder, "run", "--until-decided", "--budget", "10m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 runs trained, 0 had their result already" in done.stdout
    assert "1 of 1 experiments are decided" in done.stdout
    assert trained(folder) == ["E5-s0", "E5-s1", "baseline-s0", "baseline-s1"]
    report = (folder / "reports" / "latest" / "report.md").read_text()
    assert "; decided at the look at 2 seeds, at the level 3.8 %" in report
    assert pd.read_csv(folder / "reports" / "latest" / "verdicts.csv").set_index("experiment").loc["E5", "verdict"] == (
        "no_change"
    )
    assert "no run is wanted" in knockout(folder, "next").stdout


def test_what_is_not_decided_is_given_more_and_next_names_the_run(folder: Path) -> None:
    first = knockout(folder, "run", "--profile", "fine")
    assert first.returncode == 0, first.stdout + first.stderr
    found = json.loads(knockout(folder, "next", "--profile", "fine", "--json").stdout)
    assert (found["seed"], found["serves"]) == (2, ["E5"])
    assert found["seconds"] > 0
    assert found["command"] == f"knockout run {found['experiment']} --seeds 2-2 --profile fine"
    done = knockout(folder, "run", "--until-decided", "--profile", "fine")
    assert "2 runs trained, 4 had their result already" in done.stdout, done.stdout + done.stderr
    assert "1 have had all their seeds and stay undecided" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--budget", "2h"), "--budget is for --until-decided; say both"),
        (("run", "--until-decided", "--seeds", "3"), "the looks choose the seeds themselves"),
        (("next", "--seeds", "3"), "leave --seeds out"),
        (("run", "--until-decided", "--budget", "2"), "'2' is no time; say 90s, 30m or 2h"),
    ],
)
def test_a_mistake_is_a_sentence(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = knockout(folder, *words)
    assert done.returncode == 2
    assert message in done.stderr
