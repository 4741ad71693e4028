"""Checks that all captures of a configuration share one layout and one sample rate. No torch."""

import os
from collections.abc import Iterable
from pathlib import Path

from model.config import CapturePlace, DataConfig, expand_path
from model.data.captures import Bursts, CaptureError, read_sample_rate
from model.data.unchanged import is_shard


def require_one_rate(config: DataConfig, folder: Path, opened: Iterable[Bursts] = ()) -> None:
    """Refuse captures of different sample rates, whatever their roles; paths are relative to `folder`.

    A network trained at one rate says nothing at another. Shards state no rate, so the configuration's rate holds.
    The rates of `opened` captures are known; the others are read.

    Raises:
        CaptureError: a file is missing, or its rate is not that of the others.
    """
    known = {part.path: part.sample_rate_hz for part in opened}
    paths = list(dict.fromkeys(CapturePlace(folder, config.captures[name].path) for name in config.used))
    for path in paths:
        if path not in known:
            known[path] = read_sample_rate(path, config.sample_rate_hz)
        if known[path] != known[paths[0]]:
            raise CaptureError(
                f"{path}: sampled at {known[path]:g} Hz, {paths[0]} at {known[paths[0]]:g} Hz; all captures need one "
                "rate: resample one of them, or correct its attribute `sample_rate`"
            )


def require_layout(config: DataConfig) -> None:
    """Refuse a file whose name does not fit the layout: the name alone must not decide how a capture is read.

    Raises:
        CaptureError: a shard in the layout of HDF5, or the other way round.
    """
    for name in config.used:
        path = config.captures[name].path
        if is_shard(expand_path(path, os.environ)) != (config.layout == "shards"):
            ending = "must end in .npy" if config.layout == "shards" else "must be HDF5, and .npy is a shard"
            raise CaptureError(
                f"capture `{name}`: its path is {path}, in layout {config.layout} it {ending}; "
                "correct `path` or `layout` under `data`"
            )
