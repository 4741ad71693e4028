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


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far, in bytes: of the GPU on CUDA, else of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Linux counts `ru_maxrss` in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
