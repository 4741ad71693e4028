"""Finds programs of others that keep this machine busy: its cores, or its GPUs."""

import os
from collections.abc import Callable, Collection, Sequence

import psutil
import pynvml
from msgspec import Struct

from orchestrator.launch.slots import Slot, open_device

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
