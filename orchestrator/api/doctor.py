"""Looks at this machine: what a campaign needs, what is there, and what to do about the difference."""

import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from statistics import median

from model.config import JobConfig
from orchestrator.api.surroundings import (
    Finding,
    check_compiler,
    check_cores,
    check_disk,
    check_home,
    check_locks,
    check_places,
    judge_devices,
    judge_terminal,
)
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError, DataError
from orchestrator.launch.slots import count_gpus, list_gpus, visible_devices
from orchestrator.runs.paths import Paths
from orchestrator.task.ask import Speed, measure_speed, run_marked_tests

SPEED_EPOCHS = 10
SOURCE_EPOCH_SECONDS = (5, 6)
"""What an epoch of the source's baseline took, on a GPU that it does not name."""
SOURCE_LIMIT_SECONDS = 10
GPU_PACKAGES = ("flash-linear-attention", "liger-kernel", "triton")


def examine(paths: Paths) -> list[Finding]:
    """Look at Python, packages, GPUs, git, and what else trainings need."""
    return [
        check_cores(),
        _package("torch"),
        *_gpu(),
        check_compiler(),
        _git(paths),
        *check_places(paths),
        *check_home(),
        *check_locks(paths),
        check_disk(paths),
        judge_terminal(sys.stdout.encoding or "utf-8"),
    ]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(kind="bad", what=f"{name} is not installed; run `make setup`")
    return Finding(kind="ok", what=f"{name} {version}")


def _gpu() -> list[Finding]:
    gpus = list_gpus()
    devices = visible_devices(os.environ, gpus)
    packages = map(_package, GPU_PACKAGES) if devices else ()
    return [judge_devices(os.environ, gpus, devices), *packages]


def _git(paths: Paths) -> Finding:
    try:
        repository = Repository.find(paths.root)
    except CodeError as error:
        return Finding(kind="bad", what=str(error))
    if repository is None:
        return Finding(kind="note", what="no git repository: runs use a copy of the code, and no branches are made")
    changed = repository.uncommitted_code()
    if changed:
        return Finding(
            kind="note",
            what=f"{len(changed)} uncommitted changes under model/: commit them, or run with --snapshot",
        )
    return Finding(kind="ok", what=f"git commit {repository.base_commit[:12]}, code committed")


def examine_gpu(config: JobConfig, root: Path) -> Iterator[Finding]:
    """Check what only a GPU can show, one finding after the other: kernels, mixed precision, and the speed of `config`.

    Args:
        config: the campaign's baseline at profile `paper`.
        root: the checkout, which holds the tests.
    """
    if count_gpus() == 0:
        yield Finding(kind="bad", what="no NVIDIA GPU here, so there is nothing to check; run this where there is one")
        return
    yield from map(_package, GPU_PACKAGES)
    yield from check_cuda_tests(root)
    yield check_speed(config)


def check_cuda_tests(root: Path) -> Iterator[Finding]:
    """Run the tests that are marked `cuda`."""
    if not (root / "tests").is_dir():
        yield Finding(kind="note", what=f"the tests are not in {root}; run this from a clone of the repository")
        return
    passed, summary = run_marked_tests(root, "cuda")
    yield Finding(kind="ok" if passed else "bad", what=f"tests marked `cuda`: {summary}")


def check_speed(config: JobConfig) -> Finding:
    """Train `SPEED_EPOCHS` epochs on noise and compare them with the source's."""
    try:
        speed = measure_speed(config, SPEED_EPOCHS)
    except DataError as error:
        return Finding(kind="bad", what=f"speed check: {error}")
    return judge_speed(speed)


def judge_speed(speed: Speed) -> Finding:
    """Compare epochs with the source's. The first one pays for compiling, so it does not count. Pure."""
    first, *rest = speed.epoch_seconds
    typical = median(rest or [first])
    waited = sum(seconds or 0.0 for seconds in speed.data_seconds) / sum(speed.epoch_seconds)
    low, high = SOURCE_EPOCH_SECONDS
    what = (
        f"{typical:.1f} s an epoch on {speed.device}, median of those after the first, which took {first:.1f} s; "
        f"the source reports {low} to {high} s and stopped what took more than {SOURCE_LIMIT_SECONDS} s; "
        f"{waited:.0%} of the time waiting for data, {speed.skipped_steps} steps skipped, "
        f"{speed.peak_memory_bytes / 1e9:.1f} GB at most"
    )
    if typical > SOURCE_LIMIT_SECONDS:
        return Finding(kind="bad", what=f"{what}: too slow for the guard of profile `paper`")
    return Finding(kind="ok" if typical <= high else "note", what=what)
