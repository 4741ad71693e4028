"""From a stranger's script to a report: `init`, `check --write`, two lines of experiment, `run`."""

import shutil
from pathlib import Path

import pytest

from tests.builders.stranger_repo import StrangerRepo

WORDS = {
    "argparse": ["train.py"],
    "forest": ["train.py"],
    "globals": ["train.py"],
    "hf_like": ["run_glue.py", "--", "--output_dir=out"],
    "shell": ["train.sh", "--", "--lr=0.1"],
    "torchrun": ["torchrun", "--standalone", "--nproc_per_node=2", "train.py"],
    "yaml_config": ["train.py", "--", "--config", "config.yaml"],
}
"""Folder of a script -> what a person writes behind `knockout init`."""
CHANGES = {
    "argparse": "lr: 0.5",
    "forest": "depth: 12",
    "globals": "learning_rate: 0.3",
    "hf_like": "weight_decay: 0.5",
    "shell": "lr: 0.3",
    "torchrun": "lr: 0.3",
    "yaml_config": "optimizer.lr: 0.5",
}
JUDGED = {
    "argparse": "accuracy",
    "forest": "R2",
    "globals": "val_loss",
    "hf_like": "eval_loss",
    "shell": "val_loss",
    "torchrun": "loss",
    "yaml_config": "val_mse",
}
CAMPAIGN = "experiments.yaml"
VERDICTS = ("improved", "regression", "no_change", "inconclusive")


@pytest.mark.parametrize("style", WORDS)
def test_a_script_gets_verdicts_without_a_hand_on_it(style: str, tmp_path: Path) -> None:
    if style == "torchrun" and shutil.which("torchrun") is None:
        pytest.skip("torchrun is not there")
    repo = StrangerRepo(tmp_path, style)
    campaign = repo.repo / CAMPAIGN
    campaign.unlink()
    repo.commit("a script alone")
    before = repo.stamp()

    repo.must("init", *WORDS[style])
    repo.must("check", "--write")
    text = campaign.read_text(encoding="utf-8")
    # A person takes fewer seeds than the file proposes, and writes two lines.
    campaign.write_text(
        text.replace("seeds: 5", "seeds: 2") + f"experiments:\n  other: {{change: {{{CHANGES[style]}}}}}\n"
    )
    repo.must("run")

    report = next((repo.repo / "reports").glob("*/report.md")).read_text(encoding="utf-8")
    assert any(verdict in report for verdict in VERDICTS)
    assert JUDGED[style] in report
    after = repo.stamp()
    del after[CAMPAIGN], before["status"], after["status"]
    assert after == before
    assert repo.git("status", "--porcelain") == f"?? {CAMPAIGN}"


def test_a_comment_of_init_gives_way_to_the_line_that_it_shows(tmp_path: Path) -> None:
    repo = StrangerRepo(tmp_path, "globals")
    (repo.repo / CAMPAIGN).unlink()
    repo.commit("a script alone")
    repo.must("init", "train.py")
    repo.must("check", "--write")
    lines = (repo.repo / CAMPAIGN).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "outputs:" in line] == ["  outputs: [out]"]
