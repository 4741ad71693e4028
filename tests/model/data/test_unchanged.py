"""A capture that is replaced, written to, moved or away is told from one that stayed as it was."""

import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from model.config import CaptureConfig, DataConfig, JobConfig
from model.data.batches import open_role
from model.data.captures import CaptureAwayError, CaptureChangedError, CaptureError, open_bursts, read_bursts
from model.data.unchanged import stamp_captures, stamp_file
from model.endings import AWAY, status_of

JobBuilder = Callable[..., JobConfig]


@pytest.fixture
def folder(captures: Path, tmp_path: Path) -> Path:
    """The two captures, in a folder of the test's own."""
    return Path(shutil.copytree(captures, tmp_path / "captures"))


@pytest.fixture
def data(build_job: JobBuilder) -> DataConfig:
    return build_job().data


def replace(path: Path) -> None:
    """Put a copy in the file's place, with the same size and times."""
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    other.replace(path)


def write_into(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, (1, 1))


def cut(path: Path) -> None:
    times = path.stat()
    os.truncate(path, times.st_size - 1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_elsewhere(path: Path) -> None:
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    path.unlink()
    path.symlink_to(other.name)


@pytest.mark.parametrize("change", [replace, write_into, cut, link_elsewhere])
@pytest.mark.parametrize("name", ["here.h5", "there.h5"])
def test_a_capture_that_changed_since_the_start_is_told(
    change: Callable[[Path], None], name: str, folder: Path, data: DataConfig
) -> None:
    stamps = stamp_captures(data, folder)
    stamps.require_unchanged()
    change(folder / name)
    with pytest.raises(CaptureChangedError, match=rf"{name}: the capture has changed since it was opened; put .* back"):
        stamps.require_unchanged()


def test_a_capture_that_is_read_or_linked_to_has_not_changed(folder: Path, data: DataConfig) -> None:
    stamps = stamp_captures(data, folder)
    (folder / "here.h5").read_bytes()
    os.link(folder / "here.h5", folder / "kept.h5")
    (folder / "here.h5").chmod(0o600)
    stamps.require_unchanged()


def test_a_role_knows_the_files_that_it_was_opened_from(folder: Path, data: DataConfig) -> None:
    train, choose = open_role(data, ("train",), folder), open_role(data, ("choose",), folder)
    replace(folder / "there.h5")
    train.require_unchanged()
    with pytest.raises(CaptureChangedError, match=r"there\.h5"):
        choose.require_unchanged()


def test_a_capture_that_is_gone_can_come_back(folder: Path, data: DataConfig) -> None:
    stamps = stamp_captures(data, folder)
    (folder / "here.h5").rename(folder / "moved.h5")
    with pytest.raises(
        CaptureAwayError, match=r"here\.h5: the capture file is not there; put the capture back"
    ) as raised:
        stamps.require_unchanged()
    assert status_of(raised.value) == AWAY
    (folder / "moved.h5").rename(folder / "here.h5")
    stamps.require_unchanged()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_circle(path: Path) -> None:
    path.symlink_to(path.name)


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("gone")


def make_link_to_memory(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize(
    ("make", "found", "number"),
    [
        (lambda path: None, "is not there", errno.ENOENT),
        (make_link_to_nothing, "is not there", errno.ENOENT),
        (Path.mkdir, "is a folder, it must be a file", errno.EISDIR),
        (make_pipe, "is a pipe, a socket or a device, it must be a file", errno.EINVAL),
        (make_socket, "is a pipe, a socket or a device, it must be a file", errno.EINVAL),
        (make_link_to_a_device, "is a pipe, a socket or a device, it must be a file", errno.EINVAL),
        (make_circle, "cannot be read: Too many levels of symbolic links", errno.ELOOP),
        (make_link_to_memory, "cannot be read: Input/output error", errno.EIO),
    ],
)
def test_what_the_system_does_not_give_us_can_pass(
    make: Callable[[Path], None], found: str, number: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"c{suffix}"
    make(path)
    capture = CaptureConfig(path=path.name, devices=(0, 2), packets=(0, 3))
    with pytest.raises(CaptureAwayError, match=found) as raised:
        open_bursts(path, capture, samples=5, default_sample_rate_hz=1e6)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == number
    assert status_of(raised.value) == AWAY


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("none"), cut, lambda path: path.write_bytes(b"")])
def test_what_the_file_holds_does_not_pass(spoil: Callable[[Path], object], folder: Path) -> None:
    spoil(folder / "here.h5")
    capture = CaptureConfig(path="here.h5", devices=(2, 5), packets=(0, 3))
    with pytest.raises(CaptureError, match="cannot be read as HDF5") as raised:
        open_bursts(folder / "here.h5", capture, samples=5, default_sample_rate_hz=1e6)
    assert not isinstance(raised.value, CaptureAwayError)
    assert status_of(raised.value) is None


@pytest.mark.parametrize("storage", [{}, {"chunks": (2, 10)}])
def test_a_file_that_goes_away_while_it_is_read_can_come_back(storage: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.ones((6, 10)), **storage)
        file["label"] = np.repeat([1.0, 2.0], 3)
    capture = CaptureConfig(path=path.name, devices=(0, 2), packets=(0, 3))
    bursts = open_bursts(path, capture, samples=5, default_sample_rate_hz=1e6)
    assert read_bursts(bursts, np.arange(6)).all()
    path.unlink()
    with pytest.raises(CaptureAwayError, match="the capture file is not there"):
        read_bursts(bursts, np.arange(6))


@pytest.mark.parametrize("name", ["a" * 300, "nul\0.h5"])
def test_a_path_that_no_file_can_have_does_not_pass(name: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="the capture file") as raised:
        stamp_file(tmp_path / name)
    assert status_of(raised.value) is None
