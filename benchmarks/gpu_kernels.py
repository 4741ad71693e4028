"""Compile fla's kernels for the card on all cores, before a training needs them.

fla has some 170 variants of its kernels for one precision. A training compiles them one after the other, times them,
and keeps the fastest: minutes, in which the card waits. Triton keeps what it compiles on the disk. So processes that
each compile a share of the variants, and launch none, leave only the timing to the training.

`python -m benchmarks.gpu_kernels PRECISION SHARE OF` is one of these processes.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import torch

from benchmarks.gpu_training import paper_baseline
from model.config import JobConfig
from model.probe import count_bursts
from model.studies.radio.network import build_classifier
from model.train.score import BATCH_SIZE
from model.train.trainer import AUTOCAST

ROOT = Path(__file__).parents[1]
VARIABLE = "TRITON_CACHE_DIR"
MOST_PROCESSES = 16
"""Each has a CUDA context and a block's tensors on the card, so there must not be one for each of a hundred cores."""
LAST_KERNEL = "causal_conv1d_bwd_kernel"
"""The kernel that is chosen last in a step, by its number of channels and the type of its numbers."""
BRIEF = {"warmup": 5, "rep": 25}
"""Milliseconds for which a variant is timed. Triton's own are 25 and 100, and there are some 170 variants."""


def cache_folder() -> Path:
    """Return the folder where Triton keeps what it compiles and chooses.

    Without the variable torch.compile would give its process another folder, and choices would be made twice.
    """
    return Path(os.environ.setdefault(VARIABLE, str(Path.home() / ".triton" / "cache")))


def is_chosen(folder: Path, precision: str, config: JobConfig) -> bool:
    """Whether an earlier process has chosen the kernels of a precision."""
    model = config.model
    channels = model.num_heads * (2 * model.head_dim + model.head_v_dim)
    wanted = {channels, str(AUTOCAST.get(precision, torch.float32))}
    choices = folder.glob(f"*/{LAST_KERNEL}.autotune.json")
    return any(wanted <= set(json.loads(path.read_text(encoding="utf-8"))["key"]) for path in choices)


def compile_kernels(precision: str, num_processes: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let processes compile the kernels of a precision, and do something else until they have.

    Raises:
        RuntimeError: a process failed; the text is the last line that it wrote.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_started(precision, share, num_processes)) for share in range(num_processes)]
        meanwhile()
        for process in processes:
            _, errors = process.communicate()
            if process.returncode != 0:
                last = (errors.strip().splitlines() or ["it wrote nothing"])[-1]
                raise RuntimeError(f"a process that compiles kernels ended with status {process.returncode}: {last}")


def count_processes() -> int:
    """Return the number of processes for the cores that this process may use."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def _started(precision: str, share: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.gpu_kernels", precision, str(share), str(count)]
    nowhere, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=nowhere, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def compile_share(autotuner: Any, unfit: type[Exception], share: int, count: int) -> None:
    """Have every choice of Triton compile each `count`-th variant from `share` on, and launch nothing.

    Args:
        autotuner: Triton's class `Autotuner`.
        unfit: Triton's error for a variant that the card cannot have.
        share: the place of this process among all, from 0.
        count: the number of processes.
    """

    def run(self: Any, *arguments: Any, **named: Any) -> None:
        named.pop("warmup", None)
        self.nargs = dict(zip(self.arg_names, arguments, strict=False))
        for variant in self.prune_configs(named)[share::count]:
            # No failure: a training skips such a variant too, when it times them.
            with contextlib.suppress(unfit):
                self.fn.warmup(*arguments, **named, **variant.all_kwargs())

    autotuner.run = run


def use_every_kernel(config: JobConfig, precision: str, device: torch.device) -> None:
    """Go through one block as a training step does, then as a validation does."""
    one_block = msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, depth=1))
    network = build_classifier(one_block, 2, device)
    batch, scored = config.optim.batch_size, min(BATCH_SIZE, count_bursts(config.data, config.data.validate))
    dtype = AUTOCAST.get(precision, torch.float32)
    with torch.autocast(device.type, dtype, enabled=precision in AUTOCAST):
        logits_BC, _ = network(torch.randn(batch, 2, config.data.samples, device=device))
        # Some kernels are compiled for a number of rows, and a validation has another batch size.
        with torch.inference_mode():
            network.eval()(torch.randn(scored, 2, config.data.samples, device=device))
    logits_BC.float().sum().backward()


@contextlib.contextmanager
def timed_briefly(device: torch.device) -> Iterator[None]:
    """Have Triton time each variant of a kernel for a short while only."""
    if device.type != "cuda":
        yield
        return
    # Triton comes with torch for CUDA alone.
    import triton.testing

    with mock.patch.object(triton.testing, "do_bench", partial(triton.testing.do_bench, **BRIEF)):
        yield


def main(arguments: list[str]) -> int:
    """Compile one share."""
    precision, share, count = arguments[0], int(arguments[1]), int(arguments[2])
    if not torch.cuda.is_available():
        print("benchmarks.gpu_kernels: there is no CUDA GPU here, so no kernel was compiled", file=sys.stderr)
        return 2
    # Triton comes with torch for CUDA alone.
    from triton.errors import TritonError
    from triton.runtime.autotuner import Autotuner

    compile_share(Autotuner, TritonError, share, count)
    use_every_kernel(paper_baseline(), precision, torch.device("cuda"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
