"""Shards hold the bursts that were asked for, say so, and are never put over anything else."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from model.config import DataConfig, JobConfig
from model.data import shards
from model.data.batches import open_role
from model.data.captures import CaptureChangedError, CaptureError
from model.data.shards import Order, main, read_manifest, write_shards

ROOT = Path(__file__).parents[3]
JobBuilder = Callable[..., JobConfig]
OrderBuilder = Callable[..., Order]


@pytest.fixture
def build_order(build_job: JobBuilder, captures: Path, tmp_path: Path) -> OrderBuilder:
    def build(out: str = "shards", folder: Path = captures, **data: Any) -> Order:
        config = build_job(data=data).data
        paths = {capture.path for capture in config.captures.values()}
        hashes = {path: hashlib.sha256(path.encode()).hexdigest() for path in paths}
        return Order(data=config, data_folder=str(folder), out=str(tmp_path / out), sha256=hashes)

    return build


def contents(folder: str | Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(folder).iterdir()}


@pytest.mark.parametrize("role", ["train", "validate", "choose", "report"])
def test_a_job_on_shards_has_the_bursts_of_the_job_on_captures(
    build_order: OrderBuilder, captures: Path, role: str
) -> None:
    order = build_order(samples=40)
    write_shards(order)
    data = read_manifest(Path(order.out) / "manifest.json").data()
    ours, theirs = (
        open_role(config, getattr(config, role), Path(folder))
        for config, folder in ((data, order.out), (order.data, captures))
    )
    for one, other in zip(ours.shuffled(7, 0, 1), theirs.shuffled(7, 0, 1), strict=True):
        assert one.x_B2S.equal(other.x_B2S)
        assert one.class_B.equal(other.class_B)
    assert ours.keys.tolist() == theirs.keys.tolist()
    assert ours.sample_rate_hz == theirs.sample_rate_hz


def test_the_manifest_says_what_the_shards_are(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    manifest = json.loads((Path(order.out) / "manifest.json").read_bytes())
    assert manifest.pop("captures")["report"] == {
        "file": "report.npy",
        "devices": [2, 5],
        "packets": [8, 20],
        "bursts": 36,
        "sha256": hashlib.sha256((Path(order.out) / "report.npy").read_bytes()).hexdigest(),
        "source": {"path": "there.h5", "sha256": order.sha256["there.h5"]},
    }
    assert manifest == {
        "format": 1,
        "samples": 48,
        "sample_rate_hz": 1e6,
        "train": ["train"],
        "validate": ["val"],
        "choose": ["choose"],
        "report": ["report"],
    }


def test_the_data_of_a_manifest_are_those_of_the_order_in_another_layout(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    data = read_manifest(Path(order.out) / "manifest.json").data()
    plain, wanted = (msgspec.to_builtins(config) for config in (data, order.data))
    assert plain.pop("layout") == "shards"
    assert wanted.pop("layout") == "rffi-hdf5"
    for name, capture in plain["captures"].items():
        assert capture.pop("path") == f"{name}.npy"
        del wanted["captures"][name]["path"]
    assert plain == wanted


def test_a_shard_is_written_in_blocks(
    build_order: OrderBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that is used is that of some blocks of 1 MiB, so a shard may be larger than memory."""
    num_rows, samples = 3 * 400, 2048
    with h5py.File(tmp_path / "here.h5", "w") as file:
        file.create_dataset("data", (num_rows, 2 * samples), "f4", chunks=(100, 2 * samples), fillvalue=1.5)
        file["label"] = np.tile([3.0, 4.0, 5.0], 400)
    (tmp_path / "there.h5").symlink_to("here.h5")
    monkeypatch.setattr(shards, "BLOCK_BYTES", 2**20)
    packets = {"train": (0, 300), "val": (300, 340), "choose": (340, 360), "report": (360, 400)}
    parts = {name: {"packets": ranges} for name, ranges in packets.items()}
    order = build_order(folder=tmp_path, captures=parts, samples=samples)
    tracemalloc.start()
    write_shards(order)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "shards" / "train.npy").stat().st_size == 900 * 2 * samples * 4 + 128
    assert peak_bytes < 5 * 2**20 < 900 * 2 * samples * 4 / 2
    assert (np.load(tmp_path / "shards" / "train.npy") == 1.5).all()


def test_shards_that_are_there_are_left_as_they_are(build_order: OrderBuilder) -> None:
    order = build_order()
    assert [line.rpartition("/")[2] for line in write_shards(order)] == [
        "train.npy: 36 bursts of 48 samples",
        "val.npy: 24 bursts of 48 samples",
        "choose.npy: 24 bursts of 48 samples",
        "report.npy: 36 bursts of 48 samples",
        "manifest.json: 4 shards",
    ]
    before = contents(order.out)
    assert write_shards(order) == [f"{order.out}/manifest.json: its 4 shards are there already"]
    assert contents(order.out) == before


def test_the_same_captures_give_the_same_bytes(build_order: OrderBuilder) -> None:
    one, other = build_order("one"), build_order("other")
    write_shards(one)
    write_shards(other)
    assert {name: data for name, (data, _) in contents(one.out).items()} == {
        name: data for name, (data, _) in contents(other.out).items()
    }


def test_a_conversion_that_was_killed_is_done_again(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    whole = contents(order.out)
    folder = Path(order.out)
    (folder / "manifest.json").unlink()
    (folder / "train.npy").write_bytes(b"half a shar")
    (folder / ".val.npy.k3w9").write_bytes(b"")
    write_shards(order)
    (folder / ".val.npy.k3w9").unlink()
    assert {name: data for name, (data, _) in contents(folder).items()} == {
        name: data for name, (data, _) in whole.items()
    }


def test_nothing_is_written_where_a_capture_does_not_fit(build_order: OrderBuilder) -> None:
    order = build_order(captures={"report": {"packets": (8, 21)}})
    with pytest.raises(CaptureError, match="has 20 packets"):
        write_shards(order)
    assert not Path(order.out).exists()


def test_a_folder_with_anything_else_in_it_is_refused(build_order: OrderBuilder) -> None:
    order = build_order()
    Path(order.out).mkdir()
    (Path(order.out) / "thesis.tex").write_text("years of work")
    with pytest.raises(CaptureError, match=r"holds `thesis\.tex`, which is none of these shards, .* another folder"):
        write_shards(order)
    assert [path.name for path in Path(order.out).iterdir()] == ["thesis.tex"]


def test_a_file_in_the_folders_place_is_refused(build_order: OrderBuilder) -> None:
    order = build_order()
    Path(order.out).write_text("a file")
    with pytest.raises(CaptureError, match="this is a file, shards need a folder"):
        write_shards(order)


@pytest.mark.parametrize(
    "change", [{"samples": 47}, {"captures": {"train": {"packets": (0, 11)}}}, {"sample_rate_hz": 2e6}]
)
def test_a_folder_with_shards_of_other_data_is_refused(build_order: OrderBuilder, change: dict[str, Any]) -> None:
    order = build_order()
    write_shards(order)
    before = contents(order.out)
    with pytest.raises(
        CaptureError, match="holds shards of other captures, packets or samples than these; name another"
    ):
        write_shards(build_order(**change))
    assert contents(order.out) == before


def test_shards_of_a_capture_that_has_changed_since_are_refused(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    changed = msgspec.structs.replace(order, sha256=order.sha256 | {"there.h5": "0" * 64})
    with pytest.raises(CaptureError, match="holds shards of other captures"):
        write_shards(changed)


def test_a_shard_that_is_damaged_since_is_refused(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    path = Path(order.out) / "val.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CaptureError, match=r"val\.npy: has .* bytes, .* need"):
        write_shards(order)
    np.save(path, np.zeros((3, 2, 48), dtype=np.float32))
    with pytest.raises(CaptureError, match=r"holds \[3, 2, 48\], the manifest says \[24, 2, 48\] of `val`; remove"):
        write_shards(order)


def test_a_shard_of_other_bytes_than_its_manifest_names_is_refused(build_order: OrderBuilder) -> None:
    order = build_order()
    write_shards(order)
    path = Path(order.out) / "val.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        CaptureError, match=r"val\.npy: its bytes are not those that the manifest names; remove .*shards"
    ):
        write_shards(order)


def test_a_capture_that_changes_while_shards_are_cut_leaves_no_manifest(
    build_order: OrderBuilder, captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(captures, tmp_path / "captures")
    order = build_order(folder=folder)
    original = shards.stream_atomically

    def meanwhile(path: Path, write: Callable[[Any], object]) -> None:
        original(path, write)
        shutil.copy(folder / "there.h5", folder / "new.h5").replace(folder / "there.h5")

    monkeypatch.setattr(shards, "stream_atomically", meanwhile)
    with pytest.raises(CaptureChangedError, match=r"there\.h5: the capture has changed since it was opened"):
        write_shards(order)
    assert not (Path(order.out) / "manifest.json").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    build_order: OrderBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = build_order()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 10**4, 10**4))
    with pytest.raises(OSError, match=r"0\.046 MB are needed, 0\.010 MB are free; ask for less, or free some"):
        write_shards(order)
    assert not Path(order.out).exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("a file/shards", "shards: Not a directory|a file: Not a directory|shards cannot be written: Not a directory"),
        (
            "/proc/none",
            "/proc/none cannot be written: 0.046 MB are needed, 0.000 MB are free; ask for less, or free some",
        ),
    ],
)
def test_a_place_where_nothing_can_be_written_is_told(
    out: str, said: str, build_order: OrderBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    order = msgspec.structs.replace(build_order(), out=str(tmp_path / out))
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(order))))
    monkeypatch.setattr(sys, "stderr", told)
    assert main() == 2
    assert re.fullmatch(rf"model\.data\.shards: .*({said})\n", told.getvalue())


def test_captures_of_two_sample_rates_are_refused(build_order: OrderBuilder, captures: Path, tmp_path: Path) -> None:
    for name, rate_hz in (("here.h5", 1e6), ("there.h5", 2e6)):
        (tmp_path / name).write_bytes((captures / name).read_bytes())
        with h5py.File(tmp_path / name, "r+") as file:
            file.attrs["sample_rate"] = rate_hz
    with pytest.raises(
        CaptureError, match=r"there\.h5: sampled at 2e\+06 Hz, .*here\.h5 at 1e\+06 Hz; all captures need one rate"
    ):
        write_shards(build_order(folder=tmp_path))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a b", ""])
def test_a_capture_whose_name_cannot_name_a_file_is_refused(build_order: OrderBuilder, name: str) -> None:
    captures = {name: {"path": "there.h5", "devices": (2, 5), "packets": (0, 8)}}
    with pytest.raises(CaptureError, match=rf"the capture `{name}` cannot name a shard; name it with letters"):
        write_shards(build_order(captures=captures, choose=(name,)))


class TestManifest:
    @pytest.fixture
    def path(self, build_order: OrderBuilder) -> Path:
        order = build_order()
        write_shards(order)
        return Path(order.out) / "manifest.json"

    def test_that_is_missing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CaptureError, match=r"there is no such manifest; `knockout data shard` makes one"):
            read_manifest(tmp_path / "manifest.json")

    def test_that_is_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CaptureError, match=r"the manifest cannot be read: Is a directory"):
            read_manifest(tmp_path)

    def test_that_is_a_pipe_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "manifest.json")
        with pytest.raises(CaptureError, match="the manifest is a pipe, a socket or a device, it must be a file"):
            read_manifest(tmp_path / "manifest.json")

    def test_whose_sources_are_copies_of_one_another_is_refused(self, path: Path) -> None:
        content = json.loads(path.read_bytes())
        shard = content["captures"]["report"]
        shard["packets"], shard["bursts"] = [0, 12], 36
        shard["source"] = {"path": "copy.h5", "sha256": content["captures"]["train"]["source"]["sha256"]}
        path.write_text(json.dumps(content))
        with pytest.raises(CaptureError, match=r"`report: report` and `train: train` share bursts"):
            read_manifest(path)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"format": 2}', b"\xff"])
    def test_that_is_none_is_refused(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(CaptureError, match=r"manifest\.json: this is no manifest of shards \(.*\); make it with"):
            read_manifest(path)

    def changed(self, path: Path, **changes: Any) -> Path:
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps(content | changes))
        return path

    def test_with_an_unknown_field_is_refused(self, path: Path) -> None:
        with pytest.raises(CaptureError, match="unknown field `speed`"):
            read_manifest(self.changed(path, speed=1))

    def test_whose_role_names_no_capture_is_refused(self, path: Path) -> None:
        with pytest.raises(CaptureError, match="`train` names the capture `other`"):
            read_manifest(self.changed(path, train=["other"]))

    def test_that_trains_on_what_it_reports_is_refused_though_the_shards_are_two_files(self, path: Path) -> None:
        captures = json.loads(path.read_bytes())["captures"]
        twin = captures["report"] | {"file": "twin.npy"}
        with pytest.raises(CaptureError, match="`report: report` and `train: twin` share bursts"):
            read_manifest(self.changed(path, captures=captures | {"twin": twin}, train=["twin"]))

    def test_that_points_out_of_its_folder_is_refused(self, path: Path) -> None:
        captures = json.loads(path.read_bytes())["captures"]
        captures["report"]["file"] = "../report.npy"
        with pytest.raises(CaptureError, match=r"the file of `report` is `\.\./report\.npy`, it must be `report\.npy`"):
            read_manifest(self.changed(path, captures=captures))


class TestCommand:
    def run(
        self, order: Order, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(order))))
        status = main()
        return status, *capsys.readouterr()

    def test_says_what_it_wrote(
        self, build_order: OrderBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, out, _ = self.run(build_order(), monkeypatch, capsys)
        assert status == 0
        assert out.endswith("manifest.json: 4 shards\n")

    def test_says_a_mistake_in_a_sentence(
        self, build_order: OrderBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, _, err = self.run(build_order(samples=49), monkeypatch, capsys)
        assert status == 2
        assert "has 48 samples a burst, `samples` asks for 49" in err
        assert err.startswith("model.data.shards: ")


def test_a_conversion_needs_no_torch() -> None:
    check = "import sys, model.data.shards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_every_part_of_a_data_config_is_carried() -> None:
    """A field that a manifest does not know would be lost; controls and confirmations are of campaigns alone."""
    carried = {"captures", "train", "validate", "choose", "report", "samples", "sample_rate_hz", "layout"}
    assert set(DataConfig.__struct_fields__) == carried | {"shuffled_labels", "confirm"}
