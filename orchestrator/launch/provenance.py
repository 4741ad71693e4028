"""`provenance.json`: where a run's code, data and environment come from, written when its training first starts."""

import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from model.train.run_folder import RunFolder
from orchestrator.files import write_json
from orchestrator.launch.slots import Slot, name_gpu
from orchestrator.runs.order import Order

PACKAGES = ("torch", "numpy", "h5py", "flash-linear-attention", "liger-kernel", "triton")

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads a job computes with; on a CPU the last bits of its numbers depend on it."""


class _Threads(Struct, frozen=True):
    """What is asked of `provenance.json`; an older one does not say it."""

    threads: str | None = None


def write_provenance(folder: RunFolder, order: Order, data_folder: Path, slot: Slot) -> None:
    """Write it, unless the run was started before: one that goes on keeps the provenance of its first start."""
    if not folder.provenance.exists():
        content = provenance(order, folder.read_config().seed, data_folder, slot)
        write_json(folder.provenance, content)


def with_first_threads(folder: RunFolder, slot: Slot) -> Slot:
    """Give a slot the threads that a run was first started with; with others its numbers would differ in the end."""
    threads = msgspec.json.decode(folder.provenance.read_bytes(), type=_Threads).threads
    if threads is None or slot.gpu is not None:
        return slot
    return Slot(slot.name, slot.environment | dict.fromkeys(THREADS, threads))


def provenance(order: Order, seed: int, data_folder: Path, slot: Slot) -> dict[str, Any]:
    """Collect where a run's code, data and environment come from."""
    code = order.code
    return {
        "run": order.run,
        "device": slot.name,
        "threads": slot.environment.get(THREADS[0]),
        "seed": seed,
        "identity": order.identity,
        "branch": code.branch,
        "commit": code.commit,
        "base_commit": code.base_commit,
        "code_tree": code.tree,
        "code_changes": code.changes,
        "code_differs_beyond": code.differs_beyond,
        "captures": order.captures,
        "data_folder": str(data_folder),
        "environment": environment() | {"gpu": name_gpu(slot)},
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def environment() -> dict[str, str | None]:
    """Return the versions of what a training's numbers may depend on; None for what is not installed."""
    return dict(_versions())
