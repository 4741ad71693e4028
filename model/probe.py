"""Time an epoch of a configuration now, by short turns on noise that alternate with another process.

`python -m model.probe CONFIG --turns 4 --pass-to FD` builds the training of a `config.json`, warms up and takes turns.
It waits on standard input before each turn and writes a byte to `FD` after it. So two connected processes never compute
at the same time, and a change of the machine's speed affects both alike. Each turn prints a line of JSON: the seconds
of a whole epoch, scaled up from the turn.

A turn trains one or more batches by the trainer itself, and validates a proportionate number of bursts. The bursts are
noise of the configured shape, which costs as much time as real bursts. Reading captures and writing checkpoints is not
part of a turn.

Letters: N bursts, S samples.
"""

import argparse
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from model.config import DataConfig, JobConfig, decode_run
from model.data.batches import BurstSet, device_classes
from model.data.captures import Bursts
from model.data.unchanged import CaptureStamps
from model.studies.radio.study import RadioStudy
from model.train.device import choose_arithmetic, choose_device
from model.train.job import is_out_of_memory
from model.train.own_code import require_own_code
from model.train.trainer import Trainer

TURN_SECONDS = 0.3
"""Least seconds of a turn. Each turn starts with cold caches, whose cost must stay small beside its work."""
WARM_UP = 2
"""Turns before the timed ones; they pay for compiling and for the allocator."""


class Turn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn, a line of standard output. If the turns cannot be done, the last line has a `problem`."""

    epoch_seconds: float | None = None
    problem: str | None = None
    is_out_of_memory: bool = False


class NoiseBursts(BurstSet):
    """Bursts of noise instead of captures."""

    def _read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        shape = (len(indices), 2, self.parts[0].samples)
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def count_bursts(data: DataConfig, names: tuple[str, ...]) -> int:
    """Return the number of bursts of a role."""
    ranges = ((data.captures[name].devices, data.captures[name].packets) for name in names)
    return sum((last - first) * (stop - start) for (first, last), (start, stop) in ranges)


def make_noise(data: DataConfig, num_bursts: int) -> NoiseBursts:
    """Make bursts of noise whose devices are spread over all training devices, including the last."""
    classes = device_classes(data)
    devices = np.array(sorted(classes, reverse=True), dtype=np.int64)
    places = np.linspace(0, len(devices) - 1, num_bursts).round().astype(np.int64)
    part = Bursts(
        path=Path("noise"),
        rows=np.arange(num_bursts),
        devices=devices[places],
        packets=np.arange(num_bursts),
        sample_rate_hz=data.sample_rate_hz,
        samples=data.samples,
        length=data.samples,
    )
    return NoiseBursts((part,), classes, stamps=CaptureStamps({}))


class Prober:
    """A training of a few batches and a proportionate validation, ready for timing."""

    def __init__(self, config: JobConfig, device: torch.device, share: int = 1) -> None:
        """Build and warm up.

        Args:
            config: the job's configuration.
            device: where to compute.
            share: divide the batch size by this, if a whole batch does not fit into the free memory.

        Raises:
            JobError: the machine cannot do what the configuration asks.
        """
        self.batch_size = max(1, config.optim.batch_size // share)
        optim = msgspec.structs.replace(config.optim, batch_size=self.batch_size)
        self.config, self.device, self.num_turns = msgspec.structs.replace(config, optim=optim), device, 0
        self.trainer = Trainer(RadioStudy(self.config), *self._make_sets(1), device)
        for _ in range(WARM_UP):
            self.take_turn()
        # This turn is timed after the warm-up, and only to choose how many batches a turn has.
        batch_seconds = self.take_turn() / self.turns_per_epoch
        self.trainer.use_bursts(*self._make_sets(max(1, math.ceil(TURN_SECONDS / batch_seconds))))

    def _make_sets(self, num_batches: int) -> tuple[NoiseBursts, NoiseBursts]:
        """Make noise for this many batches, at most an epoch, and for the same share of the validation."""
        data = self.config.data
        num_train, num_validate = (count_bursts(data, names) for names in (data.train, data.validate))
        num_bursts = min(num_batches * self.batch_size, num_train)
        self.turns_per_epoch = num_train / num_bursts
        return make_noise(data, num_bursts), make_noise(data, max(1, round(num_validate / self.turns_per_epoch)))

    def take_turn(self) -> float:
        """Train and validate; return the seconds that a whole epoch would take at this pace."""
        return _time_on(self.device, self._compute) * self.turns_per_epoch

    def _compute(self) -> None:
        trainer, self.num_turns = self.trainer, self.num_turns + 1
        trainer.train_epoch(self.num_turns)
        trainer.score(trainer.validate)


def _time_on(device: torch.device, compute: Callable[[], None]) -> float:
    """Return seconds: a GPU's own, or processor time, which does not count waiting for a processor."""
    if device.type != "cuda":
        started = time.process_time()
        compute()
        return time.process_time() - started
    # A GPU computes after the call returns. Its own events measure the work; a clock here would measure the calls.
    start, end = (torch.Event(device.type, enable_timing=True) for _ in range(2))
    start.record()
    compute()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000.0


def take_turns(take_turn: Callable[[], float], num_turns: int, *, is_first: bool, hear: int, tell: int) -> None:
    """Take turns: each waits for a byte from `hear` and ends with a byte to `tell`; the first process does not wait.

    The end of `hear` means that the other process has ended, and ends the turns.
    """
    for number in range(num_turns):
        if not (is_first and number == 0) and not os.read(hear, 1):
            return
        _say(Turn(epoch_seconds=take_turn()))
        # The other process may have ended after its last turn.
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b".")


def _say(turn: Turn) -> None:
    sys.stdout.write(msgspec.json.encode(turn).decode() + "\n")
    sys.stdout.flush()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    raise SystemExit(1)


def main(arguments: list[str] | None = None) -> int:
    """Take the turns; return 2 if the configuration cannot be trained here, which the last line explains, else 0."""
    parser = argparse.ArgumentParser(prog="python -m model.probe", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--pass-to", type=int, required=True, help="file descriptor that the other process reads")
    parser.add_argument("--first", action="store_true", help="take the first turn without waiting")
    parser.add_argument("--share", type=int, default=1, help="divide the batch size by this")
    parser.add_argument("--limit", type=int, default=300, help="end after this many seconds in any case")
    resume = "paused process group to continue when this process ends; may be given several times"
    parser.add_argument("--resume", type=int, action="append", default=[], metavar="GROUP", help=resume)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, _end_at_once)
    signal.alarm(options.limit)
    try:
        return _probe(options)
    finally:
        signal.alarm(0)
        # Even if the process that paused those jobs has died, they are paused no longer than this process lives.
        for group in options.resume:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGCONT)


def _probe(options: argparse.Namespace) -> int:
    try:
        device = choose_device("auto")
        config = decode_run(options.config.read_bytes())
        choose_arithmetic(device, config.runtime.precision)
        prober = Prober(config, device, options.share)
        take_turns(
            prober.take_turn, options.turns, is_first=options.first, hear=sys.stdin.fileno(), tell=options.pass_to
        )
    except (MemoryError, RuntimeError) as error:
        _say(Turn(problem=" ".join(str(error).split()), is_out_of_memory=is_out_of_memory(error)))
        return 2
    except (ValueError, OSError) as error:
        _say(Turn(problem=str(error)))
        return 2
    return 0


if __name__ == "__main__":
    require_own_code()
    sys.exit(main())
