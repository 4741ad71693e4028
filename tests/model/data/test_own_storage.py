"""A capture whose bytes lie in another file, or that a plug-in must unpack, is refused: no hash names those."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from model.config import CaptureConfig
from model.data.captures import CaptureError, open_bursts, read_bursts

DATA = np.arange(1.0, 61).reshape(6, 10)
LABEL = np.repeat([1.0, 2.0], 3)
VALUES: dict[str, NDArray[Any]] = {"data": DATA, "label": LABEL}
Put = Callable[[Any, str, Path], None]


def open_capture(path: Path) -> NDArray[np.float32]:
    capture = CaptureConfig(path=path.name, devices=(0, 2), packets=(0, 3))
    return read_bursts(open_bursts(path, capture, samples=5, default_sample_rate_hz=1e6), np.arange(6))


def link_elsewhere(file: Any, name: str, other: Path) -> None:
    file[name] = h5py.ExternalLink(str(other), f"/{name}")


def link_to_a_link_elsewhere(file: Any, name: str, other: Path) -> None:
    file.create_group("parts")[name] = h5py.ExternalLink(str(other), f"/{name}")
    file[name] = h5py.SoftLink(f"/parts/{name}")


def link_through_a_group_elsewhere(file: Any, name: str, other: Path) -> None:
    file["parts"] = h5py.ExternalLink(str(other), "/")
    file[name] = h5py.SoftLink(f"parts/{name}")


def store_elsewhere(file: Any, name: str, other: Path) -> None:
    raw = other.with_suffix(f".{name}.raw")
    raw.write_bytes(VALUES[name].tobytes())
    file.create_dataset(name, VALUES[name].shape, "f8", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])


def put_together(file: Any, name: str, other: Path) -> None:
    layout = h5py.VirtualLayout(shape=VALUES[name].shape, dtype="f8")
    layout[...] = h5py.VirtualSource(str(other), name, shape=VALUES[name].shape)
    file.create_virtual_dataset(name, layout)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file.update(VALUES)
    return path


@pytest.mark.parametrize("name", ["data", "label"])
@pytest.mark.parametrize(
    ("put", "found"),
    [
        (link_elsewhere, r"is a link to `/{name}` in the file .*other\.h5"),
        (link_to_a_link_elsewhere, r"is a link to `/{name}` in the file .*other\.h5"),
        (link_through_a_group_elsewhere, r"is a link to `/` in the file .*other\.h5"),
        (store_elsewhere, r"has its numbers in the file .*other\.{name}\.raw"),
        (put_together, r"is put together of other datasets \(a virtual dataset\)"),
    ],
)
def test_bytes_of_another_file_are_refused(tmp_path: Path, other: Path, name: str, put: Put, found: str) -> None:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w") as file:
        put(file, name, other)
        file.update({one: values for one, values in VALUES.items() if one != name})
    wanted = rf"capture\.h5: `{name}` {found.format(name=name)}; every byte .* own file, .* new\[name\] = old\[name\]"
    with pytest.raises(CaptureError, match=wanted):
        open_capture(path)


def test_a_link_to_a_pipe_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "capture.h5", "w") as file:
        link_elsewhere(file, "data", tmp_path / "pipe.h5")
        file["label"] = LABEL
    with pytest.raises(CaptureError, match="is a link to `/data` in the file"):
        open_capture(tmp_path / "capture.h5")


def test_links_within_the_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w") as file:
        file["parts/data"] = DATA
        file["parts/same"] = h5py.SoftLink("data")
        file["data"] = h5py.SoftLink("/parts/./same")
        file["one"] = LABEL
        file["label"] = file["one"]
    np.testing.assert_array_equal(open_capture(path), DATA.reshape(6, 2, 5))


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "capture.h5", "w") as file:
        file["data"] = h5py.SoftLink("/more")
        file["more"] = h5py.SoftLink("/data")
    with pytest.raises(CaptureError, match="`data` is a chain of more than 16 links"):
        open_capture(tmp_path / "capture.h5")


def test_a_link_to_nothing_is_no_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "capture.h5", "w") as file:
        file["data"] = h5py.SoftLink("/gone/data")
    with pytest.raises(CaptureError, match="has no dataset `data`, it has `data`"):
        open_capture(tmp_path / "capture.h5")


def test_a_link_of_a_programs_own_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["data"] = h5py.ExternalLink("other.h5", "/data")
        file["label"] = LABEL
    content = bytearray(path.read_bytes())
    name = content.rindex(b"data", 0, content.index(b"other.h5\0"))
    # h5py makes no such links. The kind is a byte before the name; from 65 on it is a program's own.
    content[content.rindex(h5py.h5l.TYPE_EXTERNAL, name - 12, name)] = 65
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=r"`data` is a link of a program's own kind \(65\)"):
        open_capture(path)


@pytest.mark.parametrize("driver", [{"driver": "family", "memb_size": 2**20}, {"driver": "split"}])
def test_a_file_in_parts_is_refused(tmp_path: Path, driver: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "part%d.h5", "w", **driver) as file:
        file.update(VALUES)
    first = min(path for path in tmp_path.iterdir())
    with pytest.raises(
        CaptureError, match=r"cannot be read as HDF5 \(.*driver should be used\)\); check .* as one file"
    ):
        open_capture(first.rename(tmp_path / "capture.h5"))


def test_a_filter_that_only_a_plug_in_unpacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "capture.h5"
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2, 10))
        # Filter 32001 is Blosc's; where it is optional a machine without it writes unpacked.
        properties.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(DATA.shape)
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_DOUBLE, space, properties)
        file["data"][:] = DATA
        file["label"] = LABEL
    with pytest.raises(CaptureError, match=r"`data` is packed with the filter .* \(32001\), .* `h5repack -f GZIP=4"):
        open_capture(path)


@pytest.mark.parametrize("storage", [{"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}])
def test_filters_that_come_with_hdf5_are_read(tmp_path: Path, storage: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "capture.h5", "w") as file:
        file.create_dataset("data", data=DATA, shuffle=True, **storage)
        file["label"] = LABEL
    np.testing.assert_array_equal(open_capture(tmp_path / "capture.h5"), DATA.reshape(6, 2, 5))


def test_a_chunk_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "capture.h5", "w", libver="latest") as file:
        file.create_dataset("data", (6, 2**20), "f8", chunks=(2**10, 2**20), maxshape=(None, 2**20), compression="gzip")
        file["label"] = LABEL
    with pytest.raises(CaptureError, match=r"`data` has chunks of \[1024, 1048576\] float64, .* data:CONTI"):
        open_capture(tmp_path / "capture.h5")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HDF5_DRIVER", "family"),
        ("HDF5_DRIVER", "nonsense"),
        ("HDF5_VOL_CONNECTOR", "nonsense"),
        ("HDF5_PLUGIN_PATH", "/nowhere"),
    ],
)
def test_the_environment_does_not_change_what_is_read(other: Path, variable: str, value: str) -> None:
    read = "import model.data.captures as c, pathlib, sys; print(c.read_sample_rate(pathlib.Path(sys.argv[1]), 5.0))"
    done = subprocess.run(
        [sys.executable, "-c", read, str(other)],
        env=os.environ | {variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5.0\n", "")
