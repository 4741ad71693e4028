"""A campaign of two experiments in a temporary git repository, through the real command line."""

import contextlib
import json
import socket
import sqlite3
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.code.checkouts import worktree_name
from orchestrator.processes import Process
from tests.builders.study_harness import Study, make_study

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
    """Return a study whose campaign has run beside an uncommitted file of the user, and what `run` printed."""
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
    assert shown["facts"]["tokens"] == 8
    assert "stack" not in shown["params"]
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


def test_uncommitted_code_is_refused_and_a_snapshot_takes_it_and_leaves_nothing_in_the_checkout(
    tmp_path: Path,
) -> None:
    study = make_study(tmp_path)
    study.edit(".gitignore", "__pycache__/\n", "")
    study.commit("ignore less")
    (study.repo / "model" / "mine.py").write_text("x = 1\n")
    done = study.knockout("run", "baseline", "--seeds", "1")
    assert done.returncode == 2
    assert "uncommitted changes to the code that jobs run: model/mine.py" in done.stderr
    assert not study.runs.exists()
    study.must("show", "E5")
    study.must("run", "baseline", "--seeds", "1", "--snapshot")
    assert study.git("for-each-ref", "refs/knockout", "refs/heads/experiment")
    assert study.git("status", "--porcelain") == "?? model/mine.py"


def test_a_failed_run_is_status_1_with_its_cause(tmp_path: Path) -> None:
    study = make_study(tmp_path, "baseline: {optim: {learning_rate: 1e30}}")
    printed = study.must("run", "baseline", "--seeds", "1", status=1)
    assert "failed (nonfinite)" in printed
    assert "`knockout run --retry` trains them" in printed
    assert "failed" in (study.repo / "reports" / "latest" / "report.md").read_text()
    assert "nothing to train" in study.must("run", "baseline", "--seeds", "1", status=1)
