"""Looks at this machine: what a campaign needs, what is there, and what to do about the difference."""

import os
import shutil
import sys
from importlib import metadata
from typing import Literal

from msgspec import Struct

from orchestrator.branches import Repository
from orchestrator.errors import CodeError
from orchestrator.launchers.local import count_gpus
from orchestrator.layout import Layout

MIN_FREE_BYTES = 2 * 10**9
GPU_PACKAGES = ("flash-linear-attention", "liger-kernel", "triton")


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    kind: Literal["ok", "note", "bad"]
    what: str


def examine(layout: Layout) -> list[Finding]:
    """Look at Python, packages, GPUs, git and disk."""
    return [_python(), _package("torch"), *_gpu(), _git(layout), _disk(layout)]


def _python() -> Finding:
    return Finding(kind="ok", what=f"Python {sys.version.split()[0]}, {os.cpu_count()} CPU cores")


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
    num_gpus = count_gpus()
    if num_gpus == 0:
        return [
            Finding(kind="note", what="no NVIDIA GPU: profile `paper` cannot run here, `quick` and `rtl433` can"),
        ]
    return [Finding(kind="ok", what=f"{num_gpus} NVIDIA GPU(s)"), *map(_package, GPU_PACKAGES)]


def _git(layout: Layout) -> Finding:
    try:
        repository = Repository.find(layout.root)
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


def _disk(layout: Layout) -> Finding:
    free = shutil.disk_usage(layout.root).free
    what = f"{free / 1e9:.0f} GB free for results"
    return Finding(kind="ok" if free > MIN_FREE_BYTES else "bad", what=what)
