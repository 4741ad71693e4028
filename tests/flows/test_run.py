"""A campaign of two experiments in a temporary git repository, through the real command line."""

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.code.checkouts import worktree_name
from orchestrator.processes import Process
from tests.builders.study_harness import BASE, Study, make_study, wait_for

TWO_EXPERIMENTS = """\
experiments:
  E5:
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str]:
    """A study whose campaign has run, with an unsaved idea of the user's, and what was printed."""
    study = make_study(tmp_path_factory.mktemp("study"), TWO_EXPERIMENTS)
    (study.repo / "idea.txt").write_text("half an idea\n")
    before = study.git("status", "--porcelain=v2", "--branch")
    printed = study.must("run")
    assert study.git("status", "--porcelain=v2", "--branch") == before
    return study, printed


def test_every_run_folder_is_complete(finished: tuple[Study, str]) -> None:
    study, _ = finished
    folders = sorted(study.runs.iterdir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == [
        f"{experiment}-s{seed}" for experiment in ("E5", "H2", "baseline") for seed in (0, 1)
    ]
    for folder in folders:
        assert {file.name for file in folder.iterdir()} == RUN_FILES
        result = json.loads((folder / "result.json").read_text())
        assert (result["state"], result["scores"]["LocD"]["bursts"]) == ("done", 80)


def test_each_run_says_which_commit_it_executed(finished: tuple[Study, str]) -> None:
    study, _ = finished
    for folder in study.runs.iterdir():
        origin = json.loads((folder / "provenance.json").read_text())
        experiment = folder.name.partition("-s")[0]
        assert origin["branch"].startswith(f"experiment/{experiment}-")
        spec = json.loads(study.git("show", f"{origin['commit']}:.knockout/experiment.json"))
        assert spec["id"] == experiment
        assert origin["base_commit"] == study.git("rev-parse", "main")


def test_a_settled_experiment_leaves_its_commit_and_no_worktree(finished: tuple[Study, str]) -> None:
    study, _ = finished
    kept = study.git("for-each-ref", "--format=%(refname)", "refs/knockout", "refs/heads/experiment", "refs/tags")
    assert {name for name in ("baseline", "E5", "H2") if f"/{name}" in kept} == {"baseline", "E5", "H2"}
    assert study.git("worktree", "list").count("\n") == 0


def test_the_report_and_its_tables_are_there(finished: tuple[Study, str]) -> None:
    study, printed = finished
    latest = study.repo / "reports" / "latest"
    text = (latest / "report.md").read_text()
    assert "reports/" in printed
    assert "Does focal loss help" in text
    assert "emulated" in text
    assert {"report.html", "deltas.png", "curves.png"} <= {file.name for file in latest.iterdir()}
    runs = pd.read_csv(latest / "runs.csv")
    assert len(runs) == 6


def test_a_second_run_trains_nothing_and_says_so(finished: tuple[Study, str]) -> None:
    study, _ = finished
    before = {file: file.stat().st_mtime_ns for file in study.runs.rglob("*")}
    report = (study.repo / "reports" / "latest" / "report.md").read_bytes()
    done = study.knockout("run")
    assert done.returncode == 0
    assert "nothing to train: all 6 runs have their result already" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in study.runs.rglob("*")} == before
    assert (study.repo / "reports" / "latest" / "report.md").read_bytes() == report


def test_what_a_dead_orchestrator_left_is_cleared_where_its_job_ended_by_itself(finished: tuple[Study, str]) -> None:
    study, _ = finished
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    commit = study.git("rev-parse", "HEAD")
    gone = Process(socket.gethostname(), int(dead), "long ago/1")
    (home,) = study.cache.glob("knockout/*[!s]")
    study.git("worktree", "add", "--detach", str(home / worktree_name("E5", commit, gone)), commit)
    with contextlib.closing(sqlite3.connect(study.repo / "results" / "knockout.db")) as database, database:
        claim = "update runs set state = 'running', host = ?, pid = ?, born = 'long ago/1' where experiment = 'E5'"
        database.execute(claim, (socket.gethostname(), dead))
    assert "nothing to train: all 6 runs have their result already" in study.must("run")
    assert study.git("worktree", "list").count("\n") == 0
    assert {row["state"] for row in study.rows()} == {"done"}


def test_a_lost_database_costs_no_training(finished: tuple[Study, str]) -> None:
    study, _ = finished
    (study.repo / "results" / "knockout.db").unlink()
    assert "nothing to train" in study.knockout("run").stdout
    rows = study.rows()
    assert {row["state"] for row in rows} == {"done"}


def test_more_seeds_train_only_the_new_ones(finished: tuple[Study, str]) -> None:
    study, _ = finished
    plan = study.ask("plan", "--seeds", "0-2", "E5")
    assert [(row["experiment"], row["to_train"], row["finished"]) for row in plan["rows"]] == [
        ("baseline", [2], [0, 1]),
        ("E5", [2], [0, 1]),
    ]


def test_show_works_an_experiment_out(finished: tuple[Study, str]) -> None:
    study, _ = finished
    shown = study.ask("show", "H2")
    assert shown["difference"] == {"model.num_heads": [2, 1], "model.head_dim": [8, 16]}
    assert shown["tokens"] == 8
    assert "stack" not in shown["config"]
    assert "reference: baseline + E5" in study.knockout("show", "H2").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "E55"), "there is no experiment `E55`; did you mean `E5`?"),
        (("plan", "-f", "nowhere.yaml"), "nowhere.yaml: there is no such file"),
        (("run", "--profile", "paper"), "there is no profile `paper`"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    finished: tuple[Study, str], words: tuple[str, ...], message: str
) -> None:
    done = finished[0].knockout(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("knockout: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_typo_never_reaches_a_launcher(tmp_path: Path) -> None:
    """Law 5: a typo never reaches a launcher."""
    study = make_study(tmp_path)
    study.edit("experiments.yaml", "loss.gamma", "loss.gama")
    study.commit("a typo")
    done = study.knockout("run")
    assert done.returncode == 2
    assert "there is no knob `loss.gama`; did you mean `loss.gamma`?" in done.stderr
    assert {path.name for path in study.repo.iterdir()} == {".git", ".gitignore", "experiments.yaml", "model"}
    assert study.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_run_leaves_nothing_in_the_checkout_but_results(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.edit(".gitignore", "__pycache__/\n", "")
    study.commit("ignore less")
    study.must("show", "E5")
    study.must("run", "baseline", "--seeds", "1")
    assert study.git("status", "--porcelain") == ""


def test_uncommitted_code_is_refused_and_a_snapshot_takes_it(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    (study.repo / "model" / "mine.py").write_text("x = 1\n")
    done = study.knockout("run", "baseline", "--seeds", "1")
    assert done.returncode == 2
    assert "uncommitted changes to the code that jobs run: model/mine.py" in done.stderr
    assert not study.runs.exists()
    study.must("run", "baseline", "--seeds", "1", "--snapshot")
    assert study.git("for-each-ref", "refs/knockout", "refs/heads/experiment")
    assert study.git("status", "--porcelain") == "?? model/mine.py"


def test_outside_a_repository_a_copy_of_the_code_runs(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.write_campaign(BASE)
    printed = study.must("run", "baseline", "--seeds", "1")
    assert "since no git repository holds it; no branches are made" in printed


def test_a_failed_run_is_status_1_with_its_cause(tmp_path: Path) -> None:
    study = make_study(tmp_path, "baseline: {optim: {learning_rate: 1e30}}")
    printed = study.must("run", "baseline", "--seeds", "1", status=1)
    assert "failed (nonfinite)" in printed
    assert "`knockout run --retry` trains them" in printed
    assert "failed" in (study.repo / "reports" / "latest" / "report.md").read_text()
    assert "nothing to train" in study.must("run", "baseline", "--seeds", "1", status=1)


LONG = "baseline: {optim: {epochs: 40}}"
"""Long enough that no run ends between its second epoch and what a test does then."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_epochs_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    """Laws 3 and 4 in one: what was finished stays, and the end is the same as without the interrupt."""
    study = make_study(tmp_path, LONG)
    process = study.start("run", "baseline", "--seeds", "1", "--slots", "1")
    epochs = wait_for_epochs(study, 2)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "finished epochs are kept" in printed
    assert "0 runs trained, 0 had their result already" in printed
    kept = epochs.read_text().splitlines()
    assert 2 <= len(kept) < 40
    study.must("run", "baseline", "--seeds", "1")
    assert epochs.read_text().splitlines()[: len(kept)] == kept
    assert len(epochs.read_text().splitlines()) == 40


def test_a_second_interrupt_ends_jobs_at_once(tmp_path: Path) -> None:
    study = make_study(tmp_path, LONG)
    process = study.start("run", "baseline", "--seeds", "2")
    wait_for_epochs(study, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert {row["state"] for row in study.rows()} == {"interrupted"}
    assert not [folder for folder in study.folders() if folder.holder()]
    assert study.git("worktree", "list").count("\n") == 0


def test_a_killed_orchestrator_leaves_runs_that_go_on(tmp_path: Path) -> None:
    """Law 3: kill -9 anywhere loses no finished epoch."""
    study = make_study(tmp_path, LONG)
    with study.start("run", "baseline", "--seeds", "1", "--slots", "1") as process:
        epochs = wait_for_epochs(study, 2)
        process.kill()
    study.must("run", "baseline", "--seeds", "1")
    numbers = [json.loads(line)["epoch"] for line in epochs.read_text().splitlines()]
    assert numbers == list(range(1, 41))
    assert study.git("worktree", "list").count("\n") == 0


def wait_for_epochs(study: Study, count: int) -> Path:
    """Wait until a run has as many finished epochs, and return where they are."""

    def look() -> Path | None:
        files = (folder.epochs for folder in study.folders() if folder.epochs.exists())
        return next((file for file in files if file.read_bytes().count(b"\n") >= count), None)

    found: Path = wait_for(look, f"a run has {count} epochs")
    return found
