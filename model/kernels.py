"""Compile and choose fla's kernels for a job on all cores, before its training needs them.

fla has some 170 variants of its kernels for one precision and one shape of heads. A training compiles them one after
the other, times them and keeps the fastest: minutes, in which the GPU waits. Triton keeps on the disk what it compiles
and what it chooses. So several processes compile a share of the variants each, and launch none. Then one process times
them all.

`python -m model.kernels --share 0 --of 16` compiles a share for the configuration on its standard input. Without
`--share` it times every variant.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import torch

from model.config import JobConfig, decode_job
from model.studies.radio.network import build_classifier
from model.train.device import free_memory_bytes
from model.train.own_code import require_own_code
from model.train.score import BATCH_SIZE
from model.train.trainer import AUTOCAST

ROOT = Path(__file__).parents[1]
VARIABLE = "TRITON_CACHE_DIR"
MOST_PROCESSES = 16
PROCESS_BYTES = 4 * 2**30
"""Memory of the GPU for one process: a CUDA context, and a block's tensors of a whole batch."""
LIMIT_SECONDS = 600.0
"""Longest wait for a process. After it, the first step of the training compiles what is missing."""
PACKAGES = ("torch", "triton", "flash-linear-attention", "liger-kernel")
"""Another version of one of these compiles other kernels."""
BRIEF = {"warmup": 5, "rep": 25}
"""Milliseconds for which a variant is timed. Triton's own are 25 and 100, and there are some 170 variants."""


class KernelError(RuntimeError):
    """A process that compiles or times kernels failed; the text is a sentence."""


def prepare_kernels(config: JobConfig, device: torch.device, tell: Callable[[str], object]) -> None:
    """Compile and choose the kernels of a job, unless an earlier process has done it; without a GPU do nothing.

    A failure is told and ends no job: its first step then compiles the kernels one after the other.
    """
    if device.type != "cuda":
        return
    done = mark_of(cache_folder(), config, torch.cuda.get_device_name(device))
    num_processes = count_processes(free_memory_bytes(device))
    # A single process would compile no faster than the training itself.
    if not uses_fla(config) or num_processes == 1 or done.exists():
        return
    tell(f"{num_processes} processes compile fla's kernels, once for this GPU, precision and shape of heads")
    try:
        compile_kernels(config, num_processes)
    # Also if the system starts no more processes.
    except (KernelError, OSError) as error:
        tell(f"{error}; the first step compiles what is missing")
    else:
        note_done(done)


def note_done(done: Path) -> None:
    """Note that the kernels are chosen, so that no later job does it again."""
    # Without the note a later job looks once more. That costs seconds, and is no reason to end this one.
    with contextlib.suppress(OSError):
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


def uses_fla(config: JobConfig) -> bool:
    """Whether a block of the network is fla's gated delta net."""
    return config.model.mixer == "gated_delta"


def cache_folder() -> Path:
    """Return the folder where Triton keeps what it compiles and chooses; name it for all that this process starts.

    Without the variable torch.compile would give its process another folder, and choices would be made twice.
    """
    return Path(os.environ.setdefault(VARIABLE, str(Path.home() / ".triton" / "cache")))


def mark_of(folder: Path, config: JobConfig, card: str) -> Path:
    """Return the file in Triton's folder that says: the kernels of this configuration are chosen for this card."""
    block = one_block(config)
    what = (card, *map(_version, PACKAGES), block.model, block.runtime.precision, block.optim.batch_size)
    return folder / f"knockout-{hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:16]}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def one_block(config: JobConfig) -> JobConfig:
    """Return a configuration of one block, which has every kernel of the whole network."""
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, depth=1, aux_head=None))


def count_processes(free_bytes: int | None) -> int:
    """Return the number of processes for the cores that this process may use, and for the GPU's free memory."""
    room = MOST_PROCESSES if free_bytes is None else free_bytes // PROCESS_BYTES
    return max(1, min(MOST_PROCESSES, len(os.sched_getaffinity(0)), room))


def compile_kernels(config: JobConfig, num_processes: int) -> None:
    """Let processes compile all kernels, then let one choose among them.

    Raises:
        KernelError: a process failed or took too long; the text has the last line that it wrote.
    """
    shares = [("--share", str(share), "--of", str(num_processes)) for share in range(num_processes)]
    choose: tuple[str, ...] = ()
    # The second pass is one process alone: beside other work its timings would choose wrongly.
    for commands in (shares, [choose]):
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_started(config, words)) for words in commands]
            for process in processes:
                _await(process)


@contextlib.contextmanager
def _started(config: JobConfig, words: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "model.kernels", *words]
    nowhere, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=nowhere, stderr=pipe) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(config))
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _await(process: subprocess.Popen[bytes]) -> None:
    try:
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise KernelError(f"a process that compiles kernels took more than {LIMIT_SECONDS:.0f} s") from None
    if process.returncode != 0:
        last = (errors.decode(errors="replace").strip().splitlines() or ["it wrote nothing"])[-1]
        raise KernelError(f"a process that compiles kernels ended with status {process.returncode}: {last}")


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


def use_every_kernel(config: JobConfig, device: torch.device) -> None:
    """Go through one block as a training step does, then as a validation does."""
    network = build_classifier(one_block(config), 2, device)
    samples, precision = config.data.samples, config.runtime.precision
    dtype = AUTOCAST.get(precision, torch.float32)
    with torch.autocast(device.type, dtype, enabled=precision in AUTOCAST):
        logits_BC, _ = network(torch.randn(config.optim.batch_size, 2, samples, device=device))
        # Some kernels are compiled for a number of rows, and a validation has another batch size.
        with torch.inference_mode():
            network.eval()(torch.randn(BATCH_SIZE, 2, samples, device=device))
    logits_BC.float().sum().backward()


def main(arguments: list[str] | None = None) -> int:
    """Compile a share, or choose; return 2 after a sentence if there is no GPU, else 0."""
    parser = argparse.ArgumentParser(prog="python -m model.kernels", description="fla's kernels, ahead of a training.")
    parser.add_argument("--share", type=int, help="compile this share of the variants, from 0, and time none")
    parser.add_argument("--of", type=int, default=1, help="the number of shares (%(default)s)")
    options = parser.parse_args(arguments)
    config = decode_job(sys.stdin.buffer.read())
    if not torch.cuda.is_available():
        print("model.kernels: there is no CUDA GPU here, so no kernel was compiled", file=sys.stderr)
        return 2
    cache_folder()
    # Triton comes with torch for CUDA alone.
    import triton.testing
    from triton.errors import TritonError
    from triton.runtime.autotuner import Autotuner

    if options.share is None:
        triton.testing.do_bench = partial(triton.testing.do_bench, **BRIEF)
    else:
        compile_share(Autotuner, TritonError, options.share, options.of)
    use_every_kernel(config, torch.device("cuda"))
    return 0


if __name__ == "__main__":
    require_own_code()
    sys.exit(main())
