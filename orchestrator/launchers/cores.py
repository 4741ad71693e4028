"""How many cores and threads this process was given, which may be fewer than the machine has."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROC = Path("/proc/self")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""By these a user says how many threads a process may compute with."""
SLURM_VARIABLE = "SLURM_CPUS_PER_TASK"
_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<type>cgroup2?) \S+ (?P<options>\S+)")


def usable_cores() -> int:
    """Count the cores that this process may use: its affinity, its control groups' quotas, and what Slurm gave."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count_usable(affinity, read_quotas(PROC), os.environ)


def count_usable(affinity: int, quotas: Sequence[float], variables: Mapping[str, str]) -> int:
    """Return the least of what is granted, at least 1. Pure.

    Args:
        affinity: cores that the process may run on.
        quotas: processor seconds a second of each control group around it; 1.5 is one whole core.
        variables: those of the process.
    """
    slurm = _whole_number(variables.get(SLURM_VARIABLE))
    granted = [affinity, *(math.floor(quota) for quota in quotas), *([slurm] if slurm else [])]
    return max(1, min(granted))


def share_threads(num_cores: int, num_slots: int, variables: Mapping[str, str]) -> int:
    """Return the threads of each job where slots share the cores: never more than the user's variables allow. Pure."""
    allowed = [number for name in THREAD_VARIABLES if (number := _whole_number(variables.get(name)))]
    return max(1, min([num_cores // num_slots, *allowed]))


def _whole_number(text: str | None) -> int | None:
    """Read a number above 0; of a list, such as OMP_NUM_THREADS=4,2 for nested teams, the first."""
    first = (text or "").split(",")[0].strip()
    return int(first) or None if first.isascii() and first.isdigit() else None


def read_quotas(proc: Path) -> list[float]:
    """Read the limits of this process's control groups and of those above them, in cores.

    Args:
        proc: the process's folder under `/proc`; elsewhere than on Linux it is not there, and nothing is limited.
    """
    try:
        groups = (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [quota for folder in _group_folders(groups, mounts) if (quota := _read_quota(folder)) is not None]


def _group_folders(groups: Sequence[str], mounts: Sequence[str]) -> Iterator[Path]:
    """Yield the folders of the control groups that may limit the processor, each followed by those above it."""
    found = [match for line in mounts if (match := _MOUNT.match(line))]
    for group in groups:
        number, controllers, name = group.split(":", 2)
        for mount in found:
            options = mount["options"].split(",")
            is_new = mount["type"] == "cgroup2" and number == "0"
            if is_new or (mount["type"] == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options):
                yield from _folder_and_above(Path(mount["point"]), mount["root"], name)


def _folder_and_above(point: Path, root: str, name: str) -> Iterator[Path]:
    # In a container the mount may begin at the process's own group, which is then not seen below it.
    inner = Path(name.removeprefix(root.rstrip("/")).strip("/") if name.startswith(root) else "")
    above = () if ".." in inner.parts else (inner, *inner.parents)  # of another name space: none of it is seen here
    yield from dict.fromkeys((*(point / folder for folder in above), point))


def _read_quota(folder: Path) -> float | None:
    """Read the limit of one control group; None if it has none."""
    try:
        if (new := folder / "cpu.max").exists():
            quota, period = new.read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return int(quota) / int(period) if quota.isdigit() and int(period) > 0 else None
    except (OSError, ValueError):
        return None
