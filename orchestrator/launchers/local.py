"""Jobs as processes of this machine: one slot a GPU, or CPU slots that share the cores."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pynvml

from model.run_folder import RunFolder

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


def count_gpus() -> int:
    """Count the NVIDIA GPUs of this machine; 0 where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def name_gpu(slot: Slot) -> str | None:
    """Return the model of a slot's GPU; None for a slot on a CPU."""
    number = slot.environment.get("CUDA_VISIBLE_DEVICES")
    if number is None or count_gpus() <= int(number):
        return None
    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(int(number))))
    finally:
        pynvml.nvmlShutdown()


def make_slots(asked: int | None, num_gpus: int, num_cores: int) -> list[Slot]:
    """One slot a GPU, or on a CPU two (or as many as asked for), each with its share of the cores."""
    count = asked or num_gpus or min(2, num_cores)
    threads = str(max(1, num_cores // count))
    shared = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **MALLOC}
    if num_gpus == 0:
        return [Slot(f"cpu{number}", shared) for number in range(count)]
    # In the order of the bus, as NVML counts, so that both mean the same GPU by a number.
    shared |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [
        Slot(f"gpu{number % num_gpus}", shared | {"CUDA_VISIBLE_DEVICES": str(number % num_gpus)})
        for number in range(count)
    ]


class Job:
    """A training process, in a process group of its own."""

    def __init__(self, folder: RunFolder, code: Path, data_folder: Path, slot: Slot) -> None:
        self.slot = slot
        command = [sys.executable, "-m", "model", str(folder.path), "--data-folder", str(data_folder)]
        # `-m` looks in the working folder first, so the job runs its own checkout's `model`.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=code,
                env=environment | slot.environment,
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
        """End the job and all it started, at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
