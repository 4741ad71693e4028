"""Kinds of faults: files change under the runs, and foreign files lie among them."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.runs.folder import RunFolder
from tests.builders.study_harness import wait_for
from tests.faults.kinds import Kinds
from tests.faults.machine import sleep_for
from tests.faults.storm import Storm

FILES = Kinds("files change under a run")
LOOK_SECONDS = 10.0
"""Longest wait for a `work` to go on or end while something wrong lies there."""
kind = FILES.kind


# ---- captures


def captures(storm: Storm) -> list[Path]:
    return sorted((storm.machine.repo / "data").glob("*.h5"))


def pick_capture(storm: Storm) -> Path:
    """Choose a capture; nobody can know any more which of its bytes the runs under way have read."""
    for folder in storm.machine.folders():
        if not folder.result.exists():
            storm.machine.may_begin_anew(folder)
    return storm.random.choice(captures(storm))


def other_bytes(storm: Storm, capture: Path) -> bytes:
    """Return other bytes of the same size."""
    return storm.random.randbytes(capture.stat().st_size)


@contextlib.contextmanager
def swapped(storm: Storm, capture: Path, *, keeps_times: bool) -> Iterator[None]:
    """Put another file under a capture's name, and put the first one back at the end."""
    aside, other = capture.with_suffix(".aside"), capture.with_suffix(".other")
    times = capture.stat()
    other.write_bytes(other_bytes(storm, capture))
    if keeps_times:
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.link(capture, aside)
    other.replace(capture)
    try:
        yield
    finally:
        aside.replace(capture)


@kind("capture swapped", "another file of the same size is renamed over it, and the first one put back later")
def swap_capture(storm: Storm) -> None:
    with swapped(storm, pick_capture(storm), keeps_times=storm.random.random() < 0.5):
        storm.machine.excuse_all()
        sleep_for(storm.random.uniform(0.1, 1.5))


@kind("capture swapped and put back", "so soon that no check may see it, with the same size and times")
def swap_capture_for_a_moment(storm: Storm) -> None:
    for _ in range(5):
        with swapped(storm, pick_capture(storm), keeps_times=True):
            sleep_for(storm.random.uniform(0.0, 0.02))


@kind("capture written over", "other bytes in the same file, its old time put back, and later the old bytes")
def write_over_capture(storm: Storm) -> None:
    capture = pick_capture(storm)
    content, times = capture.read_bytes(), capture.stat()
    for now in (other_bytes(storm, capture), content):
        with capture.open("r+b") as file:
            file.write(now)
        os.utime(capture, ns=(times.st_atime_ns, times.st_mtime_ns))
        sleep_for(storm.random.uniform(0.1, 1.0))


@kind("capture touched", "`touch`: the same bytes have a new time")
def touch_capture(storm: Storm) -> None:
    storm.random.choice(captures(storm)).touch()


@kind("capture away", "it is moved away for a while, as when a share is not mounted")
def move_capture_away(storm: Storm) -> None:
    capture = pick_capture(storm)
    aside = capture.with_suffix(".aside")
    capture.rename(aside)
    sleep_for(storm.random.uniform(0.1, 1.5))
    aside.rename(capture)


# ---- checkpoints


def truncated(content: bytes, storm: Storm) -> bytes:
    return content[: storm.random.randrange(1, len(content))]


def emptied(content: bytes, storm: Storm) -> bytes:
    return b""


def zeroed(content: bytes, storm: Storm) -> bytes:
    return b"\0" * len(content)


def flipped(content: bytes, storm: Storm) -> bytes:
    place = storm.random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << storm.random.randrange(8))]) + content[place + 1 :]


def damage_checkpoint(damage: Callable[[bytes, Storm], bytes]) -> Callable[[Storm], None]:
    def make(storm: Storm) -> None:
        folder = storm.pick_unfinished()
        folder.checkpoint.write_bytes(damage(folder.checkpoint.read_bytes(), storm))
        storm.machine.may_begin_anew(folder)

    return make


for name, how, damage in (
    ("checkpoint truncated", "as after a power loss; the run must begin anew and say so", truncated),
    ("checkpoint emptied", "0 bytes; the run must begin anew and say so", emptied),
    ("checkpoint of NUL bytes", "as after a power loss on XFS; the run must begin anew and say so", zeroed),
    ("a flipped byte in a checkpoint", "one bit of one byte, anywhere in it", flipped),
):
    kind(name, how)(damage_checkpoint(damage))


@kind("another run's checkpoint", "a checkpoint of another configuration is copied over it")
def swap_checkpoint(storm: Storm) -> None:
    def others_of(folder: RunFolder) -> list[RunFolder]:
        return [other for other in storm.machine.folders() if other != folder and other.checkpoint.exists()]

    folder = storm.pick_unfinished()
    if others := others_of(folder):
        shutil.copyfile(storm.random.choice(others).checkpoint, folder.checkpoint)
        storm.machine.may_begin_anew(folder)


# ---- records


def keep_lines(storm: Storm, folder: RunFolder, lines: list[bytes]) -> None:
    """Expect only the finished epochs of these lines."""
    storm.machine.finished_lines[folder.path.name] = [line.rstrip(b"\n") for line in lines]


@kind("last line of epochs.jsonl torn", "half of it was written when the power failed; its checkpoint is whole")
def tear_line(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    lines = folder.epochs.read_bytes().splitlines(keepends=True)
    kept = storm.random.randrange(1, len(lines[-1]))
    folder.epochs.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    keep_lines(storm, folder, lines[:-1])


@kind(
    "last line of epochs.jsonl of NUL bytes", "when the power failed, the file had its new size but not its new bytes"
)
def zero_line(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    lines = folder.epochs.read_bytes().splitlines(keepends=True)
    folder.epochs.write_bytes(b"".join(lines[:-1]) + b"\0" * len(lines[-1]))
    keep_lines(storm, folder, lines[:-1])


@kind("lines of epochs.jsonl doubled", "the last line twice, or every line three times")
def double_lines(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    lines = folder.epochs.read_bytes().splitlines(keepends=True)
    doubled = [*lines, lines[-1]] if storm.random.random() < 0.5 else [line for line in lines for _ in range(3)]
    folder.epochs.write_bytes(b"".join(doubled))
    storm.machine.may_change.add(folder.path.name)
    storm.machine.look()  # sees the doubled lines; the mended ones may differ once more
    storm.machine.may_change.add(folder.path.name)


@kind("result.json half written", "a copy stopped half-way; the run is not finished")
def tear_result(storm: Storm) -> None:
    storm.pick_unfinished().result.write_text('{"format": 1, "state": "do')


@kind("result.json of another state word", "`queued`, `running` or a word of another version; removed later")
def foreign_state(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    word = storm.random.choice(("queued", "running", "paused", ""))
    folder.result.write_text(f'{{"format": 1, "state": "{word}", "reason": "r", "epochs": 1}}')
    say_nothing_wrong(storm)
    # `work` may leave the file or set it aside. The user takes it away, and the run goes on.
    content = folder.result.read_text() if folder.result.exists() else ""
    if f'"{word}"' in content:
        folder.result.unlink(missing_ok=True)


@kind("predictions cut", "the predictions of a finished run; the report must say so; they are put back later")
def cut_predictions(storm: Storm) -> None:
    folder = storm.pick_finished()
    content = folder.predictions.read_bytes()
    folder.predictions.write_bytes(content[: len(content) // 2])
    storm.machine.may_refuse("report")
    folder.predictions.write_bytes(content)


# ---- foreign things


def say_nothing_wrong(storm: Storm) -> None:
    """Run a command and a `work` beside what is wrong; a traceback or a hang is a loss."""
    storm.machine.may_refuse(*storm.random.choice((("status",), ("queue", "list"), ("gc",), ("retry", "--failed"))))
    before = storm.machine.count_lines()
    work = storm.machine.start_work()
    storm.machine.excuse_all()
    with contextlib.suppress(AssertionError):
        wait_for(lambda: work.poll() is not None or storm.machine.count_lines() > before + 10, "it", LOOK_SECONDS)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder_with_fifo(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "config.json")


def make_folder_of_folders(path: Path) -> None:
    (path / "result.json").mkdir(parents=True)
    (path / "epochs.jsonl").mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file `.DS_Store`": lambda path: path.with_name(".DS_Store").write_bytes(b"\0\0\0\1Bud1"),
    "a file": lambda path: path.write_text("notes"),
    "a FIFO": make_fifo,
    "an empty folder": lambda path: path.mkdir(),
    "a folder with a FIFO for its config.json": make_folder_with_fifo,
    "a folder of folders": make_folder_of_folders,
    "a link to itself": make_loop,
}


@kind("foreign things in results/runs", "files, FIFOs, folders, links, `.DS_Store`; removed later", weight=2)
def lay_foreign_things(storm: Storm) -> None:
    runs = storm.machine.runs
    before = set(runs.iterdir())
    for number, make in enumerate(FOREIGN.values()):
        make(runs / f"foreign-{number}-{storm.random.randrange(10**6)}")
    say_nothing_wrong(storm)
    for path in set(runs.iterdir()) - before:
        if path.name == ".DS_Store" or path.name.startswith("foreign-"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@kind("a folder in the place of a file", "epochs.jsonl, order.json or result.json of a run that waits; put back later")
def folder_for_file(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    path = storm.random.choice((folder.epochs, folder.order, folder.result))
    aside = path.with_suffix(".aside")
    if path.exists():
        path.rename(aside)
    path.mkdir()
    lines = storm.machine.finished_lines.get(folder.path.name, [])
    say_nothing_wrong(storm)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
    if aside.exists():
        aside.rename(path)
    storm.machine.finished_lines[folder.path.name] = lines


# ---- locks


@kind(
    "a job.lock that names an innocent process",
    "in the old format, with its number or 0; unlocked, or locked by another program",
)
def name_an_innocent(storm: Storm) -> None:
    folder = storm.pick_unfinished()
    pid = storm.random.choice([*(bystander.pid for bystander in storm.machine.bystanders), 0])
    folder.lock.write_text(f'{{"pid":{pid},"host":"{os.uname().nodename}"}}\n')
    if storm.random.random() < 0.5:
        say_nothing_wrong(storm)
        return
    holder = storm.machine.hold_lock(folder.lock)
    say_nothing_wrong(storm)
    if holder.poll() is not None:
        storm.machine.counts["bystanders hurt"] += 1
        storm.machine.lose("a program that held job.lock was ended")
    holder.kill()
    holder.wait()
