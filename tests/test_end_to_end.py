"""A campaign of two experiments in a temporary git repository, through the real command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from model.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
KNOCKOUT = Path(sys.executable).parent / "knockout"
CAMPAIGN = """\
campaign: tiny
title: Does focal loss help, and do wider heads?
task: Tell ten emulated transmitters apart.
margin: 5.0
seeds: 2
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
    reported: {accuracy: 85.0, delta: 1.0, versus: baseline}
  H2:
    on: E5
    title: One wide head
    group: architecture
    hypothesis: More room for the state.
    change: {model.num_heads: 1, model.head_dim: 16}
"""
RUN_FILES = {
    "config.json", "provenance.json", "epochs.jsonl", "checkpoint.pt", "predictions.npz", "result.json", "train.log",
    "order.json",
    "job.lock"
}  # fmt: skip
Knockout = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "COLUMNS": "200"}
    return {**os.environ, **quiet, "XDG_CACHE_HOME": str(cache)}


def git(repo: Path, *words: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", *identity, *words], cwd=repo, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_repository(root: Path, campaign: str = CAMPAIGN) -> Path:
    shutil.copytree(ROOT / "model", root / "model", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "experiments.yaml").write_text(campaign)
    (root / ".gitignore").write_text("/data/\nresults/\nreports/\n__pycache__/\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "start")
    return root


def knockout(repo: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(KNOCKOUT), *words], cwd=repo, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> tuple[Path, str]:
    """A repository in which the campaign has run, with an unsaved idea of the user's, and what was printed."""
    repo = make_repository(tmp_path_factory.mktemp("study"))
    (repo / "idea.txt").write_text("half an idea\n")
    before = git(repo, "status", "--porcelain=v2", "--branch")
    done = knockout(repo, environment, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(repo, "status", "--porcelain=v2", "--branch") == before
    return repo, done.stdout


def test_every_run_folder_is_complete(finished: tuple[Path, str]) -> None:
    repo, _ = finished
    folders = sorted((repo / "results" / "runs").iterdir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == [
        f"{experiment}-s{seed}" for experiment in ("E5", "H2", "baseline") for seed in (0, 1)
    ]
    for folder in folders:
        assert {file.name for file in folder.iterdir()} == RUN_FILES
        result = json.loads((folder / "result.json").read_text())
        assert (result["state"], result["scores"]["LocD"]["bursts"]) == ("done", 80)


def test_each_run_says_which_commit_it_executed(finished: tuple[Path, str]) -> None:
    repo, _ = finished
    for folder in (repo / "results" / "runs").iterdir():
        origin = json.loads((folder / "provenance.json").read_text())
        experiment = folder.name.partition("-s")[0]
        assert origin["branch"].startswith(f"experiment/{experiment}-")
        spec = json.loads(git(repo, "show", f"{origin['commit']}:.knockout/experiment.json"))
        assert spec["id"] == experiment
        assert origin["base_commit"] == git(repo, "rev-parse", "main")


def test_a_settled_experiment_leaves_its_commit_and_no_worktree(finished: tuple[Path, str]) -> None:
    repo, _ = finished
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/knockout", "refs/heads/experiment", "refs/tags")
    assert {name for name in ("baseline", "E5", "H2") if f"/{name}" in kept} == {"baseline", "E5", "H2"}
    assert git(repo, "worktree", "list").count("\n") == 0


def test_the_report_and_its_tables_are_there(finished: tuple[Path, str]) -> None:
    repo, printed = finished
    latest = repo / "reports" / "latest"
    text = (latest / "report.md").read_text()
    assert "reports/" in printed
    assert "Does focal loss help" in text
    assert "emulated" in text
    assert {"report.html", "deltas.png", "curves.png"} <= {file.name for file in latest.iterdir()}
    runs = pd.read_csv(latest / "runs.csv")
    assert len(runs) == 6


def test_a_second_run_trains_nothing_and_says_so(finished: tuple[Path, str], environment: dict[str, str]) -> None:
    repo, _ = finished
    before = {file: file.stat().st_mtime_ns for file in (repo / "results" / "runs").rglob("*")}
    report = (repo / "reports" / "latest" / "report.md").read_bytes()
    done = knockout(repo, environment, "run")
    assert done.returncode == 0
    assert "nothing to train: all 6 runs have their result already" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in (repo / "results" / "runs").rglob("*")} == before
    assert (repo / "reports" / "latest" / "report.md").read_bytes() == report


def test_a_lost_database_costs_no_training(finished: tuple[Path, str], environment: dict[str, str]) -> None:
    repo, _ = finished
    (repo / "results" / "knockout.db").unlink()
    assert "nothing to train" in knockout(repo, environment, "run").stdout
    rows = json.loads(knockout(repo, environment, "status", "--json").stdout)
    assert {row["state"] for row in rows} == {"done"}


def test_more_seeds_train_only_the_new_ones(finished: tuple[Path, str], environment: dict[str, str]) -> None:
    repo, _ = finished
    plan = json.loads(knockout(repo, environment, "plan", "--seeds", "0-2", "E5", "--json").stdout)
    assert [(row["experiment"], row["to_train"], row["finished"]) for row in plan["rows"]] == [
        ("baseline", [2], [0, 1]),
        ("E5", [2], [0, 1]),
    ]


def test_show_works_an_experiment_out(finished: tuple[Path, str], environment: dict[str, str]) -> None:
    repo, _ = finished
    shown = json.loads(knockout(repo, environment, "show", "H2", "--json").stdout)
    assert shown["difference"] == {"model.num_heads": [2, 1], "model.head_dim": [8, 16]}
    assert shown["tokens"] == 8
    assert "stack" not in shown["config"]
    assert "reference: baseline + E5" in knockout(repo, environment, "show", "H2").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "E55"), "there is no experiment `E55`; did you mean `E5`?"),
        (("plan", "-f", "nowhere.yaml"), "nowhere.yaml: there is no such file"),
        (("run", "--profile", "paper"), "there is no profile `paper`"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    finished: tuple[Path, str], environment: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    done = knockout(finished[0], environment, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("knockout: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_typo_never_reaches_a_launcher(tmp_path: Path, environment: dict[str, str]) -> None:
    """Law 5: a typo never reaches a launcher."""
    repo = make_repository(tmp_path, CAMPAIGN.replace("loss.gamma", "loss.gama"))
    done = knockout(repo, environment, "run")
    assert done.returncode == 2
    assert "there is no knob `loss.gama`; did you mean `loss.gamma`?" in done.stderr
    assert {path.name for path in repo.iterdir()} == {".git", ".gitignore", "experiments.yaml", "model"}
    assert git(repo, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_run_leaves_nothing_in_the_checkout_but_results(tmp_path: Path, environment: dict[str, str]) -> None:
    repo = make_repository(tmp_path)
    (repo / ".gitignore").write_text("/data/\nresults/\nreports/\n")
    git(repo, "commit", "--quiet", "-am", "ignore less")
    assert knockout(repo, environment, "show", "E5").returncode == 0
    assert knockout(repo, environment, "run", "baseline", "--seeds", "1").returncode == 0
    assert git(repo, "status", "--porcelain") == ""


def test_uncommitted_code_is_refused_and_a_snapshot_takes_it(tmp_path: Path, environment: dict[str, str]) -> None:
    repo = make_repository(tmp_path)
    (repo / "model" / "mine.py").write_text("x = 1\n")
    done = knockout(repo, environment, "run", "baseline", "--seeds", "1")
    assert done.returncode == 2
    assert "uncommitted changes to the code that jobs run: model/mine.py" in done.stderr
    assert not (repo / "results" / "runs").exists()
    done = knockout(repo, environment, "run", "baseline", "--seeds", "1", "--snapshot")
    assert done.returncode == 0, done.stderr
    assert git(repo, "for-each-ref", "refs/knockout", "refs/heads/experiment")
    assert git(repo, "status", "--porcelain") == "?? model/mine.py"


def test_outside_a_repository_a_copy_of_the_code_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "experiments.yaml").write_text(CAMPAIGN)
    done = knockout(tmp_path, environment, "run", "baseline", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "since no git repository holds it; no branches are made" in done.stdout


def test_a_failed_run_is_status_1_with_its_cause(tmp_path: Path, environment: dict[str, str]) -> None:
    repo = make_repository(tmp_path, CAMPAIGN.replace("learning_rate: 1e-3", "learning_rate: 1e30"))
    done = knockout(repo, environment, "run", "baseline", "--seeds", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed (nonfinite)" in done.stdout
    assert "`knockout run --retry` trains them" in done.stdout
    assert "failed" in (repo / "reports" / "latest" / "report.md").read_text()
    again = knockout(repo, environment, "run", "baseline", "--seeds", "1")
    assert "nothing to train" in again.stdout
    assert again.returncode == 1


LONG = CAMPAIGN.replace("epochs: 2", "epochs: 40")
"""Long enough that no run ends between its second epoch and what a test does then."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_epochs_and_goes_on(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    """Laws 3 and 4 in one: what was finished stays, and the end is the same as without the interrupt."""
    repo = make_repository(tmp_path, LONG)
    command = [str(KNOCKOUT), "run", "baseline", "--seeds", "1", "--slots", "1"]
    process = subprocess.Popen(command, cwd=repo, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    epochs = wait_for_epochs(repo, 2)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert b"finished epochs are kept" in printed
    assert b"0 runs trained, 0 had their result already" in printed
    kept = epochs.read_text().splitlines()
    assert 2 <= len(kept) < 40
    assert knockout(repo, environment, "run", "baseline", "--seeds", "1").returncode == 0
    assert epochs.read_text().splitlines()[: len(kept)] == kept
    assert len(epochs.read_text().splitlines()) == 40


def test_a_second_interrupt_ends_jobs_at_once(tmp_path: Path, environment: dict[str, str]) -> None:
    repo = make_repository(tmp_path, LONG)
    command = [str(KNOCKOUT), "run", "baseline", "--seeds", "2"]
    process = subprocess.Popen(command, cwd=repo, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_epochs(repo, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    rows = json.loads(knockout(repo, environment, "status", "--json").stdout)
    assert {row["state"] for row in rows} == {"interrupted"}
    assert not [row for row in rows if RunFolder(repo / "results" / "runs" / row["id"]).holder()]
    assert git(repo, "worktree", "list").count("\n") == 0


def test_a_killed_orchestrator_leaves_runs_that_go_on(tmp_path: Path, environment: dict[str, str]) -> None:
    """Law 3: kill -9 anywhere loses no finished epoch."""
    repo = make_repository(tmp_path, LONG)
    command = [str(KNOCKOUT), "run", "baseline", "--seeds", "1", "--slots", "1"]
    process = subprocess.Popen(command, cwd=repo, env=environment, stdout=subprocess.DEVNULL)
    epochs = wait_for_epochs(repo, 2)
    process.kill()
    process.wait()
    done = knockout(repo, environment, "run", "baseline", "--seeds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = [json.loads(line)["epoch"] for line in epochs.read_text().splitlines()]
    assert numbers == list(range(1, 41))
    assert git(repo, "worktree", "list").count("\n") == 0


def wait_for_epochs(repo: Path, count: int) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for file in (repo / "results").glob("runs/*/epochs.jsonl"):
            if file.read_bytes().count(b"\n") >= count:
                return file
        time.sleep(0.02)
    raise AssertionError("no epoch was finished in a minute")
