"""Captures are read as the layout says, only where asked for, and what does not fit is refused in a sentence."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.config import CaptureConfig
from model.data import captures
from model.data.captures import Bursts, CaptureError, open_bursts, read_bursts

NUM_DEVICES, NUM_PACKETS, LENGTH = 3, 4, 6
CaptureBuilder = Callable[..., Path]
CHUNKED = {"chunks": (2, 3), "compression": "gzip"}
"""Data that cannot be mapped."""


def bursts_of(num_rows: int, length: int) -> NDArray[Any]:
    """Row r holds r + 1 and a fraction that differs from sample to sample."""
    return np.arange(1, num_rows + 1)[:, None] + np.arange(2 * length)[None] / 64


def labels_of(num_devices: int, num_packets: int) -> NDArray[Any]:
    return np.repeat(np.arange(1.0, num_devices + 1), num_packets)


@pytest.fixture
def build_capture(tmp_path: Path) -> CaptureBuilder:
    def build(
        data: Any = None,
        label: Any = None,
        sample_rate: Any = None,
        leave_out: tuple[str, ...] = (),
        **storage: Any,
    ) -> Path:
        path = tmp_path / "capture.h5"
        with h5py.File(path, "w") as file:
            if "data" not in leave_out:
                data = bursts_of(NUM_DEVICES * NUM_PACKETS, LENGTH) if data is None else data
                file.create_dataset("data", data=data, **storage)
            if "label" not in leave_out:
                file["label"] = labels_of(NUM_DEVICES, NUM_PACKETS)[None] if label is None else label
            if sample_rate is not None:
                file.attrs["sample_rate"] = sample_rate
        return path

    return build


def open_range(
    path: Path, devices: tuple[int, int] = (0, NUM_DEVICES), packets: tuple[int, int] = (0, NUM_PACKETS), **change: Any
) -> Bursts:
    options = {"samples": LENGTH, "default_sample_rate_hz": 1e6} | change
    return open_bursts(path, CaptureConfig(path=path.name, devices=devices, packets=packets), **options)


def read_all(bursts: Bursts) -> NDArray[np.float32]:
    return read_bursts(bursts, np.arange(len(bursts)))


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Dataset and bytes of every read from a file."""
    reads: list[tuple[str, int]] = []
    original = h5py.Dataset.__getitem__

    def counting(dataset: Any, *arguments: Any, **options: Any) -> Any:
        values = original(dataset, *arguments, **options)
        reads.append((dataset.name, values.nbytes))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    return reads


def test_real_parts_come_first_and_imaginary_parts_second(build_capture: CaptureBuilder) -> None:
    expected = bursts_of(NUM_DEVICES * NUM_PACKETS, LENGTH).reshape(-1, 2, LENGTH).astype(np.float32)
    iq = read_all(open_range(build_capture()))
    assert iq.dtype == np.float32
    np.testing.assert_array_equal(iq, expected)


def test_ranges_are_half_open_and_count_from_0(build_capture: CaptureBuilder) -> None:
    bursts = open_range(build_capture(), devices=(1, 3), packets=(2, 4))
    assert bursts.rows.tolist() == [6, 7, 10, 11]
    assert bursts.devices.tolist() == [1, 1, 2, 2]
    assert bursts.packets.tolist() == [2, 3, 2, 3]
    assert len(bursts) == 4


def test_a_key_names_device_and_packet(build_capture: CaptureBuilder) -> None:
    keys = open_range(build_capture(), devices=(1, 3), packets=(2, 4)).keys
    assert keys.tolist() == ["1/2", "1/3", "2/2", "2/3"]
    assert keys.dtype.kind == "U"


def test_rows_of_a_device_need_not_lie_together(build_capture: CaptureBuilder) -> None:
    label = np.array([2, 1, 3, 1, 2, 3, 1, 3, 2, 1, 2, 3])
    bursts = open_range(build_capture(label=label), devices=(0, 2), packets=(1, 3))
    assert bursts.rows.tolist() == [3, 6, 4, 8]


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1), (-1,)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1"])
def test_every_form_of_label_is_read(build_capture: CaptureBuilder, shape: tuple[int, ...], dtype: str) -> None:
    label = labels_of(NUM_DEVICES, NUM_PACKETS).astype(dtype).reshape(shape)
    assert open_range(build_capture(label=label)).rows.tolist() == list(range(12))


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i2", "u1", "i8"])
def test_data_of_every_real_dtype_become_float32(build_capture: CaptureBuilder, dtype: str) -> None:
    data = np.round(bursts_of(NUM_DEVICES * NUM_PACKETS, LENGTH)).astype(dtype)
    iq = read_all(open_range(build_capture(data=data)))
    np.testing.assert_array_equal(iq.reshape(12, -1), data.astype(np.float32))


def test_the_files_sample_rate_goes_before_the_default(build_capture: CaptureBuilder) -> None:
    assert open_range(build_capture()).sample_rate_hz == 1e6
    assert open_range(build_capture(sample_rate=250000)).sample_rate_hz == 250e3
    assert open_range(build_capture(sample_rate=np.array([[2e6]]))).sample_rate_hz == 2e6


def test_no_bursts_are_an_empty_array(build_capture: CaptureBuilder) -> None:
    iq = read_bursts(open_range(build_capture(), samples=5), np.array([], dtype=np.int64))
    assert iq.shape == (0, 2, 5)


@pytest.mark.parametrize("storage", [{}, CHUNKED])
@settings(max_examples=30, deadline=None)
@given(choices=st.data())
def test_any_indices_give_those_bursts_in_that_order(
    choices: st.DataObject, storage: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    label = np.array(choices.draw(st.permutations(labels_of(3, 5).tolist())))
    samples = choices.draw(st.integers(1, LENGTH))
    data = bursts_of(15, LENGTH)
    path = tmp_path_factory.mktemp("law") / "capture.h5"
    with h5py.File(path, "w") as file:
        file["label"] = label
        file.create_dataset("data", data=data, **storage)
    bursts = open_range(path, packets=(1, 5), samples=samples)
    indices = np.array(choices.draw(st.lists(st.integers(0, len(bursts) - 1))), dtype=np.int64)
    expected = data.reshape(15, 2, LENGTH)[bursts.rows[indices], :, :samples].astype(np.float32)
    np.testing.assert_array_equal(read_bursts(bursts, indices), expected)
    np.testing.assert_array_equal(label[bursts.rows] - 1, bursts.devices)


def test_opening_reads_labels_and_no_data(build_capture: CaptureBuilder, requested: list[tuple[str, int]]) -> None:
    open_range(build_capture())
    assert requested == [("/label", 12 * 8)]


def test_only_the_rows_and_samples_asked_for_are_read(
    build_capture: CaptureBuilder, requested: list[tuple[str, int]]
) -> None:
    bursts = open_range(build_capture(**CHUNKED), samples=2)
    requested.clear()
    read_bursts(bursts, np.array([9, 3, 3]))
    assert requested == [("/data", 2 * 8)] * 4


def test_neighbouring_rows_are_read_as_one_slice_of_each_half(
    build_capture: CaptureBuilder, requested: list[tuple[str, int]]
) -> None:
    bursts = open_range(build_capture(**CHUNKED))
    requested.clear()
    read_bursts(bursts, np.array([5, 3, 4, 6]))
    assert requested == [("/data", 4 * LENGTH * 8)] * 2


def test_long_runs_are_read_in_blocks(
    build_capture: CaptureBuilder, requested: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "BLOCK_BYTES", 5 * LENGTH * 8)
    bursts = open_range(build_capture(**CHUNKED))
    requested.clear()
    np.testing.assert_array_equal(read_all(bursts)[:, 0, 0], np.arange(1, 13))
    assert [size // (LENGTH * 8) for _, size in requested] == [5, 5, 5, 5, 2, 2]


def test_a_capture_of_10_gigabytes_is_read_in_2_megabytes(tmp_path: Path) -> None:
    path, num_rows, length = tmp_path / "big.h5", 80_000, 8192
    with h5py.File(path, "w") as file:
        # Chunks that were never written take no room on the disk.
        data = file.create_dataset("data", (num_rows, 2 * length), dtype="f8", chunks=(1, 2 * length))
        file["label"] = labels_of(10, num_rows // 10)[None]
        data[num_rows - 1] = 1.0
        assert data.nbytes > 10e9
    tracemalloc.start()
    iq = read_bursts(open_range(path, devices=(9, 10), packets=(7990, 8000), samples=length), np.array([9]))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert iq.all()
    assert peak_bytes < 3e6


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nowhere\.h5: the capture file is not there; correct `path`"):
        open_range(tmp_path / "nowhere.h5")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="the capture file is a folder"):
        open_range(tmp_path)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    path.write_text("no HDF5")
    with pytest.raises(CaptureError, match=r"capture\.h5: cannot be read as HDF5 .* copied completely"):
        open_range(path)


def test_a_file_cut_short_is_refused(build_capture: CaptureBuilder) -> None:
    path = build_capture()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CaptureError, match="cannot be read as HDF5"):
        open_range(path)


def test_a_damaged_file_is_refused(build_capture: CaptureBuilder) -> None:
    path = build_capture()
    path.write_bytes(path.read_bytes().replace(b"HEAP", b"HELP"))
    with pytest.raises(CaptureError, match="cannot be read as HDF5"):
        open_range(path)


@pytest.mark.parametrize("name", ["data", "label"])
def test_a_missing_dataset_is_refused(build_capture: CaptureBuilder, name: str) -> None:
    other = {"data": "label", "label": "data"}[name]
    with pytest.raises(CaptureError, match=f"no dataset `{name}`, it has `{other}`; layout rffi-hdf5 needs `{name}`"):
        open_range(build_capture(leave_out=(name,)))


def test_an_empty_file_is_refused(build_capture: CaptureBuilder) -> None:
    with pytest.raises(CaptureError, match="no dataset `data`, it has nothing"):
        open_range(build_capture(leave_out=("data", "label")))


def test_complex_data_are_refused(build_capture: CaptureBuilder) -> None:
    with pytest.raises(
        CaptureError, match="`data` holds complex128, it must hold real numbers; store the L real parts"
    ):
        open_range(build_capture(data=np.ones((12, LENGTH), dtype=np.complex128)))


def test_labels_that_are_not_numbers_are_refused(build_capture: CaptureBuilder) -> None:
    with pytest.raises(CaptureError, match=r"`label` holds .*, it must hold real numbers$"):
        open_range(build_capture(label=np.full(12, b"one")))


@pytest.mark.parametrize("shape", [(144,), (12, 2, 6)])
def test_data_of_another_rank_are_refused(build_capture: CaptureBuilder, shape: tuple[int, ...]) -> None:
    with pytest.raises(CaptureError, match=r"`data` has shape \(.*\), it must be \[N, 2L\]"):
        open_range(build_capture(data=np.ones(shape)))


def test_data_of_odd_width_are_refused(build_capture: CaptureBuilder) -> None:
    with pytest.raises(CaptureError, match=r"`data` has shape \(12, 13\), its width is odd"):
        open_range(build_capture(data=np.ones((12, 13))))


@pytest.mark.parametrize("samples", [7, 0, -1])
def test_more_samples_than_a_burst_has_are_refused(build_capture: CaptureBuilder, samples: int) -> None:
    with pytest.raises(CaptureError, match=f"has 6 samples a burst, `samples` asks for {samples}; set .* 1 to 6"):
        open_range(build_capture(), samples=samples)


@pytest.mark.parametrize("shape", [(1, 11), (2, 6), (1, 12, 1), ()])
def test_labels_that_do_not_match_the_rows_are_refused(build_capture: CaptureBuilder, shape: tuple[int, ...]) -> None:
    with pytest.raises(CaptureError, match=r"`label` has shape \(.*\), `data` has 12 rows; .* \[1, 12\], \[12, 1\]"):
        open_range(build_capture(label=np.ones(shape)))


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1.5, np.nan, np.inf, 1e300])
def test_a_wrong_label_is_refused_with_its_row(build_capture: CaptureBuilder, wrong: float) -> None:
    label = labels_of(NUM_DEVICES, NUM_PACKETS)
    label[[5, 8]] = wrong
    with pytest.raises(CaptureError, match=r"`label` is .* at row 5 \(counted from 0\), .* 2 of 12 labels are wrong"):
        open_range(build_capture(label=label))


def test_labels_are_read_in_blocks(build_capture: CaptureBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "LABELS_AT_ONCE", 5)
    assert open_range(build_capture()).rows.tolist() == list(range(12))
    label = labels_of(NUM_DEVICES, NUM_PACKETS)
    label[[6, 11]] = 0.5
    with pytest.raises(CaptureError, match=r"`label` is 0\.5 at row 6 \(counted from 0\), .* 2 of 12 labels are wrong"):
        open_range(build_capture(label=label))


def claiming(path: Path, num_rows: int, width: int) -> Path:
    """Write a small file that claims any number of bursts: chunks that were never written take no room."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (num_rows, width), "f8", chunks=(1, 8), fillvalue=1.0)
        file.create_dataset("label", (1, num_rows), "f8", chunks=(1, min(num_rows, 1000)), fillvalue=1.0)
    return path


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return what tells the most bytes that Python and numpy held since the test's start."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("num_rows", "width", "found"),
    [
        (10**11, 12, "`data` has 100000000000 rows, at most 100000000 are read of a file"),
        (12, 10**12, "a burst has 8000000000000 bytes, at most 1073741824 are read"),
    ],
)
def test_a_file_that_claims_more_than_it_can_hold_costs_no_memory(
    tmp_path: Path, num_rows: int, width: int, found: str, memory: Callable[[], int]
) -> None:
    path = claiming(tmp_path / "claims.h5", num_rows, width)
    with pytest.raises(CaptureError, match=found):
        open_range(path, devices=(0, 1), packets=(0, 4))
    assert memory() < 1e6


def test_8_terabytes_of_data_that_were_never_written_cost_no_memory(tmp_path: Path, memory: Callable[[], int]) -> None:
    bursts = open_range(claiming(tmp_path / "claims.h5", 10**6, 10**6), devices=(0, 1), packets=(0, 4))
    assert read_all(bursts).shape == (4, 2, LENGTH)
    assert memory() < 50e6


def test_a_sample_rate_of_any_size_is_not_read(build_capture: CaptureBuilder) -> None:
    with pytest.raises(CaptureError, match=r"attribute `sample_rate` is of shape \(2000,\), it must be one number"):
        open_range(build_capture(sample_rate=np.ones(2000)))


def test_a_device_that_is_not_there_is_refused_and_those_there_are_listed(build_capture: CaptureBuilder) -> None:
    label = np.repeat([1, 2, 3, 5, 7, 8], 2)
    there = r"no device 3 \(counted from 0\), it has 0 to 2, 4, 6 to 7; `devices` asks for \[2, 5\]"
    with pytest.raises(CaptureError, match=there):
        open_range(build_capture(label=label), devices=(2, 5), packets=(0, 1))


def test_a_capture_without_rows_is_refused(build_capture: CaptureBuilder) -> None:
    with pytest.raises(CaptureError, match=r"no device 0 .* it has no device at all"):
        open_range(build_capture(data=np.ones((0, 12)), label=np.ones((1, 0))))


def test_too_few_packets_are_refused_with_their_number(build_capture: CaptureBuilder) -> None:
    label = np.repeat([1, 2, 3], [5, 3, 4])
    too_few = r"device 1 \(counted from 0\) has 3 packets; `packets` asks for \[0, 4\]"
    with pytest.raises(CaptureError, match=too_few):
        open_range(build_capture(label=label))


@pytest.mark.parametrize("rate", [0.0, -1e6, np.nan, np.inf])
def test_an_impossible_sample_rate_is_refused(build_capture: CaptureBuilder, rate: float) -> None:
    with pytest.raises(CaptureError, match=r"the sample rate is .* Hz, it must be a finite number above 0"):
        open_range(build_capture(sample_rate=rate))


@pytest.mark.parametrize("rate", ["1 MHz", [1e6, 2e6], 1 + 1j])
def test_a_sample_rate_that_is_not_one_number_is_refused(build_capture: CaptureBuilder, rate: Any) -> None:
    with pytest.raises(CaptureError, match=r"attribute `sample_rate` is .*, it must be one number, in hertz"):
        open_range(build_capture(sample_rate=rate))


@pytest.mark.parametrize("storage", [{}, CHUNKED])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_number_that_is_not_finite_is_refused_with_its_row(
    build_capture: CaptureBuilder, wrong: float, storage: dict[str, Any]
) -> None:
    data = bursts_of(12, LENGTH)
    data[[7, 9], LENGTH + 2] = wrong
    bursts = open_range(build_capture(data=data, **storage))
    with pytest.raises(CaptureError, match=r"capture\.h5: has NaN, .* first 6 samples of row 7 .* 2 of 12 bursts read"):
        read_all(bursts)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_a_burst_whose_energy_float32_cannot_hold_is_no_spoilt_burst(
    build_capture: CaptureBuilder, scale: float
) -> None:
    data = bursts_of(12, LENGTH) * scale
    np.testing.assert_array_equal(read_all(open_range(build_capture(data=data))).reshape(12, -1), data.astype("f4"))


def test_a_burst_of_zeros_is_refused_with_its_row(build_capture: CaptureBuilder) -> None:
    data = bursts_of(12, LENGTH)
    data[4, :2] = data[4, LENGTH : LENGTH + 2] = 0
    path = build_capture(data=data)
    read_all(open_range(path, samples=3))
    with pytest.raises(CaptureError, match=r"nothing but zeros in the first 2 samples of row 4 \(counted from 0\)"):
        read_all(open_range(path, samples=2))


def test_bursts_that_are_not_asked_for_may_be_spoilt(build_capture: CaptureBuilder) -> None:
    data = bursts_of(12, LENGTH)
    data[7] = np.nan
    bursts = open_range(build_capture(data=data))
    assert len(read_bursts(bursts, np.arange(7))) == 7


def test_a_capture_replaced_by_a_shorter_one_is_refused(build_capture: CaptureBuilder) -> None:
    bursts = open_range(build_capture())
    build_capture(data=bursts_of(4, LENGTH), label=np.ones(4))
    with pytest.raises(CaptureError, match="has 4 rows, row 11 was there when the capture was opened"):
        read_all(bursts)


def test_a_capture_can_be_replaced_between_calls(build_capture: CaptureBuilder) -> None:
    bursts = open_range(build_capture())
    with h5py.File(bursts.path, "r+") as file:
        file["data"][0, 0] = 99.0
    assert read_all(bursts)[0, 0, 0] == 99.0


@pytest.mark.parametrize("storage", [{}, CHUNKED])
def test_bursts_go_to_their_places_of_a_batch_and_nowhere_else(
    build_capture: CaptureBuilder, storage: dict[str, Any]
) -> None:
    batch = np.full((5, 2, LENGTH), -1, dtype=np.float32)
    bursts = open_range(build_capture(**storage))
    captures.read_into(bursts, np.array([8, 2, 8]), batch, np.array([3, 0, 4]))
    assert batch[:, 0, 0].tolist() == [3, -1, -1, 9, 9]
