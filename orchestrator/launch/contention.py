"""What jobs share: finds programs of others on the cores and the GPUs, and room for another job on a GPU."""

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import psutil
import pynvml
from msgspec import Struct

from orchestrator.errors import UsageError
from orchestrator.launch.slots import Slot, count_gpus, open_device, read_free_bytes
from orchestrator.runs.order import GuardSpec

SILENT = (
    pynvml.NVMLError_DriverNotLoaded,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_InvalidArgument,
    pynvml.NVMLError_LibraryNotFound,
    pynvml.NVMLError_LibRmVersionMismatch,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLError_NotFound,
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_OperatingSystem,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_Timeout,
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_Unknown,
)
"""Errors by which NVML says that it does not know, such as no driver, a lost GPU, or no permission."""


class GpuProcess(Struct, frozen=True, kw_only=True):
    """A process that computes on a GPU."""

    pid: int
    memory_bytes: int | None
    """Memory of the GPU in bytes; None if the driver does not say."""
    kin: frozenset[int] | None
    """Numbers of the process, its group and its ancestors; None if there is no such process here.

    NVML gives the host's numbers. Inside a container these name other processes, or none.
    """


def list_gpu_processes(gpu: str) -> list[GpuProcess] | None:
    """List the processes that compute on a GPU, given by index or UUID; None if NVML does not know."""
    try:
        with open_device(gpu) as handle:
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except SILENT:
        return None
    return [
        GpuProcess(pid=process.pid, memory_bytes=process.usedGpuMemory, kin=find_kin(process.pid))
        for process in processes
    ]


def find_kin(pid: int) -> frozenset[int] | None:
    """Return the numbers of a process, its group and its ancestors; None if there is no such process."""
    try:
        ancestors = [ancestor.pid for ancestor in psutil.Process(pid).parents()]
        return frozenset((pid, os.getpgid(pid), *ancestors))
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return None


def find_other_load(
    slots: Sequence[Slot],
    own_pids: Collection[int] = (),
    *,
    read_load_average: Callable[[], tuple[float, float, float]] = os.getloadavg,
    read_gpu_processes: Callable[[str], Sequence[GpuProcess] | None] = list_gpu_processes,
) -> str | None:
    """Return what else this machine is busy with, in words; None if nothing, or if nobody knows.

    For jobs on GPUs only the GPUs count: busy cores hardly slow them.

    Args:
        slots: the slots of the jobs under way, one a job.
        own_pids: processes of the worker and of its jobs. Their children and groups count as theirs.
        read_load_average: as `os.getloadavg`.
        read_gpu_processes: as `list_gpu_processes`.
    """
    gpus = [slot.nvml_gpu for slot in slots if slot.nvml_gpu is not None]
    if not any(slot.gpu for slot in slots):
        return _rule_on_cores(slots, read_load_average()[0])
    found = [_rule_on_gpu(gpu, gpus.count(gpu), own_pids, read_gpu_processes(gpu) or ()) for gpu in sorted(set(gpus))]
    return "; ".join(filter(None, found)) or None


def _rule_on_cores(slots: Sequence[Slot], load: float) -> str | None:
    """Return the load if it is above the jobs' threads by more than one; None otherwise."""
    # One thread more: this process and data loaders need it, and the load average lags behind jobs that ended.
    own_threads = sum(int(slot.environment.get("OMP_NUM_THREADS", "1")) for slot in slots)
    if load <= own_threads + 1:
        return None
    return f"load {load:.1f} for {len(slots)} job{'' if len(slots) == 1 else 's'}"


def _rule_on_gpu(gpu: str, num_jobs: int, own_pids: Collection[int], processes: Sequence[GpuProcess]) -> str | None:
    """Return how many processes on a GPU are not ours, in words; None if there are none."""
    # In a container our own jobs have unknown numbers. So count an unknown process as ours for each job not found,
    # the smallest first: a large one more likely belongs to somebody else's training.
    strangers = [process for process in processes if process.kin is not None and process.kin.isdisjoint(own_pids)]
    unknown = sorted((process for process in processes if process.kin is None), key=_memory_bytes)
    num_missing = max(0, num_jobs - (len(processes) - len(strangers) - len(unknown)))
    others = strangers + unknown[: max(0, len(unknown) - num_missing)]
    if not others:
        return None
    memory_gib = sum(map(_memory_bytes, others)) / 2**30
    how_much = f" ({memory_gib:.0f} GiB)" if memory_gib else ""
    return f"GPU {gpu} also runs {len(others)} other process{'' if len(others) == 1 else 'es'}{how_much}"


def _memory_bytes(process: GpuProcess) -> int:
    return process.memory_bytes or 0


READ_SECONDS = 1.0
"""Shortest time between two readings of a GPU's free memory: a worker asks at every turn."""


@dataclass
class FreeMemory:
    """Reads the free memory of GPUs, each at most once in `READ_SECONDS`. Tests replace the reader and the clock."""

    read: Callable[[Slot], int | None] = read_free_bytes
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, int | None]] = field(default_factory=dict)
    """Device -> when it was read, and what was read."""

    def __call__(self, slot: Slot) -> int | None:
        """Return the free memory of a slot's GPU in bytes; None if NVML does not know."""
        now = self.clock()
        if slot.device not in self._known or now - self._known[slot.device][0] >= READ_SECONDS:
            self._known[slot.device] = now, self.read(slot)
        return self._known[slot.device][1]


PEAK_FACTOR, CONTEXT_BYTES = 1.2, 3 * 2**29
"""Memory that another job must find free: so many times the largest peak, and 1.5 GiB for CUDA's own context."""


def fits_beside(peak_bytes: int, free_bytes: int) -> bool:
    """Whether a GPU has the memory for another job beside those that run on it. Pure.

    Args:
        peak_bytes: the most memory that the tensors of a job have taken so far.
        free_bytes: the free memory of the GPU.
    """
    # A job takes more than its tensors: PyTorch keeps freed blocks, and each process has a context of its own.
    return free_bytes >= PEAK_FACTOR * peak_bytes + CONTEXT_BYTES


def refuse_crowded(asked: int | None, guards: Iterable[GuardSpec]) -> None:
    """Refuse more slots than GPUs if a guard would stop a run for what else runs on its GPU.

    Args:
        asked: how many slots a command asks for; None for as many as fit. On a CPU any number is allowed.
        guards: the guards of the runs that it would train.

    Raises:
        UsageError: names the option and the limits.
    """
    num_gpus = count_gpus() if asked else 0
    if asked is None or num_gpus == 0 or asked <= num_gpus:
        return
    why = next((why for spec in guards if (why := spec.why_alone()) is not None), None)
    if why is not None:
        gpus = "1 GPU" if num_gpus == 1 else f"{num_gpus} GPUs"
        raise UsageError(f"--slots {asked} is more than the {gpus} of this machine: {why}; say --slots {num_gpus}")
