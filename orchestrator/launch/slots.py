"""Places for jobs: one slot a GPU, or CPU slots that share the cores."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pynvml

from orchestrator.processes import UTF_8

MALLOC = {
    # Tensors come and go every step. Kept in the heap they are not handed back to the kernel and faulted in again,
    # which costs a third of a training step on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time."""

    name: str
    environment: dict[str, str]

    @property
    def gpu(self) -> str | None:
        """What CUDA_VISIBLE_DEVICES calls the slot's GPU; None for a slot on a CPU."""
        return self.environment.get(MASK) or None

    @property
    def device(self) -> str:
        """What its jobs share with those of other slots: a GPU by its name, or `cpu`."""
        return self.gpu or "cpu"

    @property
    def nvml_gpu(self) -> str | None:
        """The GPU by a name that NVML knows too; None on a CPU, or where CUDA counts otherwise than NVML."""
        counts_otherwise = self.environment.get(ORDER) == BY_SPEED and (self.gpu or "").isdigit()
        return None if counts_otherwise else self.gpu


BY_BUS, BY_SPEED = "PCI_BUS_ID", "FASTEST_FIRST"


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG instance of one, for one job at a time."""

    name: str
    """What CUDA_VISIBLE_DEVICES calls it."""
    slot: str
    """What a slot on it is called."""
    order: str = BY_BUS
    """How CUDA counts where the name is a number, as CUDA_DEVICE_ORDER says it."""


def find_devices() -> list[Device]:
    """Find the GPUs of this machine that the user's variables leave."""
    return visible_devices(os.environ, list_gpus())


def count_gpus() -> int:
    """Count the GPUs that jobs may use; 0 where there is no driver."""
    return len(find_devices())


def name_gpu(slot: Slot) -> str | None:
    """Return the model of a slot's GPU; None for a slot on a CPU, and where NVML cannot tell."""
    if slot.nvml_gpu is None:
        return None
    try:
        with open_device(slot.nvml_gpu) as handle:
            return str(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        return None


def make_own_slots(asked: int | None) -> list[Slot]:
    """Make the slots of this machine, as many as asked for."""
    return make_slots(asked, find_devices(), usable_cores(), os.environ)


def make_slots(
    asked: int | None, devices: Sequence[Device], num_cores: int, variables: Mapping[str, str] | None = None
) -> list[Slot]:
    """One slot a GPU, or on a CPU two (or as many as asked for), each with its share of the cores.

    Args:
        asked: how many slots; None for as many as fit.
        devices: the GPUs that may be used.
        num_cores: the cores that may be used.
        variables: the user's, of which those about threads are an upper limit, and those about GPUs hide some.
    """
    variables = variables or {}
    count = asked or len(devices) or min(2, num_cores)
    threads = str(share_threads(num_cores, count, variables))
    shared = {**dict.fromkeys(THREAD_VARIABLES, threads), **MALLOC, **UTF_8}
    if not devices:
        # What hides GPUs from a container only does so where it starts; the job must not find them after all.
        hidden = {MASK: ""} if variables.get(CONTAINER_MASK) in HIDES_ALL else {}
        return [Slot(f"cpu{number}", shared | hidden) for number in range(count)]
    chosen = [devices[number % len(devices)] for number in range(count)]
    # CUDA counts in the order of the bus, as NVML does, so that both mean the same GPU by a number.
    return [Slot(device.slot, shared | {ORDER: device.order, MASK: device.name}) for device in chosen]


MASK, ORDER, CONTAINER_MASK = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"
HIDES_ALL = ("void", "none")
"""What NVIDIA_VISIBLE_DEVICES says where a container is to have no GPU."""
_INDEX = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine, as NVML tells it."""

    index: int
    uuid: str
    model: str
    migs: tuple[str, ...] | None = None
    """The UUIDs of its MIG instances; None where it is not cut up."""


def visible_devices(variables: Mapping[str, str], gpus: Sequence[Gpu]) -> list[Device]:
    """Return the devices that CUDA would show to a process with these variables. Pure.

    CUDA's rules: what follows an entry that names nothing is hidden; an entry that comes twice hides everything; the
    first entry says whether all are numbers, UUIDs of GPUs or UUIDs of MIG instances. A UUID may be cut short.
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
    # Among GPUs of one model there is no faster one: both orders are that of the bus.
    is_known = order == BY_BUS or len({gpu.model for gpu in gpus}) <= 1
    there = {gpu.index for gpu in gpus if gpu.migs != ()}
    shown = takewhile(lambda number: number in there, numbers)
    return [Device(str(number), f"gpu{number}", BY_BUS if is_known else BY_SPEED) for number in shown]


def _uuids(kind: str, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return UUID -> slot, of the whole GPUs or of the MIG instances."""
    if kind == "GPU-":
        return {gpu.uuid: f"gpu{gpu.index}" for gpu in gpus if gpu.migs != ()}
    return {device.name: device.slot for gpu in gpus if gpu.migs is not None for device in _whole(gpu)}


def _match(entry: str, uuids: Mapping[str, str]) -> str | None:
    """Return the one UUID that begins like this."""
    found = [uuid for uuid in uuids if uuid.lower().startswith(entry.strip().lower())]
    return found[0] if len(found) == 1 else None


def list_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs of this machine; none where there is no driver."""
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
        return None  # it has fallen off the bus; the others go on


def _read_migs(handle: Any) -> tuple[str, ...] | None:
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except pynvml.NVMLError:
        return None  # a GPU that cannot be cut up
    return tuple(_mig_uuids(handle))


def _mig_uuids(handle: Any) -> Iterator[str]:
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            yield str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)))
        except pynvml.NVMLError_NotFound:
            continue


@contextmanager
def open_device(name: str) -> Iterator[Any]:
    """Give NVML's handle of what CUDA_VISIBLE_DEVICES calls so, counted by the bus.

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
