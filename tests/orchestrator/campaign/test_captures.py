"""The captures of a campaign: which are missing, how they are made, and that its roles share no burst."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from orchestrator.campaign.captures import make_captures, missing_captures, refuse_same_files, refuse_untrainable
from orchestrator.campaign.selection import Request, Selection, open_campaign
from orchestrator.errors import DataError
from orchestrator.runs.fingerprints import Place
from tests.orchestrator.campaign.conftest import CHOICE


def test_captures_that_are_missing_are_named(file: Path) -> None:
    study = open_campaign(Request(file=file))
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
    assert make_captures(open_campaign(Request(file=file))) == ""
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
    file.write_text(CHOICE.replace("path: d.h5", f'path: "{written}"'))
    read = next(read for read in open_campaign(Request(file=file)).arms["baseline"].reads if "D" in read.at)
    assert read.path == written
    assert Path(Place(file.parent, read.path)) == file.parent / path


def test_a_file_that_a_variable_names_wrongly_is_told_without_its_value(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOCKOUT_TEST_A", "hunter2")
    (file.parent / "a.h5").write_bytes(b"bursts")
    file.write_text(CHOICE.replace("path: d.h5", 'path: "${KNOCKOUT_TEST_A}/d.h5"'))
    with pytest.raises(DataError, match="is not there; correct the variable KNOCKOUT_TEST_A, or `path`") as raised:
        make_captures(open_campaign(Request(file=file)))
    assert "hunter2" not in str(raised.value)


def test_a_variable_that_is_not_set_is_told_by_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KNOCKOUT_TEST_A", raising=False)
    (file.parent / "a.h5").write_bytes(b"bursts")
    file.write_text(CHOICE.replace("path: d.h5", 'path: "${KNOCKOUT_TEST_A}"'))
    with pytest.raises(DataError) as raised:
        make_captures(open_campaign(Request(file=file)))
    assert str(raised.value) == (
        "profile `quick` is skipped: where its captures are is for the variable KNOCKOUT_TEST_A to say, and it is not "
        "set; run again with KNOCKOUT_TEST_A=PATH"
    )


def write_bursts(path: Path, seed: int) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(seed).normal(size=(12, 128))
        file["label"] = np.repeat([1.0, 2.0], 6)


@pytest.fixture
def study(file: Path) -> Selection:
    """A campaign that trains and validates on one file, and reports on another; both hold different bursts."""
    for seed, name in enumerate(("a.h5", "d.h5")):
        write_bursts(file.parent / name, seed)
    file.write_text(CHOICE.replace("report: [D]", "report: [D]\n  samples: 64").replace("seeds: 1", ON_A_CPU))
    return open_campaign(Request(file=file))


ON_A_CPU = "seeds: 1\nbaseline: {runtime: {precision: fp32, compile: false}}"


def test_what_can_be_trained_passes(study: Selection) -> None:
    refuse_untrainable(study, list(study.arms.values()))
    assert any(study.paths.bursts.iterdir())


def test_a_copy_under_another_name_is_refused(file: Path, study: Selection) -> None:
    shutil.copy(file.parent / "a.h5", file.parent / "d.h5")
    with pytest.raises(DataError, match=r"^baseline: `report: D` and `train: A` share bursts; .* must be unseen"):
        refuse_untrainable(study, list(study.arms.values()))


def test_a_spoilt_capture_is_told_when_bursts_are_compared(file: Path, study: Selection) -> None:
    with h5py.File(file.parent / "d.h5", "r+") as opened:
        opened["data"][2] = np.nan
    with pytest.raises(DataError, match=r"^baseline: .*d\.h5: has NaN"):
        refuse_untrainable(study, list(study.arms.values()))


@pytest.mark.parametrize(("reported", "refused"), [("0" * 64, True), ("1" * 64, False)])
def test_files_of_the_same_content_are_the_same_file(study: Selection, reported: str, refused: bool) -> None:
    hashes = {"a.h5": "0" * 64, "d.h5": reported}
    if not refused:
        refuse_same_files(study, hashes)
        return
    with pytest.raises(DataError) as raised:
        refuse_same_files(study, hashes)
    assert str(raised.value) == (
        "`report: D` and `train: A` share bursts; what is used to report must be unseen; "
        "these files have the same content: a.h5, d.h5"
    )


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("gone.h5")


@pytest.mark.parametrize("make", [make_link_to_nothing, Path.mkdir, os.mkfifo])
def test_what_lies_in_a_captures_place_is_not_made_up_anew(
    file: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "a.h5").write_bytes(b"bursts")
    make(file.parent / "d.h5")
    study = open_campaign(Request(file=file))
    assert missing_captures(study) == []
    assert make_captures(study) == ""


def test_captures_that_are_there_are_kept_where_others_are_made_up(tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    emulated = CHOICE.replace("a.h5", "LocA.h5").replace("d.h5", "LocD.h5")
    file.write_text(emulated.replace("train: [A]", "train: [A]\n  emulate: {seed: 1, packets: 2, samples: 64}"))
    (tmp_path / "LocA.h5").write_bytes(b"a month of work")
    assert "LocD.h5: 10 emulated devices" in make_captures(open_campaign(Request(file=file)))
    assert (tmp_path / "LocA.h5").read_bytes() == b"a month of work"
    assert (tmp_path / "LocD.h5").is_file()
