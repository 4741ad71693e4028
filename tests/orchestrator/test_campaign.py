"""Which experiments a command is about."""

from pathlib import Path

import pytest

from orchestrator.campaign import Request, open_study
from orchestrator.cli import main
from orchestrator.errors import UsageError

CAMPAIGN = """\
campaign: choice
title: Choice
task: Tell radios apart.
margin: 1.0
seeds: 1
data:
  captures: {A: {path: a.h5, devices: [0, 2], packets: [0, 4]}, D: {path: d.h5, devices: [0, 2], packets: [0, 4]},
    V: {path: a.h5, devices: [0, 2], packets: [4, 6]}}
  train: [A]
  validate: [V]
  report: [D]
profiles: {quick: {default_experiments: [wide-mlp]}, paper: {}}
experiments:
  wide: {title: Wide, group: size, hypothesis: More., change: {model.dim: 768}}
  wide-mlp: {title: MLP, group: size, hypothesis: More., on: wide, change: {model.mlp_ratio: 8.0}}
  deep: {title: Deep, group: size, hypothesis: More., change: {model.depth: 6}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiments.yaml"
    path.write_text(CAMPAIGN)
    return path


def test_a_profiles_default_experiments_bring_their_references(file: Path) -> None:
    assert list(open_study(Request(file=file)).arms) == ["baseline", "wide", "wide-mlp"]


def test_a_profile_that_names_none_means_all(file: Path) -> None:
    assert list(open_study(Request(file=file, profile="paper")).arms) == ["baseline", "wide", "wide-mlp", "deep"]


def test_all_and_names_go_before_the_default(file: Path) -> None:
    assert "deep" in open_study(Request(file=file, everything=True)).arms
    assert list(open_study(Request(file=file, experiments=("deep",))).arms) == ["baseline", "deep"]


def test_names_and_all_at_once_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="name experiments, or say --all, not both"):
        open_study(Request(file=file, experiments=("deep",), everything=True))


def test_a_plan_says_how_many_experiments_it_leaves_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", str(file)]) == 0
    assert "2 of the file's 3 experiments: this profile's default ones; --all takes them all" in capsys.readouterr().out
    assert main(["plan", "-f", str(file), "--all"]) == 0
    assert "--all" not in capsys.readouterr().out
