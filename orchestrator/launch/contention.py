"""What else a machine is busy with beside the jobs of this orchestrator: its cores, or its GPUs. Read, and ruled on."""

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
"""How NVML says that it cannot tell: no driver or an old one, a GPU that is gone or cut up, no permission."""


class GpuProcess(Struct, frozen=True, kw_only=True):
    """A process that computes on a GPU."""

    pid: int
    memory_bytes: int | None
    """None where the driver does not say."""
    kin: frozenset[int] | None
    """Its process, group and ancestors; None where this machine knows no such process: NVML counts as the host does,
    and not as the container that this may be."""


def list_gpu_processes(gpu: str) -> list[GpuProcess] | None:
    """List what computes on the GPU of an index or UUID; None if NVML cannot tell."""
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
    """Return a process's number with its group's and its ancestors'; None if there is no such process."""
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
    """Say how busy this machine is if it is with more than the jobs in `slots`; None otherwise, or if nobody knows.

    Of jobs on GPUs only the GPUs are asked: what cores do is not what makes them slow.

    Args:
        slots: where the jobs under way are, a slot for each.
        own_pids: the worker's process and the jobs'; what they started, and what is of their group, is theirs. A
            probe of another run is started by the worker.
        read_load_average: as `os.getloadavg`.
        read_gpu_processes: lists what computes on the GPU of an index or UUID; None if nobody knows.
    """
    gpus = [slot.nvml_gpu for slot in slots if slot.nvml_gpu is not None]
    if not any(slot.gpu for slot in slots):
        return _rule_on_cores(slots, read_load_average()[0])
    told = [_rule_on_gpu(gpu, gpus.count(gpu), own_pids, read_gpu_processes(gpu) or ()) for gpu in sorted(set(gpus))]
    return "; ".join(filter(None, told)) or None


def _rule_on_cores(slots: Sequence[Slot], load: float) -> str | None:
    """Let one thread more pass: this process, the jobs' workers, and the average's lag behind jobs that are gone."""
    own_threads = sum(int(slot.environment.get("OMP_NUM_THREADS", "1")) for slot in slots)
    if load <= own_threads + 1:
        return None
    return f"load {load:.1f} for {len(slots)} job{'' if len(slots) == 1 else 's'}"


def _rule_on_gpu(gpu: str, num_jobs: int, own_pids: Collection[int], processes: Sequence[GpuProcess]) -> str | None:
    """Count the processes that are not ours; as many unknown ones as jobs are missing are taken for these jobs."""
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
