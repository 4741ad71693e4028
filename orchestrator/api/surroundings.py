"""What `doctor` finds around the trainings: cores, GPUs, compiler, places to write to, locks, terminal, home folder."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from orchestrator.errors import explain_os_error
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.slots import CONTAINER_MASK, MASK, THREAD_VARIABLES, Device, Gpu, usable_cores
from orchestrator.runs.paths import Paths

MIN_FREE_BYTES = 2 * 10**9
NO_GPU = "no NVIDIA GPU: profile `paper` cannot run here, `quick` and `rtl433` can"
MAKE_HOME = "set HOME to a folder that can be written"
Lock = Callable[[int, int], None]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    kind: Literal["ok", "note", "bad"]
    what: str


def check_cores() -> Finding:
    """Say how many cores trainings may use."""
    usable, there = usable_cores(), os.cpu_count() or 1
    limits = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    of_all = "" if usable == there else f" of {there}, as affinity, control group or Slurm say"
    threads = f"; {' and '.join(limits)} limits the threads of each training" if limits else ""
    return Finding(kind="ok", what=f"Python {sys.version.split()[0]}, {usable} CPU cores{of_all}{threads}")


def judge_devices(variables: Mapping[str, str], gpus: Sequence[Gpu], devices: Sequence[Device]) -> Finding:
    """Say which GPUs trainings may use, and what hides the others. Pure."""
    masks = [f"{name}={variables[name]}" for name in (MASK, CONTAINER_MASK) if name in variables]
    if not gpus:
        return Finding(kind="note", what=NO_GPU)
    if not devices:
        why = f"{' and '.join(masks)} hides" if masks else "MIG without instances hides"
        return Finding(kind="note", what=f"{why} all {len(gpus)} NVIDIA GPU(s): trainings run on the CPU")
    names = ", ".join(device.name for device in devices)
    by = f" ({' and '.join(masks)})" if masks else ""
    return Finding(kind="ok", what=f"{len(devices)} of {len(gpus)} NVIDIA GPU(s) for trainings: {names}{by}")


def check_compiler() -> Finding:
    """Say whether `torch.compile` can work."""
    problem = find_compiler_problem()
    return Finding(kind="note", what=problem) if problem else Finding(kind="ok", what="a compiler for torch.compile")


def check_places(paths: Paths) -> list[Finding]:
    """Find out whether everything that is written has a place, and name those that are none."""
    places: dict[str, Callable[[], Path]] = {
        "runs and the queue": lambda: paths.runs,
        "reports": lambda: paths.reports,
        "checkouts of experiments": lambda: paths.worktrees,
        "temporary files": lambda: Path(tempfile.gettempdir()),
    }
    found = [Finding(kind="bad", what=f"{what}: {why}") for what, find in places.items() if (why := _explain(find))]
    return found or [Finding(kind="ok", what="results, reports, checkouts and temporary files can be written")]


def _explain(find: Callable[[], Path]) -> str | None:
    try:
        return explain_place(find())
    except OSError as error:
        return explain_os_error(error)
    except RuntimeError:
        return f"this user has no home folder; {MAKE_HOME}"


def explain_place(place: Path) -> str | None:
    """Say why files cannot be written to a folder that is there, or that can be made; None if they can."""
    there = next(folder for folder in (place, *place.absolute().parents) if os.path.lexists(folder))
    if not there.is_dir():
        return f"{there} must be a folder, and is none; rename or remove it"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"this user cannot write to {there}; give the right to it, or work in another folder"
    return None


def check_home() -> list[Finding]:
    """Note a home folder that is missing, or that cannot be written."""
    try:
        home = Path.home()
    except RuntimeError:
        return [Finding(kind="note", what=f"this user has no home folder; {MAKE_HOME}")]
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        return []
    return [Finding(kind="note", what=f"the home folder {home} cannot be written; {MAKE_HOME}")]


def check_locks(paths: Paths, locks: Mapping[str, Lock] | None = None) -> list[Finding]:
    """Find out whether files can be locked where the runs lie; the queue and the run folders need it.

    Args:
        paths: the campaign's folders.
        locks: what to try, by name; each takes a descriptor and an operation.
    """
    folder = paths.results if paths.results.is_dir() else paths.root
    locks = locks or {"flock": fcntl.flock, "fcntl": fcntl.lockf}
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            refused = {name: error for name, lock in locks.items() if (error := _try(lock, file.fileno())) is not None}
    except OSError:
        return []  # that nothing can be written there is said elsewhere
    if not refused:
        return [Finding(kind="ok", what=f"files can be locked in {folder}")]
    return [
        Finding(kind="bad", what=f"{folder}: {name} does not work ({error.strerror}); use a file system with locks")
        for name, error in refused.items()
    ]


def _try(lock: Lock, descriptor: int) -> OSError | None:
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        return error
    return None


def check_disk(paths: Paths) -> Finding:
    """Say how much space is left."""
    free = shutil.disk_usage(paths.root).free
    what = f"{free / 1e9:.0f} GB free for results"
    return Finding(kind="ok" if free > MIN_FREE_BYTES else "bad", what=what)


def judge_terminal(encoding: str) -> Finding:
    """Say whether the terminal shows every sign. Pure."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return Finding(kind="ok", what="the terminal takes UTF-8")
    what = f"the terminal takes {encoding}: other signs are shown as their codes; set LC_ALL=C.UTF-8 to see them"
    return Finding(kind="note", what=what)
