import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.config import DataConfig, JobConfig
from model.data import batches
from model.data.batches import Batch, BurstSet, Timed, device_classes, one_ahead, open_role
from model.data.captures import CaptureError

JobBuilder = Callable[..., JobConfig]


@pytest.fixture
def data(build_job: Callable[..., JobConfig]) -> DataConfig:
    """Two captures to train on, of 3 devices x 12 and 3 x 5 packets."""
    captures = {"more": {"path": "there.h5", "devices": (2, 5), "packets": (0, 5)}}
    scored = {"choose": (), "report": ("report",)}
    return build_job(data={"captures": captures, "train": ("train", "more"), **scored}).data


@pytest.fixture
def bursts(data: DataConfig, captures: Path) -> BurstSet:
    return open_role(data, data.train, captures)


def identities(found: Iterator[Batch]) -> list[tuple[float, int]]:
    """Tell bursts apart by their first sample."""
    return [
        (float(x_2S[0, 0]), int(number))
        for batch in found
        for x_2S, number in zip(batch.x_B2S, batch.class_B, strict=True)
    ]


def raw(path: Path, device: int, packets: slice) -> np.ndarray[Any, Any]:
    with h5py.File(path) as file:
        rows = np.flatnonzero(file["label"][0] == device + 1)[packets]
        return file["data"][rows].reshape(len(rows), 2, -1)


def test_bursts_stand_in_file_order_capture_by_capture(bursts: BurstSet, captures: Path) -> None:
    (whole,) = bursts.in_order(1000)
    expected = [raw(captures / "here.h5", device, slice(0, 12)) for device in (2, 3, 4)]
    expected += [raw(captures / "there.h5", device, slice(0, 5)) for device in (2, 3, 4)]
    assert np.array_equal(whole.x_B2S.numpy(), np.concatenate(expected))
    assert whole.class_B.tolist() == [0] * 12 + [1] * 12 + [2] * 12 + [0] * 5 + [1] * 5 + [2] * 5
    assert bursts.devices.tolist() == [number + 2 for number in whole.class_B.tolist()]
    assert bursts.keys[[0, 11, 12, 36, 50]].tolist() == ["2/0", "2/11", "3/0", "2/0", "4/4"]


@pytest.mark.parametrize("batch_size", [1, 7, 51, 200])
def test_an_epoch_has_every_burst_once(bursts: BurstSet, batch_size: int) -> None:
    shuffled = list(bursts.shuffled(batch_size, seed=0, epoch=1))
    assert [len(batch.class_B) for batch in shuffled] == [
        min(batch_size, 51 - start) for start in range(0, 51, batch_size)
    ]
    assert len(set(identities(iter(shuffled)))) == 51
    assert sorted(identities(iter(shuffled))) == sorted(identities(bursts.in_order(batch_size)))


def test_the_order_depends_on_seed_and_epoch_alone(bursts: BurstSet, data: DataConfig, captures: Path) -> None:
    first = identities(bursts.shuffled(8, seed=0, epoch=1))
    torch.manual_seed(123)
    assert identities(open_role(data, data.train, captures).shuffled(5, seed=0, epoch=1)) == first
    assert identities(bursts.shuffled(8, seed=0, epoch=2)) != first
    assert identities(bursts.shuffled(8, seed=1, epoch=1)) != first
    assert identities(bursts.in_order(8)) != first


def test_a_set_too_large_for_memory_has_the_same_batches(
    bursts: BurstSet, data: DataConfig, captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [*bursts.shuffled(8, seed=0, epoch=1), *bursts.in_order(20)]
    monkeypatch.setattr(batches, "MEMORY_BYTES", 51 * 2 * 48 * 4 - 1)
    reads = []
    read_into = batches.read_into
    monkeypatch.setattr(batches, "read_into", lambda *given: reads.append(given) or read_into(*given))
    large = open_role(data, data.train, captures)
    assert not reads
    read = [*large.shuffled(8, seed=0, epoch=1), *large.in_order(20)]
    assert len(reads) >= len(read)
    assert all(torch.equal(a.x_B2S, b.x_B2S) for a, b in zip(kept, read, strict=True))
    assert all(torch.equal(a.class_B, b.class_B) for a, b in zip(kept, read, strict=True))


def test_a_set_that_fits_memory_is_read_once(data: DataConfig, captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MEMORY_BYTES", 51 * 2 * 48 * 4)
    small = open_role(data, data.train, captures)
    monkeypatch.setattr(batches, "read_into", None)
    assert len(identities(small.shuffled(8, seed=0, epoch=1))) == 51


def test_only_the_leading_samples_are_used(build_job: JobBuilder, captures: Path) -> None:
    long, short = (build_job(data={"samples": samples}).data for samples in (48, 10))
    (all_samples,) = open_role(long, ("train",), captures).in_order(100)
    (leading,) = open_role(short, ("train",), captures).in_order(100)
    assert torch.equal(leading.x_B2S, all_samples.x_B2S[:, :, :10])


def test_shuffled_labels_are_a_permutation_that_the_seed_fixes(
    bursts: BurstSet, data: DataConfig, captures: Path
) -> None:
    before = bursts.class_of_burst.clone()
    again, other = (open_role(data, data.train, captures) for _ in range(2))
    for dealt, seed in ((bursts, 0), (again, 0), (other, 1)):
        dealt.shuffle_labels(seed)
    assert torch.equal(bursts.class_of_burst.sort().values, before.sort().values)
    assert not torch.equal(bursts.class_of_burst, before)
    assert torch.equal(bursts.class_of_burst, again.class_of_burst)
    assert not torch.equal(bursts.class_of_burst, other.class_of_burst)


def test_shuffling_labels_moves_no_burst(bursts: BurstSet) -> None:
    (before,) = bursts.in_order(100)
    bursts.shuffle_labels(0)
    (after,) = bursts.in_order(100)
    assert torch.equal(after.x_B2S, before.x_B2S)
    assert torch.equal(after.class_B, bursts.class_of_burst)


def test_devices_are_numbered_in_order_over_all_training_captures(build_job: JobBuilder) -> None:
    captures = {
        "train": {"path": "here.h5", "devices": (4, 5), "packets": (0, 4)},
        "more": {"path": "there.h5", "devices": (2, 4), "packets": (0, 4)},
    }
    data = build_job(data={"captures": captures, "train": ("train", "more"), "choose": ()}).data
    assert device_classes(data) == {2: 0, 3: 1, 4: 2}


@pytest.mark.parametrize("role", ["val", "choose", "report"])
def test_a_device_that_is_never_trained_on_is_refused(build_job: JobBuilder, role: str) -> None:
    data = build_job(data={"captures": {role: {"path": "other.h5", "devices": (3, 7), "packets": (0, 2)}}}).data
    with pytest.raises(CaptureError, match=rf"capture `{role}` has devices \[5, 6\] that no training capture has"):
        device_classes(data)


@pytest.mark.parametrize("role", ["train", "report"])
def test_captures_of_all_roles_need_one_sample_rate(
    role: str, data: DataConfig, captures: Path, tmp_path: Path
) -> None:
    for name, rate_hz in (("here.h5", 1e6), ("there.h5", 2e6)):
        (tmp_path / name).write_bytes((captures / name).read_bytes())
        with h5py.File(tmp_path / name, "r+") as file:
            file.attrs["sample_rate"] = rate_hz
    with pytest.raises(CaptureError, match=r"there\.h5: sampled at 2e\+06 Hz, .*here\.h5 at 1e\+06 Hz; .* one rate"):
        open_role(data, getattr(data, role), tmp_path)


def test_a_file_without_a_rate_takes_that_of_the_configuration(build_job: JobBuilder, captures: Path) -> None:
    data = build_job(data={"sample_rate_hz": 5e5}).data
    assert open_role(data, ("train",), captures).sample_rate_hz == 5e5


def numbered(indices: torch.Tensor) -> Batch:
    return Batch(indices.float(), indices)


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_one_batch_is_read_ahead_and_no_more() -> None:
    taken: list[int] = []

    def take(indices: torch.Tensor) -> Batch:
        taken.append(int(indices))
        return numbered(indices)

    batches_ahead = one_ahead(take, list(torch.arange(5)))
    assert not taken
    for number, batch in enumerate(batches_ahead):
        assert int(batch.class_B) == number
        num_taken = min(number + 2, 5)
        wait_until(lambda count=num_taken: len(taken) == count)
        assert taken == list(range(num_taken))
    assert not reading_threads()


def wait_until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_no_batches_are_no_batches() -> None:
    assert list(one_ahead(numbered, [])) == []


def test_leaving_early_ends_the_reading_thread() -> None:
    batches_ahead = one_ahead(numbered, list(torch.arange(100)))
    next(batches_ahead)
    assert len(reading_threads()) == 1
    batches_ahead.close()
    assert not reading_threads()


def test_what_reading_raises_is_raised_in_place_of_its_batch() -> None:
    def take(indices: torch.Tensor) -> Batch:
        if int(indices) == 2:
            raise CaptureError("row 2 is spoilt")
        return numbered(indices)

    batches_ahead = one_ahead(take, list(torch.arange(5)))
    assert [int(next(batches_ahead).class_B) for _ in range(2)] == [0, 1]
    with pytest.raises(CaptureError, match="row 2 is spoilt"):
        next(batches_ahead)
    assert not reading_threads()


def test_a_capture_that_is_spoilt_while_it_is_read_is_refused_where_its_batch_is_due(
    data: DataConfig, captures: Path, tmp_path: Path
) -> None:
    for name in ("here.h5", "there.h5"):
        (tmp_path / name).write_bytes((captures / name).read_bytes())
    parts = open_role(data, data.train, tmp_path).parts
    large = BurstSet(parts, device_classes(data), memory_bytes=0)
    with h5py.File(tmp_path / "there.h5", "r+") as file:
        file["data"][:] = np.nan
    with pytest.raises(CaptureError, match=r"there\.h5: has NaN"):
        list(large.in_order(16))
    assert not reading_threads()


def test_the_limit_of_what_is_kept_in_memory_can_be_said(data: DataConfig, captures: Path) -> None:
    parts = open_role(data, data.train, captures).parts
    for memory_bytes, threads in ((0, 1), (51 * 2 * 48 * 4, 0)):
        batches_of_set = BurstSet(parts, device_classes(data), memory_bytes).in_order(8)
        next(batches_of_set)
        assert len(reading_threads()) == threads
    del batches_of_set


def test_the_time_that_is_waited_for_batches_is_summed() -> None:
    def slow() -> Iterator[Batch]:
        for number in range(3):
            time.sleep(0.02)
            yield numbered(torch.tensor(number))

    timed = Timed(slow())
    for batch in timed:
        assert batch.class_B is not None
        time.sleep(0.05)
    assert 0.06 <= timed.seconds < 0.15


def test_a_layout_and_a_file_of_the_other_are_refused(build_job: JobBuilder, captures: Path) -> None:
    shards = build_job(data={"layout": "shards"}).data
    with pytest.raises(CaptureError, match=r"`train`: its path is here\.h5, in layout shards it must end in \.npy"):
        open_role(shards, shards.train, captures)
    hdf5 = build_job(data={"captures": {"train": {"path": "here.npy"}}}).data
    with pytest.raises(CaptureError, match=r"its path is here\.npy, in layout rffi-hdf5 it must be HDF5"):
        open_role(hdf5, hdf5.train, captures)


class Copies(TorchDispatchMode):
    """Counts copies from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.num_copies = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = operation(*arguments, **(named or {}))
        if operation.overloadpacket.__name__ == "_to_copy" and result.device != arguments[0].device:
            self.num_copies += 1
        return result


META = torch.device("meta")
"""A device without memory: it stands for a GPU where only copies are counted."""


@pytest.mark.parametrize(("free_bytes", "copies_an_epoch"), [(None, 1), (2**30, 1), (1000, 2 * 5)])
def test_bursts_that_fit_the_device_are_copied_there_once(
    data: DataConfig, captures: Path, free_bytes: int | None, copies_an_epoch: int
) -> None:
    bursts = open_role(data, data.train, captures)
    bursts.place(META, free_bytes)
    with Copies() as copies:
        batches = list(bursts.shuffled(math.ceil(len(bursts) / 5), seed=0, epoch=1))
    assert len(batches) == 5
    assert {part.device for batch in batches for part in (batch.x_B2S, batch.class_B)} == {META}
    assert copies.num_copies == copies_an_epoch, "the order once, or bursts and classes for each batch"


def test_a_quarter_of_the_free_memory_is_the_most_that_bursts_take(data: DataConfig, captures: Path) -> None:
    num_bytes = len(open_role(data, data.train, captures)) * 2 * 48 * 4
    for free_bytes, expected in ((4 * num_bytes, 1), (4 * num_bytes - 1, 2)):
        bursts = open_role(data, data.train, captures)
        bursts.place(META, free_bytes)
        with Copies() as copies:
            list(bursts.in_order(len(bursts)))
        assert copies.num_copies == expected


def test_a_set_too_large_for_memory_is_sent_batch_by_batch(data: DataConfig, captures: Path) -> None:
    bursts = BurstSet(open_role(data, data.train, captures).parts, device_classes(data), memory_bytes=0)
    bursts.place(META, 2**30)
    assert {batch.x_B2S.device for batch in bursts.in_order(8)} == {META}


def test_labels_that_are_shuffled_after_placing_reach_the_batches(bursts: BurstSet) -> None:
    bursts.place(torch.device("cpu"))
    bursts.shuffle_labels(seed=1)
    (batch,) = bursts.in_order(len(bursts))
    assert torch.equal(batch.class_B, bursts.class_of_burst)
