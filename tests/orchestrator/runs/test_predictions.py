"""Predictions are read within bounds: a size is believed only where the bytes are there."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.files import LARGE_BYTES
from orchestrator.reading.sources import ReadingError
from orchestrator.runs.predictions import SPOILT, items_of_predictions, read_predictions

ARRAYS: dict[str, NDArray[Any]] = {
    "key": np.array(["00/0", "00/1", "03/0"]),
    "device": np.array([0, 0, 3]),
    "label": np.array([0, 0, 1]),
    "logits": np.array([[2.0, 1.0], [0.0, 0.1], [-3.0, -2.0]], dtype=np.float32),
}


def write(path: Path, **changes: NDArray[Any]) -> Path:
    np.savez_compressed(path, allow_pickle=True, **{f"LocD/{name}": of for name, of in (ARRAYS | changes).items()})
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions.npz"


def test_arrays_are_read_as_they_were_written(path: Path) -> None:
    found = read_predictions(write(path))["LocD"]
    for name, values in zip(ARRAYS, (found.keys_B, found.devices_B, found.labels_B, found.logits_BC), strict=True):
        assert np.array_equal(values, ARRAYS[name])
    assert found.find_correct().tolist() == [True, False, True]


def test_columns_that_lie_together_are_read_in_their_order(path: Path) -> None:
    assert np.array_equal(
        read_predictions(write(path, logits=np.asfortranarray(ARRAYS["logits"])))["LocD"].logits_BC, ARRAYS["logits"]
    )


def test_where_there_is_no_file_there_are_no_predictions(path: Path) -> None:
    assert read_predictions(path) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"device": np.array([0, 0])},
        {"label": np.array([0, 0, 1, 1])},
        {"logits": np.zeros((2, 2), dtype=np.float32)},
        {"logits": np.zeros(3, dtype=np.float32)},
        {"logits": np.zeros((3, 0), dtype=np.float32)},
        {"logits": np.zeros((3, 2, 2), dtype=np.float32)},
    ],
)
def test_arrays_of_unequal_lengths_are_refused(path: Path, changes: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match=r"predictions\.npz holds arrays that do not go together"):
        read_predictions(write(path, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": np.array([1, 2, 3])},
        {"device": np.array([0.0, 0.0, 3.0])},
        {"label": np.array(["0", "0", "1"])},
        {"logits": np.zeros((3, 2), dtype=np.int64)},
        {"logits": np.zeros((3, 2), dtype=np.complex64)},
        {"key": np.array([{}, {}, {}], dtype=object)},
        {"label": np.zeros(3, dtype=[("a", "i8"), ("b", "f4")])},
    ],
)
def test_arrays_of_other_types_are_refused(path: Path, changes: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match=r"predictions.npz has `LocD/\w+.npy` of type .*, which no run writes"):
        read_predictions(write(path, **changes))


def test_an_array_that_is_missing_is_named(path: Path) -> None:
    np.savez(path, **{"LocD/key": ARRAYS["key"]})
    with pytest.raises(ValueError, match=r"predictions\.npz has no array `LocD/device`"):
        read_predictions(path)


def test_an_array_that_no_run_writes_is_named(path: Path) -> None:
    with pytest.raises(ValueError, match=r"predictions\.npz has an array `LocD/weights.npy` that no run writes"):
        read_predictions(write(path, weights=np.zeros(3)))


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def replace_logits(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LocD/logits.npy", content)


@pytest.mark.parametrize("shape", [(2**40, 2), (3, 2**62), (-1, 2), (3, 10**30)])
def test_a_header_that_says_more_than_there_is_costs_no_memory(path: Path, shape: tuple[int, ...]) -> None:
    replace_logits(path, header(shape) + bytes(24))
    with pytest.raises(ValueError, match="and holds another number"):
        read_predictions(path)


def test_an_archive_that_unpacks_to_a_flood_is_refused_unopened(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("LocD/logits.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(LARGE_BYTES // 2**24 + 1):
            member.write(bytes(2**24))
    assert path.stat().st_size < 2**22
    with pytest.raises(ValueError, match=f"at most {LARGE_BYTES:,} are read"):
        read_predictions(path)


def set_encrypted(content: bytearray) -> None:
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1


def cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def blank(content: bytearray) -> None:
    content[:] = bytes(len(content))


def spoil(content: bytearray) -> None:
    content[60:90] = bytes(30)


@pytest.mark.parametrize("change", [set_encrypted, cut, blank, spoil, bytearray.clear])
def test_whatever_is_spoilt_raises_what_readers_expect(path: Path, change: Callable[[bytearray], None]) -> None:
    replace_logits(path, header((3, 2)) + bytes(24))
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(SPOILT):
        read_predictions(path)


@pytest.mark.parametrize("words", [b"{'descr': '<f4', ", b"(((((", b"{'shape': (3, 2)}", b"\xff\xfe"])
def test_a_header_that_is_spoilt_raises_what_readers_expect(path: Path, words: bytes) -> None:
    replace_logits(path, b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words)
    with pytest.raises(SPOILT):
        read_predictions(path)


def test_sessions_that_a_run_wrote_are_the_clusters_of_its_items(path: Path) -> None:
    sessions_B = np.array(["0/a", "0/b", "3/a"])
    items = items_of_predictions("LocD", read_predictions(write(path, session=sessions_B)))
    assert items.cluster_B is not None
    assert items.cluster_B.tolist() == sessions_B.tolist()


def test_without_sessions_items_have_no_clusters(path: Path) -> None:
    assert items_of_predictions("LocD", read_predictions(write(path))).cluster_B is None


def test_ranges_label_bursts_of_runs_that_know_no_sessions(path: Path) -> None:
    items = items_of_predictions("LocD", read_predictions(write(path)), [(0, 1), (1, 5)])
    assert items.cluster_B is not None
    assert items.cluster_B.tolist() == ["0/0-1", "0/1-5", "3/0-1"]


def test_a_burst_outside_of_all_ranges_is_named(path: Path) -> None:
    what = "items of `LocD`: burst `00/1` lies in none of the 1 sessions; give every burst one, then `knockout report`"
    with pytest.raises(ReadingError, match=what):
        items_of_predictions("LocD", read_predictions(write(path)), [(0, 1)])


def test_sessions_of_another_length_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="arrays that do not go together: 1 of session, 3 of key"):
        read_predictions(write(path, session=np.array(["0/a"])))
