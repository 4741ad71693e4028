"""The value of a variable in a capture's path is in no error, whenever it comes up, nor in what the error came of."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.__main__ import main
from model.config import CapturePlace, DataConfig, JobConfig, encode_run
from model.data import batches
from model.data.batches import open_role
from model.data.captures import CaptureError
from model.data.plain_rows import unreadable
from model.data.shards import Order, write_shards
from model.data.unchanged import stamp_captures
from model.studies.radio.describe import check_captures
from model.train.run_folder import RunFolder
from model.train.score import burst_names

JobBuilder = Callable[..., JobConfig]
VARIABLE = "KNOCKOUT_TEST_SECRET"
SECRET = "hunter2"
WRITTEN = f"${{{VARIABLE}}}/there."


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of captures that is named by a variable alone."""
    folder = tmp_path / SECRET
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


@pytest.fixture
def config(build_job: JobBuilder) -> JobConfig:
    paths = {"train": "here.h5", "val": "here.h5", "choose": "there.h5", "report": "there.h5"}
    return build_job(data={"captures": {name: {"path": f"${{{VARIABLE}}}/{path}"} for name, path in paths.items()}})


@pytest.fixture
def data(config: JobConfig) -> DataConfig:
    return config.data


def write_capture(path: Path, *, seed: int = 0, rate_hz: float = 1e6, **storage: Any) -> None:
    bursts = np.random.default_rng(seed).normal(size=(60, 96)).astype(np.float32)
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=bursts, **storage)
        file["label"] = np.tile([3.0, 4.0, 5.0], 20)
        file.attrs["sample_rate"] = rate_hz


def said_of(error: BaseException) -> str:
    """All that a traceback shows of an error, and what the system's error names."""
    said = []
    shown: BaseException | None = error
    while shown is not None:
        said += [str(shown), str(getattr(shown, "filename", ""))]
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return "\n".join(said)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_memory(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")


def link_bytes(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("other.h5", "data")


def empty(path: Path) -> None:
    path.unlink()
    h5py.File(path, "w").close()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def resample(path: Path) -> None:
    write_capture(path, rate_hz=2e6)


SPOIL = (
    Path.unlink,
    make_folder,
    make_circle,
    link_to_memory,
    link_bytes,
    empty,
    cut,
    resample,
    lambda path: path.write_text("none"),
)


@pytest.mark.parametrize("spoil", SPOIL)
@pytest.mark.parametrize("look", ["describe", "role", "shards"])
def test_a_capture_that_cannot_be_opened_is_told_as_it_is_written(
    spoil: Callable[[Path], Any], look: str, config: JobConfig, secret: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("here.h5", "there.h5")):
        write_capture(secret / name, seed=number)
    spoil(secret / "there.h5")
    order = Order(data=config.data, data_folder=str(tmp_path), out=str(tmp_path / "shards"), sha256={})
    with pytest.raises(CaptureError) as raised:
        {
            "describe": lambda: check_captures(config, tmp_path),
            "role": lambda: open_role(config.data, ("train", "report"), tmp_path),
            "shards": lambda: write_shards(order),
        }[look]()
    assert WRITTEN in str(raised.value)
    assert SECRET not in said_of(raised.value)


@pytest.mark.parametrize("spoil", [spoil for spoil in SPOIL if spoil is not resample])
@pytest.mark.parametrize("storage", [{}, {"chunks": (4, 96), "compression": "gzip"}])
def test_a_capture_that_is_spoilt_while_it_is_read_is_told_as_it_is_written(
    spoil: Callable[[Path], Any],
    storage: dict[str, Any],
    data: DataConfig,
    secret: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "MEMORY_BYTES", 0)
    for name in ("here.h5", "there.h5"):
        write_capture(secret / name, **storage)
    role = open_role(data, ("report",), tmp_path)
    read = role.in_order(8)
    next(read)
    spoil(secret / "there.h5")
    with pytest.raises(CaptureError) as raised:
        for _ in role.in_order(8):
            pass
    assert WRITTEN in str(raised.value)
    assert SECRET not in said_of(raised.value)
    read.close()


@pytest.mark.parametrize("change", [Path.unlink, make_folder, cut, resample])
def test_a_capture_that_changed_is_told_as_it_is_written(
    change: Callable[[Path], Any], data: DataConfig, secret: Path, tmp_path: Path
) -> None:
    for name in ("here.h5", "there.h5"):
        write_capture(secret / name)
    stamps = stamp_captures(data, tmp_path)
    stamps.require_unchanged()
    change(secret / "there.h5")
    with pytest.raises(CaptureError) as raised:
        stamps.require_unchanged()
    assert WRITTEN in str(raised.value)
    assert SECRET not in said_of(raised.value)


def test_a_job_whose_capture_is_gone_names_it_as_it_is_written(
    config: JobConfig, secret: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_capture(secret / "here.h5")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.config.write_bytes(encode_run(config))
    assert main([str(folder.path), "--data-folder", str(tmp_path), "--device", "cpu"]) != 0
    said = capfd.readouterr()
    assert WRITTEN in said.out + said.err
    written = [path.read_bytes().decode(errors="replace") for path in folder.path.iterdir()]
    assert SECRET not in said.out + said.err + "".join(written)


def test_a_shard_is_told_as_it_is_written(build_job: JobBuilder, secret: Path, tmp_path: Path) -> None:
    captures = {name: {"path": f"${{{VARIABLE}}}/{name}.npy"} for name in ("train", "val", "choose", "report")}
    data = build_job(data={"layout": "shards", "captures": captures}).data
    for content in (None, b"none", b"\x93NUMPY\x01\x00"):
        if content is not None:
            (secret / "train.npy").write_bytes(content)
        with pytest.raises(CaptureError) as raised:
            open_role(data, ("train",), tmp_path)
        assert f"${{{VARIABLE}}}/train.npy" in str(raised.value)
        assert SECRET not in said_of(raised.value)


def test_what_hdf5_says_of_a_place_is_told_as_it_is_written(secret: Path, tmp_path: Path) -> None:
    said = unreadable(CapturePlace(tmp_path, WRITTEN + "h5"), ValueError(f"name = '{secret}/there.h5', flags = 0"))
    assert f"(name = '{tmp_path}/{WRITTEN}h5', flags = 0)" in str(said)


def test_the_ending_that_says_the_layout_may_be_a_variables(
    build_job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{SECRET}.npy")
    data = build_job(data={"captures": {"train": {"path": f"${{{VARIABLE}}}"}}}).data
    with pytest.raises(CaptureError, match=r"its path is \$\{KNOCKOUT_TEST_SECRET\}, in layout rffi-hdf5 it must be"):
        open_role(data, ("train",), tmp_path)


def test_bursts_have_the_same_names_wherever_a_variable_says_they_lie(
    data: DataConfig, secret: Path, tmp_path: Path
) -> None:
    for name in ("here.h5", "there.h5"):
        write_capture(secret / name)
    assert burst_names(open_role(data, ("report",), tmp_path))[0] == "there/2/8"


def test_a_place_is_read_as_it_is_written_and_opened_where_it_lies(secret: Path, tmp_path: Path) -> None:
    place = CapturePlace(tmp_path, f"${{{VARIABLE}}}/LocA.h5")
    assert (str(place), Path(place)) == (f"{tmp_path}/${{{VARIABLE}}}/LocA.h5", secret / "LocA.h5")
    assert SECRET not in repr(place)
