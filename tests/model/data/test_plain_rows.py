"""What lies in one piece is read as it lies, all else through HDF5; a shard that is none is refused in a sentence."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.config import CaptureConfig
from model.data.captures import Bursts, CaptureError, open_bursts, read_bursts
from model.data.plain_rows import find_plain_rows, open_shard

BURSTS = np.arange(1, 6 * 2 * 5 + 1, dtype=np.float32).reshape(6, 2, 5)
"""Two devices x three packets of 5 samples."""
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saved(array: NDArray[Any] = BURSTS, name: str = "LocA.npy") -> Path:
        np.save(tmp_path / name, array, allow_pickle=False)
        return tmp_path / name

    return saved


def open_bursts_of(path: Path, packets: tuple[int, int] = (4, 7), samples: int = 5) -> Bursts:
    capture = CaptureConfig(path=path.name, devices=(35, 37), packets=packets)
    return open_bursts(path, capture, samples=samples, default_sample_rate_hz=2e6)


def test_rows_of_a_shard_are_its_devices_packet_by_packet(save: Save) -> None:
    bursts = open_bursts_of(save())
    assert bursts.keys.tolist() == ["35/4", "35/5", "35/6", "36/4", "36/5", "36/6"]
    assert bursts.devices.tolist() == [35] * 3 + [36] * 3
    assert bursts.sample_rate_hz == 2e6
    np.testing.assert_array_equal(read_bursts(bursts, np.array([4, 0, 4])), BURSTS[[4, 0, 4]])


def test_only_the_leading_samples_of_a_shard_are_used(save: Save) -> None:
    np.testing.assert_array_equal(read_bursts(open_bursts_of(save(), samples=2), np.arange(6)), BURSTS[:, :, :2])


@pytest.mark.parametrize("packets", [(0, 2), (0, 4)])
def test_a_shard_of_more_or_fewer_bursts_is_refused(save: Save, packets: tuple[int, int]) -> None:
    with pytest.raises(CaptureError, match=rf"holds 6 bursts, `devices` and `packets` ask for 2 x {packets[1]}"):
        open_bursts_of(save(), packets=packets)


def test_more_samples_than_a_shard_has_are_refused(save: Save) -> None:
    with pytest.raises(CaptureError, match=r"has 5 samples a burst, `samples` asks for 6; set `samples` to 1 to 5"):
        open_bursts_of(save(), samples=6)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CaptureError, match=r"LocA\.npy: the shard is not there; make it again with `knockout data shard"
    ):
        open_bursts_of(tmp_path / "LocA.npy")
    (tmp_path / "LocA.npy").mkdir()
    with pytest.raises(CaptureError, match="the shard is a folder"):
        open_bursts_of(tmp_path / "LocA.npy")


@pytest.mark.parametrize("change", [-1, -200, 1])
def test_a_shard_cut_short_or_grown_is_refused(save: Save, change: int) -> None:
    path = save()
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"x")
    with pytest.raises(
        CaptureError, match=rf"has {len(content) + change} bytes, \[6, 2, 5\] float32 need {len(content)}"
    ):
        open_bursts_of(path)


@pytest.mark.parametrize("shape", [(60,), (6, 10), (6, 5, 2), (0, 2, 5), (6, 2, 5, 1)])
def test_a_shard_of_another_shape_is_refused(save: Save, shape: tuple[int, ...]) -> None:
    with pytest.raises(CaptureError, match=r"holds <f4 \[.*\], a shard is <f4 \[bursts, 2, samples\]"):
        open_bursts_of(save(np.zeros(shape, dtype=np.float32)))


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", "c8", ">f4", "U2"])
def test_a_shard_of_other_numbers_is_refused(save: Save, dtype: str) -> None:
    with pytest.raises(CaptureError, match=r"holds .* \[6, 2, 5\], a shard is <f4 \[bursts, 2, samples\]; make"):
        open_bursts_of(save(BURSTS.astype(dtype)))


def test_a_shard_in_fortran_order_is_refused(save: Save) -> None:
    with pytest.raises(CaptureError, match=r"holds <f4 \[6, 2, 5\] in Fortran order, a shard is"):
        open_bursts_of(save(np.asfortranarray(BURSTS)))


def test_objects_are_refused_and_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "LocA.npy"
    np.save(path, np.full((6, 2, 5), None), allow_pickle=True)
    with pytest.raises(CaptureError, match=r"holds \|O \[6, 2, 5\], a shard is <f4"):
        open_bursts_of(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x01\x00\x05\x00{'a'("])
def test_a_file_that_is_no_shard_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "LocA.npy"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=r"LocA\.npy: does not begin as a shard does; make it again"):
        open_bursts_of(path)


def test_a_shard_that_the_system_will_not_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "LocA.npy"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(CaptureError, match=r"LocA\.npy: the shard cannot be read: Input/output error"):
        open_bursts_of(path)


@settings(max_examples=80, deadline=None)
@given(position=st.integers(0, 127), value=st.integers(0, 255))
@example(position=26, value=ord("b"))
def test_no_damage_to_a_header_is_more_than_a_refusal(
    position: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "LocA.npy"
    np.save(path, BURSTS)
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(bytes(content))
    with contextlib.suppress(CaptureError):
        rows = open_shard(path)
        assert rows.dtype == np.float32
        assert rows.end == len(content)


@pytest.mark.parametrize(("wrong", "what"), [(np.nan, "NaN"), (np.inf, "NaN, or a number"), (0.0, "nothing but zeros")])
def test_a_spoilt_burst_of_a_shard_is_refused_with_its_row(save: Save, wrong: float, what: str) -> None:
    spoilt = BURSTS.copy()
    spoilt[4] = wrong
    bursts = open_bursts_of(save(spoilt))
    with pytest.raises(CaptureError, match=rf"LocA\.npy: has {what}.* row 4 \(counted from 0\)"):
        read_bursts(bursts, np.array([5, 4]))
    assert len(read_bursts(bursts, np.array([5, 3]))) == 2


def test_a_shard_replaced_while_it_is_used_is_refused(save: Save) -> None:
    bursts = open_bursts_of(save())
    save(BURSTS[:3])
    with pytest.raises(CaptureError, match="has 3 rows, row 5 was there when the capture was opened; do not replace"):
        read_bursts(bursts, np.array([5]))
    save(BURSTS[:, :, :4])
    with pytest.raises(CaptureError, match="has 4 samples a burst, 5 were there when the capture was opened"):
        read_bursts(bursts, np.array([5]))


def hdf5(path: Path, dtype: str = "f4", userblock: int = 0, **storage: Any) -> Path:
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file.create_dataset("data", data=BURSTS.reshape(6, 10).astype(dtype), **storage)
        file["label"] = np.repeat([1.0, 2.0], 3)
    return path


def is_plain(path: Path) -> bool:
    with h5py.File(path) as file:
        return find_plain_rows(path, file["data"], 5) is not None


def read_hdf5(path: Path) -> NDArray[np.float32]:
    capture = CaptureConfig(path=path.name, devices=(0, 2), packets=(0, 3))
    return read_bursts(open_bursts(path, capture, samples=5, default_sample_rate_hz=1e6), np.arange(6))


PLAIN: list[dict[str, Any]] = [{}, {"dtype": "f8"}, {"userblock": 512}]
SCATTERED: list[dict[str, Any]] = [
    {"dtype": ">f4"},
    {"dtype": "i2"},
    {"chunks": (2, 10)},
    {"compression": "gzip"},
    {"shuffle": True},
]


@pytest.mark.parametrize("storage", PLAIN + SCATTERED)
def test_every_storage_gives_the_same_bursts(tmp_path: Path, storage: dict[str, Any]) -> None:
    path = hdf5(tmp_path / "capture.h5", **storage)
    assert is_plain(path) == (storage in PLAIN)
    np.testing.assert_array_equal(read_hdf5(path), BURSTS)


def test_a_file_cut_short_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "capture.h5", "f8")
    with h5py.File(path) as file:
        plain = find_plain_rows(path, file["data"], 5)
    path.write_bytes(path.read_bytes()[: plain.end - 1])
    batch = np.empty((2, 2, 5), dtype=np.float32)
    plain.read_into(np.array([4, 0]), batch, np.array([1, 0]))
    np.testing.assert_array_equal(batch, BURSTS[[0, 4]])
    with pytest.raises(CaptureError, match=r"capture\.h5: ends before row 5 does; do not replace a capture"):
        plain.read_into(np.array([5]), batch, np.array([0]))
