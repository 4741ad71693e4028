"""A campaign at a profile: which experiments a command is about, where its captures lie."""

from pathlib import Path

import pytest

from model.config import locate_capture
from orchestrator.cli import main
from orchestrator.errors import DataError, UsageError
from orchestrator.study import Request, make_captures, missing_captures, open_study

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


def test_captures_that_are_missing_are_named(file: Path) -> None:
    study = open_study(Request(file=file))
    assert missing_captures(study) == [file.parent / "a.h5", file.parent / "d.h5"]
    with pytest.raises(DataError) as raised:
        make_captures(study)
    assert str(raised.value) == (
        f"profile `quick` is skipped: its capture {file.parent / 'a.h5'} is not there; "
        "correct `path` under `data.captures`"
    )


def test_captures_that_are_there_are_left_as_they_are(file: Path) -> None:
    for name in ("a.h5", "d.h5"):
        (file.parent / name).write_bytes(b"bursts")
    assert make_captures(open_study(Request(file=file))) == ""
    assert (file.parent / "a.h5").read_bytes() == b"bursts"


@pytest.mark.parametrize(
    ("written", "value", "path"),
    [
        ("${KNOCKOUT_TEST_A}", "x.h5", "x.h5"),
        ("${KNOCKOUT_TEST_A:-d.h5}", None, "d.h5"),
        ("${KNOCKOUT_TEST_A:-d.h5}", "x.h5", "x.h5"),
        ("data/d${KNOCKOUT_TEST_A:-}.h5", None, "data/d.h5"),
    ],
)
def test_a_variable_in_a_path_stands_for_its_value_or_its_default(
    file: Path, monkeypatch: pytest.MonkeyPatch, written: str, value: str | None, path: str
) -> None:
    monkeypatch.delenv("KNOCKOUT_TEST_A", raising=False)
    if value:
        monkeypatch.setenv("KNOCKOUT_TEST_A", value)
    file.write_text(CAMPAIGN.replace("path: d.h5", f'path: "{written}"'))
    capture = open_study(Request(file=file)).campaign.data.captures["D"]
    assert capture.path == written
    assert locate_capture(file.parent, capture.path) == file.parent / path


def test_a_file_that_a_variable_names_wrongly_is_told_without_its_value(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOCKOUT_TEST_A", "hunter2")
    (file.parent / "a.h5").write_bytes(b"bursts")
    file.write_text(CAMPAIGN.replace("path: d.h5", 'path: "${KNOCKOUT_TEST_A}/d.h5"'))
    with pytest.raises(DataError, match="is not there; correct the variable KNOCKOUT_TEST_A, or `path`") as raised:
        make_captures(open_study(Request(file=file)))
    assert "hunter2" not in str(raised.value)


def test_a_variable_that_is_not_set_is_told_by_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KNOCKOUT_TEST_A", raising=False)
    (file.parent / "a.h5").write_bytes(b"bursts")
    file.write_text(CAMPAIGN.replace("path: d.h5", 'path: "${KNOCKOUT_TEST_A}"'))
    with pytest.raises(DataError) as raised:
        make_captures(open_study(Request(file=file)))
    assert str(raised.value) == (
        "profile `quick` is skipped: where its captures are is for the variable KNOCKOUT_TEST_A to say, and it is not "
        "set; run again with KNOCKOUT_TEST_A=PATH"
    )
