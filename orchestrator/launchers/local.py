"""Jobs as processes of this machine: one slot a GPU, or CPU slots that share the cores."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pynvml

from model.run_folder import RunFolder
from orchestrator.launchers.cores import THREAD_VARIABLES, share_threads, usable_cores
from orchestrator.launchers.gpus import (
    BY_SPEED,
    CONTAINER_MASK,
    HIDES_ALL,
    MASK,
    ORDER,
    Device,
    list_gpus,
    open_device,
    visible_devices,
)
from orchestrator.processes import MARK, UTF_8
from orchestrator.runs.members import end_members, marks_of

KILL_SECONDS = 10.0
"""Longest wait for a killed process to be gone; one that waits for a disk cannot be ended before the disk answers."""
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


def job_environment() -> dict[str, str]:
    """Return the variables of this process that a job may see."""
    # `-m` looks in the working folder first, so the job runs its own checkout's `model`; the mark is another run's.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", MARK)}


class Job:
    """A training process, in a process group of its own."""

    def __init__(self, folder: RunFolder, code: Path, data_folder: Path, slot: Slot) -> None:
        self.slot, self.folder = slot, folder
        command = [sys.executable, "-m", "model", str(folder.path), "--data-folder", str(data_folder)]
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=code,
                env=job_environment() | slot.environment | marks_of(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the job runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Ask the job to finish its epoch, checkpoint and end."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """Let the job and all it started stand still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused job go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the job and all it started, at once; gives up on a process that the system cannot end."""
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=KILL_SECONDS)
        end_members(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
