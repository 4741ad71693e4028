"""One process with everything imported, which forks a job for each request: a start costs milliseconds, not seconds.

`python -m model.standby [--gpu]` reads requests from its standard input, one JSON object a line. It answers on its
standard output with the number of the forked process, and later with that process's exit status. It ends at the end of
its input; running jobs continue without it.

This process never touches CUDA, because no forked child could use it then. It starts no thread, because a child
inherits no thread.
"""

import contextlib
import gc
import importlib
import os
import select
import sys
from collections.abc import Iterator
from typing import NoReturn

import msgspec
import torch
from msgspec import Struct

from model.__main__ import main as do_job
from model.endings import status_of
from model.train.own_code import require_own_code


class Request(Struct, frozen=True, kw_only=True):
    """A job to start: the arguments of `python -m model`, the working folder, the log and further variables."""

    words: tuple[str, ...]
    folder: str
    log: str
    environment: dict[str, str]


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job was forked, or has ended with `status`; a negative status is a signal's number."""

    pid: int
    status: int | None = None


KERNEL_MODULES = ("torch._dynamo", "torch._inductor.compile_fx", "transformers.modeling_utils", "triton")
"""What the kernels for a GPU import, seconds of work. The kernels themselves start CUDA when they are imported."""


def warm_up(*, for_gpu: bool = False) -> None:
    """Import the modules that a training would import only at its start."""
    if for_gpu:
        # With this setting torch asks the driver's library for GPUs, and a fork can still start CUDA afterwards.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        for name in KERNEL_MODULES:
            # A job that needs a missing package says so in its own log.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)
    torch.use_deterministic_algorithms(mode=torch.are_deterministic_algorithms_enabled())
    # Nothing loaded so far becomes garbage. A collection in a child would only copy the memory that it shares.
    gc.collect()
    gc.freeze()


def serve(source: int, answers: int) -> None:
    """Fork a job for each request from `source`, until its end; both arguments are file descriptors.

    A child has a descriptor too, which becomes readable when the child ends, so no polling is needed.
    """
    children: dict[int, int] = {}
    lines = _Lines(source)
    while not lines.is_at_end:
        ready = select.select([source, *children], [], [])[0]
        for line in lines.read() if source in ready else ():
            pid = fork_job(msgspec.json.decode(line, type=Request))
            children[os.pidfd_open(pid)] = pid
            _say(answers, Answer(pid=pid))
        for ended in children.keys() & set(ready):
            os.close(ended)
            pid, status = os.waitpid(children.pop(ended), 0)
            _say(answers, Answer(pid=pid, status=os.waitstatus_to_exitcode(status)))


def fork_job(request: Request) -> int:
    """Fork a job and return its number, once it leads its own session: a signal then reaches all it starts."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        # A session of its own: the job survives a signal to the standby's group, and can be signalled alone.
        os.setsid()
        os.close(told)
        become_job(request)
    os.close(told)
    # The pipe's end tells the parent that `setsid` is done; without it a signal to the new group could come too early.
    os.read(heard, 1)  # ends when the child has closed its side
    os.close(heard)
    return pid


def become_job(request: Request) -> NoReturn:
    """Run a job in this forked process as a fresh one would: with its own log, folder and variables."""
    status = 1
    try:
        # 0o666, so that the umask and the folder decide who may read and write the log.
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(target, number)
        os.chdir(request.folder)
        os.environ.update(request.environment)
        status = do_job(list(request.words))
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException as error:
        status = status_of(error) or status
        # No caller prints the error, so write it to the log, where people look for it.
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # a child must never continue as a second standby process


class _Lines:
    """Whole lines from a file descriptor."""

    def __init__(self, source: int) -> None:
        self.source, self.rest, self.is_at_end = source, b"", False

    def read(self) -> Iterator[bytes]:
        """Yield the lines read so far; wait until there is something to read."""
        content = os.read(self.source, 65536)
        self.is_at_end = not content
        *lines, self.rest = (self.rest + content).split(b"\n")
        yield from lines


def _say(answers: int, answer: Answer) -> None:
    os.write(answers, msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    require_own_code()
    warm_up(for_gpu="--gpu" in sys.argv)
    serve(sys.stdin.fileno(), sys.stdout.fileno())
