"""`make bench`: speed as ratios within one run, because seconds of one machine mean nothing on another.

It prints a Markdown table. `--write FILE` also writes the table between the two marks in that file.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.commands import bench_commands
from benchmarks.data import bench_data
from benchmarks.memory import bench_memory
from benchmarks.overhead import bench_overhead
from benchmarks.page import publish
from benchmarks.rule import SHAPES, bench_rule
from benchmarks.search import bench_search
from benchmarks.starts import bench_starts
from benchmarks.step import bench_step
from benchmarks.timing import ROUNDS, Row
from orchestrator.launch.slots import MALLOC

BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end: written by make bench -->"
THREADS = "2"
BENCHMARKS: tuple[Callable[[], list[Row]], ...] = (
    *(partial(bench_rule, shape) for shape in SHAPES),
    bench_step,
    bench_memory,
    bench_data,
    bench_overhead,
    bench_starts,
    bench_commands,
    bench_search,
)


def start_as_a_job() -> None:
    """Restart this process with the threads and the allocator settings of the jobs of `knockout run`."""
    settings = {**MALLOC, "OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS}
    if not settings.items() <= os.environ.items():
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **settings})


def lines() -> Iterator[str]:
    """Measure and yield the table, line by line."""
    yield f"torch {torch.__version__}, {platform.machine()}, threads {torch.get_num_threads()} of {os.cpu_count()}."
    yield f"Medians of {ROUNDS} rounds; a figure below 1 says that ours takes less."
    yield ""
    yield "| what | against | figure | wanted |"
    yield "| --- | --- | --- | --- |"
    for benchmark in BENCHMARKS:
        for row in benchmark():
            yield f"| {row.what} | {row.against} | {row.figure} | {row.wanted} |"


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, as ratios within one run.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args()
    start_as_a_job()
    publish(lines(), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
