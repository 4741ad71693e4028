"""Peak memory of forward and backward at the paper's width, batch 8, each side in its own process."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.timing import Row

SAMPLES = 8192


def peak_kibibytes() -> int:
    # Not getrusage, because its peak includes that of the parent before the fork.
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def measure(rule: str) -> int:
    """Return the KiB by which the process grows beyond its model and its bursts."""
    from benchmarks.step import with_transformers_rule
    from model.config import ModelConfig
    from model.studies.radio.network import Classifier, initialize

    config = ModelConfig()
    network = Classifier(config, 10, config.num_tokens(SAMPLES), "torch")
    initialize(network, 0)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 0.0)  # written, so that its pages exist
    x_B2L = torch.randn(8, 2, SAMPLES)
    before = peak_kibibytes()
    with with_transformers_rule() if rule == "transformers" else contextlib.nullcontext():
        network(x_B2L)[0].sum().backward()
    return peak_kibibytes() - before


def bench_memory() -> list[Row]:
    kibibytes = {}
    for rule in ("ours", "transformers"):
        # Each large block gets its own mapping. Freed memory then returns to the system, and only held memory counts.
        exact = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", rule]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **exact})
        kibibytes[rule] = int(done.stdout)
    figure = f"{kibibytes['ours'] / kibibytes['transformers']:.2f}"
    what = "peak memory of a step at paper width, batch 8, over what the model holds anyway"
    return [Row(what, "the same with transformers' rule", figure, "at most 0.7")]


if __name__ == "__main__":
    print(measure(sys.argv[1]))
