from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from model.config import JobConfig
from model.data.alike import require_layout, require_one_rate
from model.data.captures import CaptureError

JobBuilder = Callable[..., JobConfig]


def copy_with_rate(source: Path, path: Path, rate_hz: float) -> None:
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["sample_rate"] = rate_hz


def test_captures_of_one_rate_pass(build_job: JobBuilder, captures: Path) -> None:
    require_one_rate(build_job().data, captures)


def test_captures_of_two_rates_are_refused_with_both(build_job: JobBuilder, captures: Path, tmp_path: Path) -> None:
    copy_with_rate(captures / "here.h5", tmp_path / "here.h5", 1e6)
    copy_with_rate(captures / "there.h5", tmp_path / "there.h5", 2e6)
    with pytest.raises(CaptureError, match=r"there.h5: sampled at 2e\+06 Hz, .*here.h5 at 1e\+06 Hz"):
        require_one_rate(build_job().data, tmp_path)


def test_a_rate_that_the_file_does_not_state_is_that_of_the_configuration(
    build_job: JobBuilder, captures: Path, tmp_path: Path
) -> None:
    (tmp_path / "here.h5").write_bytes((captures / "here.h5").read_bytes())
    copy_with_rate(captures / "there.h5", tmp_path / "there.h5", 5e5)
    require_one_rate(build_job(data={"sample_rate_hz": 5e5}).data, tmp_path)


def test_a_file_must_have_the_ending_of_its_layout(build_job: JobBuilder) -> None:
    require_layout(build_job().data)
    with pytest.raises(CaptureError, match=r"in layout shards it must end in \.npy"):
        require_layout(build_job(data={"layout": "shards"}).data)
    shards = {"captures": {"train": {"path": "here.npy"}}}
    with pytest.raises(CaptureError, match=r"capture `train`: .* must be HDF5, and \.npy is a shard"):
        require_layout(build_job(data=shards).data)
