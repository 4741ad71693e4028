"""The device that a job computes on, and what a device cannot do."""

import resource
import sys

import torch

from model.config import JobConfig


class JobError(ValueError):
    """A job that cannot be done as configured; its text is a sentence for the user."""


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is CUDA if there is a GPU, else the CPU.

    Raises:
        JobError: the name is `cuda` and there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError("there is no CUDA GPU here; use `--device auto`, or a machine with a GPU")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def require_possible(config: JobConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do.

    Raises:
        JobError: the job trains in fp16 and the device is no CUDA GPU.
    """
    if config.runtime.precision == "fp16" and device.type != "cuda":
        raise JobError(
            f"profile `{config.profile}` trains in fp16, which needs a CUDA GPU, and this job has {device.type}; "
            "use profile `quick`, or a machine with a GPU"
        )


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the free memory of a GPU in bytes; None for a CPU, whose memory already holds the bursts."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def choose_arithmetic(device: torch.device, precision: str) -> None:
    """Choose how this process computes: deterministic on a CPU, and on a GPU by TF32 where autocast leaves fp32.

    TF32 has ten bits of mantissa, as fp16 has, and runs on the tensor cores. A training in fp32 does not use it.
    """
    # On CUDA some operations have no deterministic form and would raise, so only the seeds are fixed there.
    torch.use_deterministic_algorithms(mode=device.type == "cpu")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far, in bytes: of the GPU on CUDA, else of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Linux counts `ru_maxrss` in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
