"""A search over a script that Knockout has never seen, by a loss that is better when it is lower."""

import csv
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection

from tests.builders.stranger_repo import StrangerRepo

METRICS = """\
metrics:
  val_loss: {better: lower, margin: 0.02}
  train_loss: {better: lower, role: choose}
searches:
  rate:
    title: Learning rate
    space: {learning_rate: {kind: float, low: 0.01, high: 0.2, log: true}}
    trials: 6
    enqueue: [{at: {learning_rate: 0.1}}, {at: {learning_rate: 0.02}}, {at: {learning_rate: 0.15}}]
"""


@pytest.fixture
def repo(tmp_path: Path) -> StrangerRepo:
    made = StrangerRepo(tmp_path, "globals")
    file = made.repo / "experiments.yaml"
    # So few steps end far from the lowest loss, so a higher rate gives a lower loss.
    text = file.read_text().replace("max_iters: 20", "max_iters: 5")
    file.write_text(text.replace("metrics:\n  val_loss: {better: lower, margin: 0.02}\n", METRICS))
    made.commit("a search")
    return made


def test_a_search_finds_the_lower_loss_and_its_point_becomes_an_experiment(repo: StrangerRepo) -> None:
    before = repo.stamp()
    said = repo.must("search", "rate")
    assert repo.stamp() == before
    assert "search rate: 6 points visited of 6, on baseline" in said
    (folder,) = (repo.repo / "reports").glob("*-search-rate-*")
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = {float(row["score"]): float(row["learning_rate"]) for row in rows}
    assert losses[min(losses)] == max(losses.values()) >= 0.15
    best = f"learning_rate {losses[min(losses)]} with train_loss {min(losses):.4g}"
    assert f"best: {best} (standard error unknown: it has one seed, and no items)" in said
    assert "no difference from the default point (learning_rate 0.1) was found: -" in said
    assert "%" not in said.partition("best:")[2]

    url = f"sqlite:///{repo.repo / 'results' / 'optuna.db'}"
    (summary,) = optuna.get_all_study_summaries(storage=url)
    assert (summary.direction, summary.best_trial.value) == (StudyDirection.MINIMIZE, pytest.approx(min(losses)))

    repo.must("run", "fast")
    report = next(path for path in (repo.repo / "reports").glob("*/report.md") if path.parent != folder)
    assert f"train_loss {min(losses):.4g}, without an error" in report.read_text()
    said = repo.must("promote", "rate")
    assert "rate-best" in said
    assert f"train_loss {min(losses):.4g}, seed 0" in (repo.repo / "experiments.yaml").read_text()
    assert "rate-best" in repo.must("show", "rate-best")


UNTOLD = "train_loss: {better: lower, role: choose, from: {file: out/none.json, key: loss}}"


def test_a_point_whose_metric_is_not_told_fails_with_that_sentence_and_is_trained_once(repo: StrangerRepo) -> None:
    file = repo.repo / "experiments.yaml"
    text = file.read_text().replace("train_loss: {better: lower, role: choose}", UNTOLD)
    file.write_text(text.replace("trials: 6", "trials: 1"))
    said = repo.must("search", "rate", status=1)
    assert "rate-t000 failed and does not count: baseline-s0-" in said
    assert "none.json" in said
    assert "0 points visited of 1" in said
    assert len(repo.results()) == 1


PRUNED = """\
    pruner: {kind: wilcoxon, warmup_epochs: 3}
    space: {learning_rate: {kind: float, low: 1.0e-9, high: 0.2, log: true}}
    trials: 3
    enqueue: [{at: {learning_rate: 0.1}}]
"""


def test_a_point_that_learns_nothing_is_pruned_by_the_loss_that_it_prints(repo: StrangerRepo) -> None:
    """In nearly all of the space a run learns nothing, so at least one of the two other points is pruned."""
    file = repo.repo / "experiments.yaml"
    head, rest = file.read_text().split("    title: Learning rate\n")
    text = f"{head}    title: Learning rate\n{PRUNED}" + rest.partition("]\n")[2]
    text = text.replace("max_iters: 5, eval_interval: 5", "max_iters: 40, eval_interval: 1")
    file.write_text(text.replace("step_seconds: 0.0", "step_seconds: 0.1"))
    said = repo.must("search", "rate", "--workers", "1")
    assert "of them pruned, on baseline" in said
    (table,) = (repo.repo / "reports").glob("*-search-rate-*/trials.csv")
    assert "epochs: its train_loss is worse than the best point" in table.read_text()
