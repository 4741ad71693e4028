"""Standard streams that a command outlives."""

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import streams
from orchestrator.cli.streams import Stream, Streams, is_read, showing_progress

Pipe = tuple[Stream, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A stream into a pipe, and the side that is read."""
    source, target = os.pipe()
    with os.fdopen(target, "w", encoding="latin-1") as below:
        yield Stream(below), source
    os.close(source)


def test_text_is_written_when_it_is_flushed(pipe: Pipe) -> None:
    stream, source = pipe
    print("one", "two", file=stream, flush=True)
    assert os.read(source, 100) == b"one two\n"


def test_what_the_terminal_cannot_show_is_written_as_its_code(pipe: Pipe) -> None:
    stream, source = pipe
    print("größe \N{BLACK STAR} \udcff", file=stream, flush=True)
    assert os.read(source, 100) == "größe \\u2605 \\udcff\n".encode("latin-1")


def test_a_stream_in_memory_takes_the_text() -> None:
    below = io.StringIO()
    print("größe", file=Stream(below), flush=True)
    assert below.getvalue() == "größe\n"


def test_a_reader_who_goes_away_is_noted_and_ends_nothing() -> None:
    source, target = os.pipe()
    told: list[OSError] = []
    with os.fdopen(target, "w") as below:
        stream = Stream(below, told.append)
        os.close(source)
        for _ in range(3):
            print("one", file=stream, flush=True)
    assert stream.error is not None
    assert [error.errno for error in told] == [errno.EPIPE]
    assert not stream.isatty()


def test_progress_never_waits_for_its_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LAST_SECONDS", 0.05)
    stream, source = pipe
    with stream.showing_progress():
        for _ in range(4 * streams.NUM_WAITING):
            print("x" * 5000, file=stream, flush=True)
    assert stream.error is not None
    assert stream.error.errno == errno.ETIMEDOUT
    os.read(source, 2**20)  # lets the thread see that it is to end


def test_progress_comes_in_order_and_before_what_follows(pipe: Pipe) -> None:
    stream, source = pipe
    with stream.showing_progress():
        for number in range(20):
            print(number, file=stream, flush=True)
    print("end", file=stream, flush=True)
    assert os.read(source, 2**16).split() == [*(str(number).encode() for number in range(20)), b"end"]


def test_a_pipe_that_does_not_wait_gets_all_of_a_long_text(pipe: Pipe) -> None:
    stream, source = pipe
    os.set_blocking(stream.fileno(), False)
    read = bytearray()

    def take() -> None:
        while len(read) < 300_000:
            read.extend(os.read(source, 2**16))

    reader = threading.Thread(target=take)
    reader.start()
    print("x" * 299_999, file=stream, flush=True)
    reader.join(timeout=60)
    assert (len(read), stream.error) == (300_000, None)


def test_the_streams_of_before_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = (sys.stdout, sys.stderr)
    with Streams() as own:
        sys.stdout.write("one\n")
        sys.stderr.write("two\n")
        assert is_read()
        with showing_progress():
            sys.stdout.write("three\n")
        assert own.status(1) == 1
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("one\nthree\n", "two\n")


def call(program: str, redirection: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", "-c", f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}', sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


STATUS = (
    "import sys; from orchestrator.cli.streams import *\nwith Streams() as own:\n    print('x'); s = own.status({})\n"
)
PROGRESS = (
    "import sys; from orchestrator.cli.streams import *\nwith Streams() as own:\n"
    "    with showing_progress(): print('x', flush=True)\n    s = own.status(1)\n"
)


@pytest.mark.parametrize(
    ("program", "redirection", "status", "said"),
    [
        (STATUS.format(0), "> /dev/full", 2, "knockout: the output cannot be written: No space left on device\n"),
        (STATUS.format(1), "> /dev/full", 1, "knockout: the output cannot be written: No space left on device\n"),
        (STATUS.format(0), "| true", 0, ""),
        (STATUS.format(0), ">&-", 0, ""),
        (PROGRESS, ">&-", 1, ""),
    ],
)
def test_the_status_is_2_only_where_the_output_was_all_that_was_wanted(
    program: str, redirection: str, status: int, said: str
) -> None:
    # The reader is gone before the first line.
    done = call(f"import time\nsys_exit = __import__('sys').exit\n{program}sys_exit(s)", redirection)
    assert (done.returncode, done.stderr) == (status, said)


def test_progress_that_is_lost_is_told_once_and_keeps_the_status() -> None:
    done = call(f"{PROGRESS}sys.exit(s)", "> /dev/full")
    assert done.returncode == 1
    assert done.stderr.count("nothing more is shown here: No space left on device; trainings go on") == 1


def test_a_file_is_never_opened_in_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import sys; from orchestrator.cli.streams import *\n"
        f"with Streams(): file = open({str(tmp_path / 'database')!r}, 'w'); sys.exit(file.fileno() <= 2)"
    )
    assert call(program, "<&- >&- 2>&-").returncode == 0
