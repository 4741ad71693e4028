"""Profile `gpu` as shipped, but for a network and bursts so small that a CPU trains it."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.builders.study_harness import ROOT, Study

SMALL = """\
profiles:
  gpu:
    data:
      emulate: {packets: 8, samples: 256}
      captures:
        LocA: {packets: [0, 4]}
        LocB: {packets: [0, 4]}
        LocA-val: {packets: [4, 6]}
        LocB-val: {packets: [4, 6]}
        LocC: {packets: [0, 4]}
        LocD: {packets: [0, 8]}
      samples: 256
    baseline:
      model: {dim: 16, depth: 2, num_heads: 2, head_dim: 8, mlp_multiple: 8}
      optim: {batch_size: 40}
      runtime: {precision: fp32, compile: false}
experiments:
  H2: {change_in: {gpu: {model.num_heads: 1, model.head_dim: 16}}}
  aux-head: {change_in: {gpu: {model.aux_head: {after_block: 1}}}}
"""
NO_TIME = "guards: {epoch_seconds: 1.0e-6}"
SHIPPED = (ROOT / "experiments.yaml").read_text()
EXPERIMENTS = ("baseline", "E5", "H2", "roll")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str]:
    """Return a study that has run the profile, and what `run` printed."""
    study = Study(tmp_path_factory.mktemp("gpu"))
    study.copy_model()
    study.write_campaign(SHIPPED, SMALL)
    study.make_repository()
    return study, study.must("run", "--profile", "gpu")


def read(file: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(file.read_text())
    return content


def test_all_runs_train_the_shipped_epochs_under_the_shipped_guards(trained: tuple[Study, str]) -> None:
    study, printed = trained
    assert "8 runs trained, 0 had their result already" in printed
    # Another test trains seed 7 in the same study, before or after this one.
    folders = [folder for folder in study.folders() if "-s7-" not in folder.path.name]
    assert [folder.path.name.rpartition("-")[0] for folder in folders] == [
        f"{name}-s{seed}" for name in sorted(EXPERIMENTS) for seed in (0, 1)
    ]
    for folder in folders:
        guards, result = read(folder.order)["guards"], folder.read_result()
        assert (guards["epoch_seconds"], guards["warmup_epochs"], guards["slow_epochs"]) == (10.0, 1, 2)
        assert (result.state, result.epochs, result.scores["LocD"].bursts) == ("done", 6, 80)
        assert folder.checkpoint.exists()


def test_each_experiment_has_its_branch_and_no_worktree_is_left(trained: tuple[Study, str]) -> None:
    study, _ = trained
    kept = study.git("for-each-ref", "--format=%(refname)", "refs/knockout", "refs/heads/experiment", "refs/tags")
    assert {name for name in EXPERIMENTS if f"/{name}" in kept} == set(EXPERIMENTS)
    assert study.git("worktree", "list").count("\n") == 0


def test_the_captures_lie_in_a_folder_of_their_own(trained: tuple[Study, str]) -> None:
    study, _ = trained
    names = {str(path.relative_to(study.repo / "data")) for path in (study.repo / "data").rglob("*.h5")}
    assert names == {f"emulated-gpu/Loc{letter}.h5" for letter in "ABCD"}


def test_the_table_and_the_report_are_of_the_profile(trained: tuple[Study, str]) -> None:
    study, printed = trained
    latest = study.repo / "reports" / "latest"
    assert "causal-iq-gdn, profile gpu: LocD ↑" in printed
    assert "Minutes on one CUDA GPU" in " ".join((latest / "report.md").read_text().split())
    verdicts = pd.read_csv(latest / "verdicts.csv")
    assert set(verdicts["experiment"]) == set(EXPERIMENTS)


def test_a_limit_by_the_clock_rules_after_the_epoch_that_compiles(trained: tuple[Study, str]) -> None:
    study, _ = trained
    study.write_campaign(SHIPPED, SMALL, NO_TIME)
    study.commit("no time")
    study.must("queue", "add", "--profile", "gpu", "baseline", "--seeds", "7-7")
    study.knockout("work")
    (folder,) = [folder for folder in study.folders() if folder.path.name.startswith("baseline-s7-")]
    result = folder.read_result()
    assert (result.state, result.epochs >= 3) == ("too_slow", True)
    # Twice as many epochs count if other programs keep the machine busy.
    assert re.search(
        r"the limit is 0\.00 s; all of the last [24] epochs were slower, after 1 of warm-up", result.reason
    )
