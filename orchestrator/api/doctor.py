"""`knockout doctor`: what this machine has of what trainings need, and what to do about the rest."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Literal

from msgspec import Struct, structs

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.checks.shadow import find_shadowed
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError, DataError, explain_os_error
from orchestrator.launch.compilers import find_compiler_problem
from orchestrator.launch.slots import (
    CONTAINER_MASK,
    MASK,
    THREAD_VARIABLES,
    Device,
    Gpu,
    count_gpus,
    list_gpus,
    usable_cores,
    visible_devices,
)
from orchestrator.runs.paths import Paths, explain_place
from orchestrator.task.radio import Speed, measure_speed, run_marked_tests

MIN_FREE_BYTES = 2 * 10**9
NO_GPU = "no NVIDIA GPU: profiles `paper` and `gpu` cannot run here, `quick` and `rtl433` can"
MAKE_HOME = "set HOME to a folder that can be written"
Lock = Callable[[int, int], None]
SPEED_EPOCHS = 10
SOURCE_EPOCH_SECONDS = (5, 6)
"""Seconds of an epoch of the source's baseline, from and to, on a GPU that the source does not name."""
SOURCE_LIMIT_SECONDS = 10
GPU_PACKAGES = ("flash-linear-attention", "liger-kernel", "triton")
TESTED_PYTHON = "3.11"
TESTED = {
    "torch": "2.13.0",
    "triton": "3.7.1",
    "flash-linear-attention": "0.6.0",
    "liger-kernel": "0.8.5",
    "transformers": "5.23.0",
}
"""Package -> the version that was tested, as constraints.txt pins it."""
TESTED_ON = "on a CPU and in Triton's interpreter only"
OTHER_NAMES = {"triton": "pytorch-triton"}
"""Package -> its name beside builds of torch that are not of PyPI."""
INSTALL = "run `make setup`, or `make gpu` for a machine without a network"


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check."""

    kind: Literal["ok", "note", "bad"]
    what: str


def doctor(request: Request | None = None, *, gpu: bool = False) -> Iterator[Finding]:
    """Check this machine; yield each finding as soon as it is there.

    Args:
        request: with `gpu`, the campaign file and the profile whose baseline is timed; profile paper if not said.
        gpu: whether to check what only a GPU can show. That takes minutes.

    Raises:
        SpecError: with `gpu`, the campaign file is refused.
    """
    if not gpu:
        yield from examine(Paths(Path.cwd()))
        return
    selection = open_campaign(structs.replace(request or Request(profile="paper"), experiments=(BASELINE,)))
    yield from examine_gpu(selection.arms[BASELINE].params, selection.paths.root)


def examine(paths: Paths) -> list[Finding]:
    """Check Python, packages, GPUs, git, and whatever else trainings need."""
    return [
        check_cores(),
        _package("torch"),
        *_gpu(),
        check_compiler(),
        _git(paths),
        *check_names(paths.root),
        *check_places(paths),
        *check_home(),
        *check_locks(paths),
        check_disk(paths),
        judge_terminal(sys.stdout.encoding or "utf-8"),
    ]


def _version(package: str) -> str | None:
    for name in (package, OTHER_NAMES.get(package, package)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(kind="bad", what=f"{name} is not installed; {INSTALL}")
    return Finding(kind="ok", what=f"{name} {version}")


def _gpu() -> list[Finding]:
    gpus = list_gpus()
    # Only jobs on a GPU use these packages, so without one nothing is said of them.
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
            what=f"{len(changed)} uncommitted changes to the code that jobs run: commit them, or run with --snapshot",
        )
    return Finding(kind="ok", what=f"git commit {repository.base_commit[:12]}, code committed")


def check_names(root: Path) -> list[Finding]:
    """Say whether a package in a folder and one of ours hide each other."""
    sentence = find_shadowed(root)
    return [] if sentence is None else [Finding(kind="note", what=sentence)]


def examine_gpu(params: Mapping[str, Any], root: Path) -> Iterator[Finding]:
    """Check what only a GPU can show, one finding after the other: kernels, mixed precision, and the speed of training.

    Args:
        params: the parameters of the campaign's baseline at profile `paper`.
        root: the checkout, which holds the tests.
    """
    if count_gpus() == 0:
        yield Finding(kind="bad", what="no NVIDIA GPU here, so there is nothing to check; run this where there is one")
        return
    yield from judge_versions(sys.version.split()[0], {package: _version(package) for package in TESTED})
    yield from check_cuda_tests(root)
    yield check_speed(params)


def judge_versions(python: str, found: Mapping[str, str | None]) -> list[Finding]:
    """Name the packages that are missing, and those whose version differs from the tested one. Pure.

    Args:
        python: the version of Python.
        found: package of `TESTED` -> its version here; None if it is not installed.
    """
    missing = [Finding(kind="bad", what=f"{name} is not installed; {INSTALL}") for name in found if found[name] is None]
    versions = {name: version for name, version in found.items() if version}
    # What follows a plus, such as cu130, names the build.
    changed = [f"{name} {own} ({TESTED[name]})" for name, own in versions.items() if own.split("+")[0] != TESTED[name]]
    if python.split(".")[:2] != TESTED_PYTHON.split("."):
        changed.insert(0, f"Python {python} ({TESTED_PYTHON})")
    if changed:
        what = f"other versions than those tested, which stand in brackets: {', '.join(changed)}; tested {TESTED_ON}"
        return [*missing, Finding(kind="note", what=what)]
    names = ", ".join(f"{name} {version}" for name, version in {"Python": python, **versions}.items())
    return [*missing, Finding(kind="ok", what=f"{names}: the versions that were tested, {TESTED_ON}")]


def check_cuda_tests(root: Path) -> Iterator[Finding]:
    """Run the tests that are marked `cuda`."""
    if not (root / "tests" / "model").is_dir():
        yield Finding(kind="note", what=f"the tests are not in {root}; run this from a clone of the repository")
        return
    passed, summary = run_marked_tests(root, "cuda")
    yield Finding(kind="ok" if passed else "bad", what=f"tests marked `cuda`: {summary}")


def check_speed(params: Mapping[str, Any]) -> Finding:
    """Train `SPEED_EPOCHS` epochs on noise and compare them with the source's."""
    try:
        speed = measure_speed(params, SPEED_EPOCHS, "cuda")
    except DataError as error:
        return Finding(kind="bad", what=f"speed check: {error}")
    return judge_speed(speed)


def judge_speed(speed: Speed) -> Finding:
    """Compare the seconds of epochs with the source's. The first epoch includes compiling and does not count. Pure."""
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


def check_cores() -> Finding:
    """Say how many cores trainings may use."""
    usable, there = usable_cores(), os.cpu_count() or 1
    limits = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    of_all = "" if usable == there else f" of {there}, as affinity, control group or Slurm say"
    threads = f"; {' and '.join(limits)} limits the threads of each training" if limits else ""
    return Finding(kind="ok", what=f"Python {sys.version.split()[0]}, {usable} CPU cores{of_all}{threads}")


def judge_devices(variables: Mapping[str, str], gpus: Sequence[Gpu], devices: Sequence[Device]) -> Finding:
    """Say which GPUs trainings may use, and which setting hides the others. Pure."""
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
    """Check that every folder that is written to can be written; name those that cannot."""
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
    """Check that files can be locked where the runs lie; the queue and the run folders need locks.

    Args:
        paths: the campaign's folders.
        locks: what to try, by name; each takes a descriptor and an operation.
    """
    folder = paths.results if paths.results.is_dir() else paths.root
    # Both kinds: run folders use `flock`, and SQLite uses `fcntl`. A network file system may have one of them only.
    locks = locks or {"flock": fcntl.flock, "fcntl": fcntl.lockf}
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            refused = {name: error for name, lock in locks.items() if (error := _try(lock, file.fileno())) is not None}
    except OSError:
        return []  # check_places reports a folder that cannot be written
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
