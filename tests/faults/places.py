"""Kinds of faults: a disk is full or read-only, or nobody reads an output."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.kinds import Kinds
from tests.faults.machine import Machine, sleep_for
from tests.faults.storm import Storm

DISKS = Kinds("the disk of the results is full or cannot be written")
OUTPUTS = Kinds("nobody reads what `work` says")
END_SECONDS = 30.0


# ---- disks


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(machine: Machine, num_bytes: int) -> Iterator[Path]:
    """Put the results on a small disk of their own.

    Raises:
        OSError, CalledProcessError: this user may not mount a disk.
    """
    results, aside = machine.repo / "results", machine.repo.parent / "aside"
    results.rename(aside)
    results.mkdir()
    mount("-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(results))
    try:
        shutil.copytree(aside, results, dirs_exist_ok=True)
        yield results
    finally:
        machine.power_off()
        subprocess.run(["umount", "--lazy", str(results)], check=True)


def fill(disk: Path, piece: int = 4096) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b" " * piece)
    return filler


@DISKS.kind("a full disk", "a file fills the tmpfs of the results, and is taken away later", weight=3)
def fill_disk(storm: Storm) -> None:
    storm.machine.excuse_all()
    filler = fill(storm.machine.repo / "results")
    sleep_for(storm.random.uniform(0.1, 2.0))
    if storm.random.random() < 0.3:
        storm.machine.may_refuse("status")
        storm.machine.start_work()
        storm.machine.excuse_all()
        sleep_for(1.5)
    filler.unlink()


@DISKS.kind("a full disk when everything starts", "the power goes, the disk fills, and `work` is started")
def start_on_full_disk(storm: Storm) -> None:
    storm.machine.power_off()
    filler = fill(storm.machine.repo / "results")
    work = storm.machine.start_work()
    storm.machine.excuse_all()
    with contextlib.suppress(subprocess.TimeoutExpired):
        work.wait(4.0)
    filler.unlink()


@DISKS.kind("results that cannot be written", "`mount -o remount,ro` of the tmpfs, and back", weight=2)
def mount_read_only(storm: Storm) -> None:
    storm.machine.power_off()
    results = str(storm.machine.repo / "results")
    mount("-o", "remount,ro", results)
    work = storm.machine.start_work()
    storm.machine.excuse_all()
    storm.machine.may_refuse(*storm.random.choice((("status",), ("plan",), ("queue", "list"))))
    with contextlib.suppress(subprocess.TimeoutExpired):
        work.wait(4.0)
    mount("-o", "remount,rw", results)


# ---- outputs


def watch_output(storm: Storm, work: Any, errors: Path, what: str) -> None:
    """Check that `work` goes on, or ends and says why."""
    target = len(storm.machine.results()) + 2  # `work` prints a line for each run that ends

    def has_told() -> bool:
        storm.refill()
        return work.poll() is not None or len(storm.machine.results()) >= target

    storm.machine.wait_for(has_told, "two runs end, or `work` does")
    said = errors.read_text(errors="replace")
    if work.poll() not in (None, 0) and not said.strip():
        storm.machine.lose(f"{what}: `work` ended with status {work.returncode} and said nothing")
    storm.machine.find_tracebacks(said, f"{what}: `work`")


def start_telling(storm: Storm, stdout: Any) -> "tuple[subprocess.Popen[str], Path]":
    errors = storm.machine.repo.parent / f"errors-{storm.random.randrange(10**9)}"
    storm.machine.kill([other.pid for other in storm.machine.works], "TERM")
    with errors.open("w") as file:
        work = storm.machine.start_work(stdout=stdout, stderr=file)
    storm.machine.excused.discard(work.pid)
    return work, errors


@OUTPUTS.kind("the reader of stdout goes away", "`work | head -1`: the pipe is closed at a random moment", weight=2)
def close_pipe(storm: Storm) -> None:
    read, written = os.pipe()
    try:
        work, errors = start_telling(storm, written)
    finally:
        os.close(written)
    sleep_for(storm.random.uniform(0.0, 2.0))
    os.close(read)
    watch_output(storm, work, errors, "the reader of stdout is gone")


@OUTPUTS.kind("stdout on a full disk", "`work > /dev/full`")
def write_to_full_device(storm: Storm) -> None:
    with Path("/dev/full").open("w") as full:
        work, errors = start_telling(storm, full)
    watch_output(storm, work, errors, "stdout is full")


@OUTPUTS.kind("stdout and stderr gone", "both pipes are closed, as when ssh breaks off without a terminal")
def close_both_pipes(storm: Storm) -> None:
    read, written = os.pipe()
    try:
        work = storm.machine.start_work(stdout=written, stderr=written)
    finally:
        os.close(written)
    storm.machine.excused.discard(work.pid)
    sleep_for(storm.random.uniform(0.0, 2.0))
    os.close(read)
    storm.go_on()


@OUTPUTS.kind("a command whose reader goes away", "`status | true`, `queue list`, `plan`, with a closed pipe")
def close_pipe_of_command(storm: Storm) -> None:
    words = storm.random.choice((("status",), ("queue", "list"), ("plan",), ("status", "--json")))
    read, written = os.pipe()
    os.close(read)
    try:
        command = storm.machine.start(*words, stdout=written)
    finally:
        os.close(written)
    storm.machine.must_end(command, END_SECONDS, f"`knockout {' '.join(words)}` lost its reader")
