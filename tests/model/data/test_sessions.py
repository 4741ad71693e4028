"""The session of a burst is found by its packet, or in the capture's own data set; what does not fit is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.config import CaptureConfig
from model.data.captures import CaptureError, open_bursts
from model.data.sessions import find_sessions

NUM_DEVICES, NUM_PACKETS = 2, 4
NUM_ROWS = NUM_DEVICES * NUM_PACKETS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((NUM_ROWS, 8))
        file["label"] = np.repeat(np.arange(1.0, NUM_DEVICES + 1), NUM_PACKETS)[None]
    return path


def sessions_of(path: Path, sessions: Any, packets: tuple[int, int] = (0, NUM_PACKETS)) -> list[str] | None:
    capture = CaptureConfig(path=path.name, devices=(0, NUM_DEVICES), packets=packets, **sessions)
    found = find_sessions(open_bursts(path, capture, samples=4, default_sample_rate_hz=1e6), capture)
    return None if found is None else found.tolist()


def with_column(path: Path, values: Any) -> Path:
    with h5py.File(path, "a") as file:
        file["part"] = values
    return path


def test_a_capture_that_declares_nothing_has_no_sessions(path: Path) -> None:
    assert sessions_of(path, {}) is None


def test_ranges_name_a_session_by_its_device_and_packets(path: Path) -> None:
    found = sessions_of(path, {"sessions": ((0, 2), (2, 4))}, packets=(1, 4))
    assert found == ["0/0-2", "0/2-4", "0/2-4", "1/0-2", "1/2-4", "1/2-4"]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[7, 7, 8, 8, 8, 8, 9, 9]]),
        np.array([7, 7, 8, 8, 8, 8, 9, 9], dtype=np.float64)[:, None],
        np.array([b"7", b"7", b"8", b"8", b"8", b"8", b"9", b"9"]),
        ["7", "7", "8", "8", "8", "8", "9", "9"],
    ],
)
def test_a_data_set_gives_the_session_of_each_row_and_devices_share_none(path: Path, values: Any) -> None:
    found = sessions_of(with_column(path, values), {"sessions": "part"}, packets=(1, 4))
    assert found == ["0/7", "0/8", "0/8", "1/8", "1/9", "1/9"]


def test_a_missing_data_set_is_named_with_those_that_are_there(path: Path) -> None:
    what = "has no dataset `part` for `sessions`, it has `data`, `label`; name one of them"
    with pytest.raises(CaptureError, match=what):
        sessions_of(path, {"sessions": "part"})


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.arange(3), r"`part` has shape \(3,\), `data` has 8 rows; `sessions` needs one value a row"),
        (np.full(NUM_ROWS, 1.5), r"`part` is 1.5 at row 0 \(counted from 0\); `sessions` needs whole numbers"),
        (np.full(NUM_ROWS, np.nan), r"`part` is nan at row 0"),
        (np.full(NUM_ROWS, 1j), "`part` holds complex128; `sessions` needs whole numbers or short texts"),
        (np.full(NUM_ROWS, b"x" * 300), r"`part` holds \|S300; `sessions` needs whole numbers or short texts"),
    ],
)
def test_a_data_set_that_is_no_name_a_burst_is_refused(path: Path, values: Any, what: str) -> None:
    with pytest.raises(CaptureError, match=what):
        sessions_of(with_column(path, values), {"sessions": "part"})
