"""Roles that must not share bursts are compared by what their bursts hold; each capture is read once."""

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from model.config import DataConfig, JobConfig
from model.data import shared_bursts
from model.data.captures import CaptureChangedError, CaptureError
from model.data.shared_bursts import Question, find_shared_bursts, main

JobBuilder = Callable[..., JobConfig]
Ask = Callable[..., str | None]
WHOLE = {"devices": (2, 5), "packets": (0, 20)}


@pytest.fixture
def folder(captures: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(captures, tmp_path / "captures"))


@pytest.fixture
def ask(build_job: JobBuilder, folder: Path, tmp_path: Path) -> Ask:
    """Return what compares captures of a job, whose files have the content that `sha256` says."""

    def compare(
        captures: dict[str, Any] | None = None, sha256: dict[str, str] | None = None, **data: Any
    ) -> str | None:
        config = build_job(data={"captures": captures or {}, **data}).data
        named = {capture.path: capture.path for capture in config.captures.values()} | (sha256 or {})
        remembered = str(tmp_path / "bursts")
        return find_shared_bursts(Question(data=config, data_folder=str(folder), sha256=named, remembered=remembered))

    return compare


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """File and number of bursts of every read."""
    found: list[tuple[str, int]] = []
    original = shared_bursts.read_bursts

    def counting(part: Any, places: NDArray[np.int64]) -> NDArray[np.float32]:
        found.append((Path(part.path).name, len(places)))
        return original(part, places)

    monkeypatch.setattr(shared_bursts, "read_bursts", counting)
    return found


def save_again(
    change: Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]], **storage: Any
) -> Any:
    """Make a program that saves bursts and labels of a capture anew, changed."""

    def save(source: Path, target: Path) -> None:
        with h5py.File(source) as old, h5py.File(target, "w") as new:
            data, label = change(old["data"][:], old["label"][0])
            new.create_dataset("data", data=data, **storage)
            new["label"] = label

    return save


def same(data: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return data, label


def doubles(data: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return data.astype("f8"), label


def backwards(data: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return data[::-1], label[::-1]


def other_devices(data: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return data, np.roll(label, 1)


def longer(data: NDArray[Any], label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    parts = data.reshape(len(data), 2, -1)
    return np.concatenate([parts, parts[:, :, :7]], axis=2).reshape(len(data), -1), label


def test_captures_of_different_bursts_are_apart(ask: Ask) -> None:
    assert ask() is None


@pytest.mark.parametrize(
    "save",
    [
        shutil.copy,
        lambda source, target: target.hardlink_to(source),
        lambda source, target: target.symlink_to(source),
        save_again(same, chunks=(1, 8), compression="gzip"),
        save_again(doubles),
        save_again(backwards),
        save_again(other_devices),
        save_again(longer),
    ],
)
def test_the_same_bursts_in_another_file_are_found(
    save: Callable[[Path, Path], object], ask: Ask, folder: Path
) -> None:
    save(folder / "here.h5", folder / "copy.h5")
    shared = ask({"report": {"path": "copy.h5", **WHOLE}})
    assert shared is not None
    assert shared.startswith("`report: report` and `train: train` share 36 bursts by content, for example ")
    assert shared.endswith(
        "(device/packet); what is used to report must be unseen: give one of them other bursts under `data.captures`"
    )
    assert "copy.h5 and " in shared
    assert "here.h5" in shared


def test_one_burst_is_enough_and_both_places_are_named(ask: Ask, folder: Path) -> None:
    with h5py.File(folder / "here.h5") as old, h5py.File(folder / "there.h5", "r+") as new:
        device_3 = np.flatnonzero(old["label"][0] == 4)
        device_4 = np.flatnonzero(new["label"][0] == 5)
        new["data"][device_4[9]] = old["data"][device_3[2]]
    assert ask() == (
        "`report: report` and `train: train` share 1 bursts by content, for example "
        f"4/9 of {folder / 'there.h5'} and 3/2 of {folder / 'here.h5'} (device/packet); "
        "what is used to report must be unseen: give one of them other bursts under `data.captures`"
    )


@pytest.mark.parametrize(
    ("roles", "held_out", "other"),
    [
        ({"report": ("copy",)}, "report: copy", "train: train"),
        ({"validate": ("copy",)}, "validate: copy", "train: train"),
        ({"choose": ("copy",)}, "choose: copy", "train: train"),
        ({"train": ("there",), "validate": ("train",), "report": ("copy",)}, "report: copy", "validate: train"),
        ({"train": ("there",), "choose": ("train",), "report": ("copy",)}, "report: copy", "choose: train"),
        ({"train": ("there",), "validate": ("train",), "choose": ("copy",)}, "choose: copy", "validate: train"),
        ({"train": ("train", "copy")}, "train: train", "train: copy"),
    ],
)
def test_every_pair_of_roles_that_must_not_share_is_compared(
    roles: dict[str, tuple[str, ...]], held_out: str, other: str, ask: Ask, folder: Path
) -> None:
    shutil.copy(folder / "here.h5", folder / "copy.h5")
    captures = {
        "copy": {"path": "copy.h5", "devices": (2, 5), "packets": (0, 12)},
        "there": {"path": "there.h5", "devices": (2, 5), "packets": (0, 6)},
        "report": {"path": "there.h5", "devices": (2, 5), "packets": (13, 20)},
        "val": {"path": "there.h5", "devices": (2, 5), "packets": (8, 10)},
        "choose": {"path": "there.h5", "devices": (2, 5), "packets": (10, 13)},
    }
    shared = ask(captures, **{"choose": (), **roles})
    assert shared is not None
    assert shared.startswith(f"`{held_out}` and `{other}` share 36 bursts by content")


def test_what_is_reported_twice_is_allowed(ask: Ask, folder: Path) -> None:
    shutil.copy(folder / "there.h5", folder / "copy.h5")
    again = {"path": "copy.h5", "devices": (2, 5), "packets": (8, 20)}
    assert ask({"again": again}, report=("report", "again")) is None


def test_few_samples_that_are_equal_by_chance_are_not_taken_for_a_burst(ask: Ask, folder: Path) -> None:
    for name in ("here.h5", "there.h5"):
        with h5py.File(folder / name, "r+") as file:
            file["data"][:, 0] = file["data"][:, 48] = 1.0
    assert ask(samples=1) is None


def test_each_capture_is_read_once_as_long_as_it_stays_the_same(
    ask: Ask, folder: Path, read: list[tuple[str, int]]
) -> None:
    assert ask() is None
    assert read == [("here.h5", 36), ("here.h5", 24), ("there.h5", 24), ("there.h5", 36)]
    read.clear()
    assert ask() is None
    assert ask({"val": {"packets": (12, 20)}}) is None
    assert read == []
    assert ask(sha256={"there.h5": "another"}) is None
    assert read == [("there.h5", 24), ("there.h5", 36)]
    read.clear()
    assert ask({"val": {"packets": (13, 20)}}) is None
    assert read == [("here.h5", 21)]


def test_bursts_are_read_in_blocks(ask: Ask, read: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_bursts, "BLOCK_BYTES", 20 * 2 * 48 * 4)
    assert ask() is None
    assert read[:2] == [("here.h5", 20), ("here.h5", 16)]


@pytest.mark.parametrize("content", [b"", b"none", b"\x93NUMPY\1\0"])
def test_what_is_remembered_wrongly_costs_only_time(
    content: bytes, ask: Ask, folder: Path, tmp_path: Path, read: list[tuple[str, int]]
) -> None:
    assert ask() is None
    for path in (tmp_path / "bursts").iterdir():
        path.write_bytes(content)
    read.clear()
    assert ask() is None
    assert len(read) == 4


def test_a_place_that_remembers_nothing_costs_only_time(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "bursts").write_text("a file")
    assert ask() is None


def test_a_capture_that_changes_while_it_is_read_is_refused(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = shared_bursts.read_bursts

    def meanwhile(part: Any, places: NDArray[np.int64]) -> NDArray[np.float32]:
        shutil.copy(folder / "here.h5", folder / "new.h5").replace(folder / "here.h5")
        return original(part, places)

    monkeypatch.setattr(shared_bursts, "read_bursts", meanwhile)
    with pytest.raises(CaptureChangedError, match=r"here\.h5: the capture has changed since it was opened"):
        ask()


def test_a_spoilt_burst_is_refused(ask: Ask, folder: Path) -> None:
    with h5py.File(folder / "there.h5", "r+") as file:
        file["data"][3] = np.nan
    with pytest.raises(CaptureError, match="has NaN"):
        ask()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("there.h5", (0, "null\n", "")),
        ("gone.h5", (2, "", "model.data.shared_bursts: FOLDER/gone.h5: the capture file is not there;")),
    ],
)
def test_the_command_answers_a_question(
    path: str, answer: tuple[int, str, str], build_job: JobBuilder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: DataConfig = build_job(data={"captures": {"report": {"path": path}}}).data
    sha256 = {"here.h5": "1", "there.h5": "2", "gone.h5": "3"}
    question = Question(data=data, data_folder=str(folder), sha256=sha256, remembered=str(folder / "bursts"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(question))))
    said, told = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    monkeypatch.setattr(sys, "stderr", told)
    status = main()
    assert (status, said.getvalue()) == answer[:2]
    assert told.getvalue().replace(str(folder), "FOLDER").startswith(answer[2])
