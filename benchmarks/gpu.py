"""`python -m benchmarks.gpu`: what only a GPU can show, in 75 seconds on one card.

It prints a Markdown table, each line as soon as it is measured, and writes it between the two marks of docs/gpu.md. The
most important figures come first, because the time ends the table. Exit status: 0 if nothing failed, 1 if a measurement
failed, 2 without a CUDA GPU.
"""

import argparse
import importlib.metadata
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pynvml
import torch

from benchmarks.gpu_clock import Deadline, TimeUpError, seconds_since_start, wall_seconds
from benchmarks.gpu_flops import step_flops
from benchmarks.gpu_rows import (
    HEAD,
    as_line,
    augment_row,
    checkpoint_row,
    epoch_rows,
    failed_row,
    flops_rows,
    idle_row,
    kernels_row,
    memory_row,
    share_rows,
    start_row,
    time_up_row,
)
from benchmarks.gpu_rule import compare_rules, measure_product
from benchmarks.gpu_start import time_start
from benchmarks.gpu_trace import read_usage
from benchmarks.gpu_training import (
    Training,
    Variant,
    eager_augment,
    paper_baseline,
    record_steps,
    time_augment,
    time_checkpoint,
)
from benchmarks.page import publish
from benchmarks.timing import Row
from model.config import JobConfig
from model.kernels import cache_folder, compile_kernels, count_processes, mark_of, note_done
from model.train.device import choose_arithmetic, free_memory_bytes

BEGIN, END = "<!-- begin: written by python -m benchmarks.gpu -->", "<!-- end -->"
PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"
SECONDS = 75.0
NO_GPU = (
    "benchmarks.gpu: torch {torch} sees no CUDA GPU here, so nothing was measured; run it on a machine with an NVIDIA "
    "GPU and a torch that is built for CUDA, as docs/gpu.md says"
)
NO_TRAINING = "no training was timed before, and this figure needs one; measure an epoch in the same call"


class Bench:
    """What measurements share: the configuration, the device, and the training that was timed last."""

    def __init__(self, config: JobConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.training: Training | None = None

    def timed_training(self) -> Training:
        """Return the training that was timed last.

        Raises:
            RuntimeError: none was timed.
        """
        if self.training is None:
            raise RuntimeError(NO_TRAINING)
        return self.training


class Measure(NamedTuple):
    """A measurement: its title, and what yields its rows."""

    title: str
    rows: Callable[[Bench], Iterable[Row]]


def prepare_kernels(precision: str, bench: Bench) -> Iterator[Row]:
    config = Variant(precision, compile=False).apply(bench.config)
    card = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else platform.machine()
    done = mark_of(cache_folder(), config, card)
    if done.exists():
        yield kernels_row(precision, 0, None)
        return
    num_processes = count_processes(free_memory_bytes(bench.device))
    seconds = wall_seconds(bench.device, lambda: compile_kernels(config, num_processes))
    note_done(done)
    yield kernels_row(precision, num_processes, seconds)


def measure_epoch(variant: Variant, bench: Bench) -> Iterator[Row]:
    # The training before frees its memory first, so that the peak of this one is its own.
    bench.training = None
    choose_arithmetic(bench.device, variant.precision)
    bench.training = training = Training(bench.config, variant, bench.device)
    yield from epoch_rows(str(variant), training.times, training.num_train, training.num_validate)
    card_bytes = torch.cuda.get_device_properties(bench.device).total_memory if bench.device.type == "cuda" else None
    yield memory_row(str(variant), training.batch_size, training.times.peak_bytes, card_bytes)


def measure_shares(bench: Bench) -> Iterator[Row]:
    training = bench.timed_training()
    times = training.times
    usage = read_usage(record_steps(training))
    seconds = {group: total / times.num_steps for group, total in usage.seconds_by_group.items()}
    yield from share_rows(str(training.variant), seconds, usage.largest, times.step_seconds)
    yield idle_row(str(training.variant), usage.busy_seconds / times.num_steps, times.step_seconds)


def measure_flops(bench: Bench) -> Iterator[Row]:
    training = bench.timed_training()
    data = training.config.data
    classes = int(training.train.class_of_burst.max()) + 1
    flops = step_flops(training.config.model, training.batch_size, data.samples, classes)
    card = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else platform.machine()
    product = measure_product(bench.device) if bench.device.type == "cuda" else measure_product(bench.device, 64)
    yield from flops_rows(str(training.variant), flops, training.times.step_seconds, product, card)


def measure_augment(bench: Bench) -> Iterator[Row]:
    batch = bench.config.optim.batch_size
    eager = eager_augment(bench.config, bench.device)
    yield augment_row("not compiled", batch, time_augment(eager, bench.config, bench.device))
    training = bench.timed_training()
    how = f"as the training has it, {training.variant}"
    yield augment_row(how, batch, time_augment(training.augment.augment, bench.config, bench.device))


def measure_compiled_augment(bench: Bench) -> Iterator[Row]:
    compiled = torch.compile(eager_augment(bench.config, bench.device))
    seconds = time_augment(compiled, bench.config, bench.device)
    yield augment_row("by torch.compile as a whole", bench.config.optim.batch_size, seconds)


def measure_rules(bench: Bench) -> Iterator[Row]:
    yield from compare_rules(bench.config, bench.device)


def measure_checkpoint(bench: Bench) -> Iterator[Row]:
    yield checkpoint_row(*time_checkpoint(bench.timed_training()))


def measure_start(variant: Variant, bench: Bench) -> Iterator[Row]:
    start = time_start(variant.apply(bench.config), bench.device.type)
    yield start_row(start.ready_seconds, start.start_seconds, str(variant))


def epoch_measure(variant: Variant) -> Measure:
    return Measure(f"an epoch of the paper's baseline, {variant}", partial(measure_epoch, variant))


def kernels_measure(precision: str) -> Measure:
    return Measure(f"compiling fla's kernels, {precision}", partial(prepare_kernels, precision))


def list_measures() -> list[Measure]:
    """List the measurements, the most worth for its seconds first.

    The uncompiled baseline comes before the compiled one: it is there even if compiling takes all of the time, and
    both need the kernels that fla chooses at the first step. Figures of some seconds come before other precisions.
    """
    plain, compiled = Variant("fp16", compile=False), Variant("fp16", compile=True)
    others = (Variant("bf16", True), Variant("bf16", False), Variant("fp16", "reduce-overhead"))
    return [
        kernels_measure("fp16"),
        epoch_measure(plain),
        epoch_measure(compiled),
        Measure("share of a step's kernels", measure_shares),
        Measure("TFLOP/s of a step", measure_flops),
        Measure("augmentation alone", measure_augment),
        Measure("a checkpoint", measure_checkpoint),
        kernels_measure("bf16"),
        Measure("the rule beside softmax attention", measure_rules),
        *(epoch_measure(variant) for variant in others if variant.is_known()),
        Measure("the start of a forked job", partial(measure_start, plain)),
        Measure("augmentation by torch.compile", measure_compiled_augment),
    ]


class Run:
    """One pass over measurements, within the time that is left."""

    def __init__(self, bench: Bench, deadline: Deadline) -> None:
        self.bench, self.deadline = bench, deadline
        self.failed: list[str] = []
        """Titles of the measurements that failed."""

    def rows(self, measures: Iterable[Measure]) -> Iterator[Row]:
        """Yield the rows of each measurement; one that fails, or has no time left, has a row that says so."""
        for measure in measures:
            if self.deadline.is_over():
                yield time_up_row(measure.title)
            else:
                yield from self._rows_of(measure)

    def _rows_of(self, measure: Measure) -> Iterator[Row]:
        rows = iter(measure.rows(self.bench))
        while True:
            try:
                with self.deadline.enforced():
                    row = next(rows, None)
            except TimeUpError:
                yield time_up_row(measure.title)
                return
            # Every error: a GPU is lent for minutes, and one failure must not cost the figures that come after it.
            # The errors of Triton and of CUDA's libraries have no base of their own. Each is told, and sets the status.
            except Exception as error:
                traceback.print_exc()
                self.failed.append(measure.title)
                yield failed_row(measure.title, error)
                return
            if row is None:
                return
            yield row


def lines(run: Run, measures: Sequence[Measure], versions: Sequence[str]) -> Iterator[str]:
    """Measure and yield the section of the page, line by line."""
    yield from versions
    yield ""
    yield from HEAD
    yield from map(as_line, run.rows(measures))


def find_versions(device: torch.device) -> list[str]:
    """Say what was measured on."""
    card = torch.cuda.get_device_properties(device)
    packages = {"triton": "triton", "fla": "flash-linear-attention", "liger": "liger-kernel"}
    versions = ", ".join(f"{name} {find_version(package)}" for name, package in packages.items())
    return [
        f"- card: {card.name}, {card.total_memory / 2**30:.0f} GiB, driver {find_driver()}, CUDA {torch.version.cuda}",
        f"- Python {platform.python_version()}, torch {torch.__version__}, {versions}",
    ]


def find_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def find_driver() -> str:
    """Return the version of NVIDIA's driver, or why it is not known."""
    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return f"unknown ({error})"


def writable_page() -> Path | None:
    """Return docs/gpu.md of this checkout; None if it cannot be written, because printing alone is worth the time."""
    return PAGE if PAGE.is_file() and os.access(PAGE, os.W_OK) else None


def choose(measures: Sequence[Measure], words: str | None) -> list[Measure]:
    """Return the measurements whose title has these words, or all.

    Raises:
        ValueError: no title has them; the text lists the titles.
    """
    chosen = [measure for measure in measures if words is None or words in measure.title]
    if not chosen:
        titles = "; ".join(measure.title for measure in measures)
        raise ValueError(f"no measurement has `{words}` in its title; the titles are: {titles}")
    return chosen


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="What only a GPU can show.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="end after so many seconds (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    parser.add_argument("--no-write", action="store_true", help="print alone; otherwise docs/gpu.md has the table too")
    parser.add_argument("--only", metavar="WORDS", help="measure only what has these words in its title")
    options = parser.parse_args(arguments)
    try:
        options.measures = choose(list_measures(), options.only)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write."""
    options = parse(arguments)
    if not torch.cuda.is_available():
        print(NO_GPU.format(torch=torch.__version__), file=sys.stderr)
        return 2
    device = torch.device("cuda")
    cache_folder()  # names it for this process and for all that it starts, before torch.compile does
    run = Run(Bench(paper_baseline(), device), Deadline(options.seconds - seconds_since_start()))
    page = None if options.no_write else options.write or writable_page()
    publish(lines(run, options.measures, find_versions(device)), page, (BEGIN, END))
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
