"""Emulated captures, and shards cut out of captures."""

import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.api.data import EmulateSpec, data_emulate, data_shard
from orchestrator.campaign.selection import Request
from orchestrator.errors import DataError, UsageError

SMALL = EmulateSpec(seed=1, packets=6, samples=64)
CAMPAIGN = """\
    campaign: tiny
    title: A tiny campaign
    question: Tell ten transmitters apart.
    margin: 1.0
    seeds: 1
    data:
      emulate: {seed: 1, packets: 6, samples: 64}
      captures:
        LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 4]}
        LocB: {path: data/LocB.h5, devices: [0, 10], packets: [4, 6]}
        LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 6]}
      train: [LocA]
      validate: [LocB]
      report: [LocD]
      samples: 64
    profiles: {quick: {}}
    """


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign whose captures are emulated where they are missing."""
    path = tmp_path / "experiments.yaml"
    path.write_text(dedent(CAMPAIGN))
    return path


def test_the_same_seed_makes_the_same_captures(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    lines = data_emulate(one, SMALL).splitlines()
    assert [line.partition(".h5")[0].rpartition("/")[2] for line in lines] == ["LocA", "LocB", "LocC", "LocD"]
    data_emulate(two, SMALL)
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in two.iterdir()
    }


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="mine must be a folder, and is none"):
        data_emulate(tmp_path / "mine", SMALL)


def test_missing_captures_are_made_first_and_told(campaign: Path) -> None:
    told: list[str] = []
    lines = data_shard(Request(file=campaign), campaign.parent / "shards", told.append).splitlines()
    assert len(told) == 4
    assert any("LocD.h5" in line for line in told)
    assert any("LocB.npy: 20 bursts of 64 samples" in line for line in lines)


def test_roles_that_share_bursts_are_not_cut(campaign: Path) -> None:
    data = campaign.parent / "data"
    data_emulate(data, SMALL)
    shutil.copy(data / "LocA.h5", data / "LocD.h5")
    with pytest.raises(DataError, match="`report: LocD` and `train: LocA` share"):
        data_shard(Request(file=campaign), campaign.parent / "shards")
    assert not (campaign.parent / "shards").exists()


def test_captures_that_nobody_can_make_are_named(campaign: Path) -> None:
    campaign.write_text(campaign.read_text().replace("  emulate: {seed: 1, packets: 6, samples: 64}\n", ""))
    with pytest.raises(DataError, match=r"profile `quick` is skipped: its capture .*LocA\.h5 is not there"):
        data_shard(Request(file=campaign), campaign.parent / "shards")
