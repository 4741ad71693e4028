"""Slots: each is a place for one job at a time. A GPU has one slot or more; slots on a CPU share its cores."""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from orchestrator.processes import UTF_8

MALLOC = {
    # Every step allocates and frees its tensors. By default glibc returns that memory to the kernel, and each step
    # faults it in again: a third of a training step on a CPU. These settings keep it in the heap.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


T = TypeVar("T")


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time."""

    name: str
    environment: dict[str, str]

    @property
    def gpu(self) -> str | None:
        """The slot's GPU, as CUDA_VISIBLE_DEVICES names it; None for a slot on a CPU."""
        return self.environment.get(MASK) or None

    @property
    def device(self) -> str:
        """The device of the slot: the GPU's name, or `cpu`. Slots of one device share it."""
        return self.gpu or "cpu"

    @property
    def nvml_gpu(self) -> str | None:
        """The GPU by a name that NVML knows; None on a CPU, or if CUDA and NVML count GPUs differently."""
        counts_otherwise = self.environment.get(ORDER) == BY_SPEED and (self.gpu or "").isdigit()
        return None if counts_otherwise else self.gpu


BY_BUS, BY_SPEED = "PCI_BUS_ID", "FASTEST_FIRST"


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG instance of one, for one job at a time."""

    name: str
    """Its name in CUDA_VISIBLE_DEVICES."""
    slot: str
    """Name of a slot on it."""
    order: str = BY_BUS
    """The order in which CUDA counts GPUs, as CUDA_DEVICE_ORDER names it. It matters if the name is a number."""


def find_devices() -> list[Device]:
    """Find the GPUs of this machine that the user's variables do not hide."""
    return visible_devices(os.environ, list_gpus())


def count_gpus() -> int:
    """Count the GPUs that jobs may use; 0 without a driver."""
    return len(find_devices())


DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""Files of NVIDIA's driver, the last one under Windows. In some containers CUDA works and NVML does not."""


def find_gpu_problem(profile: str, others: Sequence[str]) -> str | None:
    """Say why a profile that trains in fp16 cannot run here; None if it can, or if only a job can know.

    Args:
        profile: the name of the profile.
        others: profiles of the same file that need no GPU.
    """
    if gpus := list_gpus():
        lacking = None if visible_devices(os.environ, gpus) else "its GPUs are hidden from jobs"
    else:
        lacking = None if any(map(os.path.exists, DRIVER_FILES)) else "there is none here"
    if lacking is None:
        return None
    instead = f", or use profile `{'` or `'.join(others)}`" if others else ""
    what = f"profile `{profile}` trains in fp16, which needs a CUDA GPU, and {lacking}"
    return f"{what}; run it on a machine with a GPU (`knockout doctor` says what it finds){instead}"


def name_gpu(slot: Slot) -> str | None:
    """Return the model of a slot's GPU; None for a slot on a CPU, or if NVML does not know."""
    return _ask_nvml(slot, lambda handle: str(pynvml.nvmlDeviceGetName(handle)))


def read_free_bytes(slot: Slot) -> int | None:
    """Return the free memory of a slot's GPU in bytes; None for a slot on a CPU, or if NVML does not know."""
    return _ask_nvml(slot, lambda handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).free))


def _ask_nvml(slot: Slot, question: Callable[[Any], T]) -> T | None:
    if slot.nvml_gpu is None:
        return None
    try:
        with open_device(slot.nvml_gpu) as handle:
            return question(handle)
    except pynvml.NVMLError:
        return None


def make_own_slots(asked: int | None, per_gpu: int = 1) -> list[Slot]:
    """Make the slots of this machine.

    Args:
        asked: how many; None for as many as fit.
        per_gpu: how many a GPU has if nobody asks for a number. A CPU has as many as without it.
    """
    devices = find_devices()
    return make_slots(asked or len(devices) * per_gpu or None, devices, usable_cores(), os.environ)


def make_slots(
    asked: int | None, devices: Sequence[Device], num_cores: int, variables: Mapping[str, str] | None = None
) -> list[Slot]:
    """Return one slot a GPU, or two on a CPU, or as many as asked for. Each gets its share of the cores.

    More slots than GPUs go around: each GPU gets a first slot before any gets a second one.

    Args:
        asked: how many slots; None for as many as fit.
        devices: the GPUs that may be used.
        num_cores: the cores that may be used.
        variables: the user's environment. Its numbers of threads are upper limits, and it may hide GPUs.
    """
    variables = variables or {}
    count = asked or len(devices) or min(2, num_cores)
    # By default each job takes all cores. Two jobs with eight threads each on eight cores slow each other down.
    threads = str(share_threads(num_cores, count, variables))
    shared = {**dict.fromkeys(THREAD_VARIABLES, threads), **MALLOC, **UTF_8}
    if not devices:
        # NVIDIA_VISIBLE_DEVICES hides GPUs only when a container starts. A job outside one would find them.
        hidden = {MASK: ""} if variables.get(CONTAINER_MASK) in HIDES_ALL else {}
        return [Slot(f"cpu{number}", shared | hidden) for number in range(count)]
    chosen = [devices[number % len(devices)] for number in range(count)]
    # NVML counts GPUs in the order of the bus. In that order a number means the same GPU to CUDA.
    return [Slot(device.slot, shared | {ORDER: device.order, MASK: device.name}) for device in chosen]


MASK, ORDER, CONTAINER_MASK = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"
HIDES_ALL = ("void", "none")
"""Values of NVIDIA_VISIBLE_DEVICES that give a container no GPU."""
_INDEX = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine, as NVML describes it."""

    index: int
    uuid: str
    model: str
    migs: tuple[str, ...] | None = None
    """UUIDs of its MIG instances; None if it is not divided."""


def visible_devices(variables: Mapping[str, str], gpus: Sequence[Gpu]) -> list[Device]:
    """Return the devices that CUDA would show to a process with these variables. Pure.

    CUDA's rules: an entry that names nothing hides all that follow it. An entry that comes twice hides everything.
    The first entry decides whether all are numbers, UUIDs of GPUs or UUIDs of MIG instances. A UUID may be shortened.
    """
    if variables.get(CONTAINER_MASK) in HIDES_ALL:
        return []
    mask = variables.get(MASK)
    if mask is None:
        return [device for gpu in gpus for device in _whole(gpu)]
    kind = next((kind for kind in ("GPU-", "MIG-") if mask.startswith(kind)), None)
    entries = mask.split(",")
    if kind is None:
        return _by_number(entries, gpus, variables.get(ORDER))
    uuids = _uuids(kind, gpus)
    found = [_match(entry, uuids) for entry in takewhile(lambda entry: entry.startswith(kind), entries)]
    known = [uuid for uuid in takewhile(lambda uuid: uuid is not None, found) if uuid is not None]
    if len(set(known)) < len(known):
        return []
    return [Device(entry, uuids[uuid]) for entry, uuid in zip(entries, known, strict=False)]


def _whole(gpu: Gpu) -> list[Device]:
    if gpu.migs is None:
        return [Device(str(gpu.index), f"gpu{gpu.index}")]
    return [Device(uuid, f"gpu{gpu.index}-mig{number}") for number, uuid in enumerate(gpu.migs)]


def _by_number(entries: Sequence[str], gpus: Sequence[Gpu], order: str | None) -> list[Device]:
    matches = takewhile(lambda match: match is not None, (_INDEX.match(entry) for entry in entries))
    numbers = [int(match[1]) for match in matches if match is not None]
    if len(set(numbers)) < len(numbers):
        return []
    # CUDA counts the fastest GPU first by default. Among GPUs of one model that is the order of the bus too.
    is_known = order == BY_BUS or len({gpu.model for gpu in gpus}) <= 1
    there = {gpu.index for gpu in gpus if gpu.migs != ()}
    shown = takewhile(lambda number: number in there, numbers)
    return [Device(str(number), f"gpu{number}", BY_BUS if is_known else BY_SPEED) for number in shown]


def _uuids(kind: str, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return UUID -> name of the slot, for whole GPUs or for MIG instances."""
    if kind == "GPU-":
        return {gpu.uuid: f"gpu{gpu.index}" for gpu in gpus if gpu.migs != ()}
    return {device.name: device.slot for gpu in gpus if gpu.migs is not None for device in _whole(gpu)}


def _match(entry: str, uuids: Mapping[str, str]) -> str | None:
    """Return the UUID that begins with this entry; None unless exactly one does."""
    found = [uuid for uuid in uuids if uuid.lower().startswith(entry.strip().lower())]
    return found[0] if len(found) == 1 else None


def list_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs of this machine; none without a driver."""
    try:
        with _nvml():
            return [gpu for index in range(pynvml.nvmlDeviceGetCount()) if (gpu := _read(index)) is not None]
    except pynvml.NVMLError:
        return []


def _read(index: int) -> Gpu | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return Gpu(index, pynvml.nvmlDeviceGetUUID(handle), str(pynvml.nvmlDeviceGetName(handle)), _read_migs(handle))
    except pynvml.NVMLError:
        # A GPU that has fallen off the bus hides no other.
        return None


def _read_migs(handle: Any) -> tuple[str, ...] | None:
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except pynvml.NVMLError:
        # This model has no MIG instances.
        return None
    return tuple(_mig_uuids(handle))


def _mig_uuids(handle: Any) -> Iterator[str]:
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)))
        except pynvml.NVMLError_NotFound:
            continue


@contextmanager
def open_device(name: str) -> Iterator[Any]:
    """Yield NVML's handle of a device, given by its name in CUDA_VISIBLE_DEVICES, in the order of the bus.

    Raises:
        pynvml.NVMLError: there is no driver, or no such device.
    """
    if not name.isdigit():
        gpus = list_gpus()
        uuid = next((uuid for kind in ("GPU-", "MIG-") if (uuid := _match(name, _uuids(kind, gpus)))), name)
    with _nvml():
        yield pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(uuid)


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


PROC = Path("/proc/self")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user limits the threads of a process."""
SLURM_VARIABLE = "SLURM_CPUS_PER_TASK"
_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<type>cgroup2?) \S+ (?P<options>\S+)")


def usable_cores() -> int:
    """Count the cores that this process may use, by its affinity, its control groups' quotas and Slurm."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count_usable(affinity, read_quotas(PROC), os.environ)


def count_usable(affinity: int, quotas: Sequence[float], variables: Mapping[str, str]) -> int:
    """Return the smallest number of cores that is granted, at least 1. Pure.

    Args:
        affinity: cores that the process may run on.
        quotas: limits of the control groups around it, in cores. 1.5 counts as one core.
        variables: the environment of the process.
    """
    slurm = _whole_number(variables.get(SLURM_VARIABLE))
    # Rounded down: of two threads on 1.5 cores one is late, and the other waits for it at every operation.
    granted = [affinity, *(math.floor(quota) for quota in quotas), *([slurm] if slurm else [])]
    return max(1, min(granted))


def share_threads(num_cores: int, num_slots: int, variables: Mapping[str, str]) -> int:
    """Return the threads of each job, if slots share the cores. The user's variables are an upper limit. Pure."""
    allowed = [number for name in THREAD_VARIABLES if (number := _whole_number(variables.get(name)))]
    return max(1, min([num_cores // num_slots, *allowed]))


def _whole_number(text: str | None) -> int | None:
    """Read a number above 0; the first of a list, such as OMP_NUM_THREADS=4,2 for nested teams."""
    first = (text or "").split(",")[0].strip()
    return int(first) or None if first.isascii() and first.isdigit() else None


def read_quotas(proc: Path) -> list[float]:
    """Return the limits of this process's control groups and of those above them, in cores.

    Args:
        proc: the process's folder under `/proc`. Without one, as outside Linux, there are no limits.
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
    # In a container the mount may begin at the process's own group. Then no folder below the mount is that group.
    inner = Path(name.removeprefix(root.rstrip("/")).strip("/") if name.startswith(root) else "")
    # A `..` names a group of another name space, which is not visible here.
    above = () if ".." in inner.parts else (inner, *inner.parents)
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
