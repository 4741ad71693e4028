"""Campaign files for the tests of this package, and what reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.campaign.arms import ResolvedArms, configs_of, resolve_arms
from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.spec import Campaign

LITTLE = """\
campaign: little
title: A little campaign
question: Tell radios apart.
margin: 1.0
seeds: 2
data:
  captures:
    A: {path: a.h5, devices: [0, 2], packets: [0, 4]}
    V: {path: a.h5, devices: [0, 2], packets: [4, 6]}
    D: {path: d.h5, devices: [0, 2], packets: [0, 4]}
  train: [A]
  validate: [V]
  report: [D]
profiles:
  quick:
    baseline:
      optim: {learning_rate: 1e-3}
baseline:
  model: {dim: 16}
experiments:
  E5:
    title: Focal
    group: optimisation
    hypothesis: Hard pairs.
    change: {loss.kind: focal, loss.gamma: 2.0}
"""
"""One experiment at one profile."""
CHOICE = """\
campaign: choice
title: Choice
question: Tell radios apart.
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
"""Three experiments, of which the profile `quick` takes one by default."""
Check = Callable[[str], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The campaign file `CHOICE`."""
    path = tmp_path / "experiments.yaml"
    path.write_text(CHOICE)
    return path


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Load a campaign file of this text, and work its experiments out."""

    def load_and_resolve(text: str) -> None:
        path = tmp_path / "experiments.yaml"
        path.write_text(text)
        spec, source = load_campaign(path)
        campaign = at_profile(spec, source, None)
        with source.locating():
            resolve(campaign)

    return load_and_resolve


def resolve(campaign: Campaign) -> ResolvedArms:
    """Work the experiments of a campaign out; its task opens no file for that."""
    return resolve_arms(campaign, configs_of(campaign, Path()))


def changed(old: str, new: str) -> str:
    """Return `LITTLE` with one place changed."""
    assert LITTLE.count(old) == 1
    return LITTLE.replace(old, new)
