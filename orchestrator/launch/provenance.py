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
from orchestrator.launch.commands import find_interpreter, read_run_config, resolve_program, task_of
from orchestrator.launch.local import job_environment, run_quietly
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
        content = provenance(order, read_run_config(folder).seed, data_folder, slot)
        write_json(folder.provenance, content)


def with_first_threads(folder: RunFolder, slot: Slot) -> Slot:
    """Return the slot with the number of threads of the run's first start. Another number would change its results."""
    threads = msgspec.json.decode(folder.provenance.read_bytes(), type=_Threads).threads
    if threads is None or slot.gpu is not None:
        return slot
    return Slot(slot.name, slot.environment | dict.fromkeys(THREADS, threads))


def provenance(order: Order, seed: int, data_folder: Path, slot: Slot) -> dict[str, Any]:
    """Return where a run's code, data and environment come from, as `provenance.json` says it."""
    code, program = order.code, find_program(order, data_folder)
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
        "program": program.path,
        "python": program.python,
        "environment": program.versions | {"gpu": name_gpu(slot)},
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Program(Struct, frozen=True, kw_only=True):
    """What a task's command runs, and the versions on which its numbers may depend."""

    path: str
    python: str | None = None
    """What `python -VV` says; None for a program that no Python runs."""
    versions: dict[str, str | None]
    """Python, the platform, and each distribution of that Python."""


def find_program(order: Order, root: Path) -> Program:
    """Find what the command of a run's task runs on this machine.

    Args:
        order: the run's order.
        root: the campaign's folder.
    """
    task = task_of(order)
    path = resolve_program(task.command[0], root, root, task.env.values.get("PATH"))
    if not task.supervised:
        return Program(path=sys.executable, python=f"Python {sys.version}", versions=environment())
    interpreter = find_interpreter(path)
    told = _ask_interpreter(interpreter) if interpreter is not None else None
    if told is None:
        return Program(path=path, versions={"platform": platform.platform()})
    versions: dict[str, str | None] = {"python": told.python, "platform": platform.platform(), **told.distributions}
    return Program(path=path, python=f"Python {told.version}", versions=versions)


ASK_SECONDS = 60.0
"""Longest wait for an interpreter's answer."""
QUESTION = """
import json, platform, sys
from importlib import metadata
found = {one.metadata["Name"]: one.version for one in metadata.distributions() if one.metadata["Name"]}
print(json.dumps({"version": sys.version, "python": platform.python_version(), "distributions": found}))
"""
"""Python 3.8 or newer answers it."""


class _Told(Struct, frozen=True):
    version: str
    python: str
    distributions: dict[str, str | None]


@cache
def _ask_interpreter(path: str) -> _Told | None:
    """Ask a Python what it is and what it has; None if it does not answer. Each is asked once."""
    answer = run_quietly((path, "-c", QUESTION), job_environment(), ASK_SECONDS)
    try:
        return None if answer is None else msgspec.json.decode(answer, type=_Told)
    except msgspec.DecodeError:  # a Python before 3.8, or one that prints something else
        return None


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
