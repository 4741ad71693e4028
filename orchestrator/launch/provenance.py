"""`provenance.json`: where a run's code, data and environment come from. Its first start writes it."""

import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.files import write_json
from orchestrator.launch.slots import Slot, name_gpu
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import Order

PACKAGES = ("torch", "numpy", "h5py", "flash-linear-attention", "liger-kernel", "triton")
"""Packages on whose versions a training's numbers may depend."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that set a job's number of threads. On a CPU the last bits of its numbers depend on it."""


class _Threads(Struct, frozen=True):
    """What is read from `provenance.json`; older files have no threads."""

    threads: str | None = None


def write_provenance(folder: RunFolder, order: Order, data_folder: Path, slot: Slot) -> None:
    """Write `provenance.json`. A run that goes on keeps the file of its first start."""
    if not folder.provenance.exists():
        content = provenance(order, folder.read_config().seed, data_folder, slot)
        write_json(folder.provenance, content)


def with_first_threads(folder: RunFolder, slot: Slot) -> Slot:
    """Return the slot with the number of threads of the run's first start. Another number would change its results."""
    threads = msgspec.json.decode(folder.provenance.read_bytes(), type=_Threads).threads
    if threads is None or slot.gpu is not None:
        return slot
    return Slot(slot.name, slot.environment | dict.fromkeys(THREADS, threads))


def provenance(order: Order, seed: int, data_folder: Path, slot: Slot) -> dict[str, Any]:
    """Return where a run's code, data and environment come from, as `provenance.json` says it."""
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
        "files": order.files,
        "data": order.data,
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
    """Return name -> version of Python, the platform and `PACKAGES`; None for a package that is not installed."""
    return dict(_versions())
