"""The log: read as it grows, in pieces, and never mixed with half a line of the command."""

import tracemalloc
from pathlib import Path

import pytest

from orchestrator.supervisor.log import PIECE_BYTES, LogReader, ends_line, open_log, read_tail, write_sentences


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def test_only_what_is_new_is_read(log: Path) -> None:
    log.write_bytes(b"old\nnew\n")
    reader = LogReader(log, 4)
    assert list(reader.read_new()) == ["new\n"]
    assert list(reader.read_new()) == []
    with log.open("ab") as file:
        file.write(b"newer")
    assert list(reader.read_new()) == ["newer"]


def test_a_character_may_come_in_two_parts(log: Path) -> None:
    whole = "né".encode()
    log.write_bytes(whole[:-1])
    reader = LogReader(log, 0)
    assert list(reader.read_new()) == ["n"]
    log.write_bytes(whole + b"\xff!")
    assert list(reader.read_new()) == ["é\N{REPLACEMENT CHARACTER}!"]


def test_a_log_that_the_command_empties_goes_on_at_its_beginning(log: Path) -> None:
    log.write_bytes(b"long text")
    reader = LogReader(log, 0)
    assert list(reader.read_new()) == ["long text"]
    log.write_bytes(b"")
    assert list(reader.read_new()) == []
    log.write_bytes(b"more")
    assert list(reader.read_new()) == ["more"]


def test_ten_megabytes_need_little_memory(log: Path) -> None:
    log.write_bytes(b"x" * 10_000_000)
    tracemalloc.start()
    pieces = [len(piece) for piece in LogReader(log, 0).read_new()]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(pieces) == 10_000_000
    assert max(pieces) == PIECE_BYTES
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", "[knockout] a\n[knockout] b\n"),
        (b"line\n", "line\n[knockout] a\n[knockout] b\n"),
        (b"half", "half\n[knockout] a\n[knockout] b\n"),
    ],
)
def test_own_sentences_begin_on_a_line_of_their_own(log: Path, before: bytes, after: str) -> None:
    log.write_bytes(before)
    with open_log(log) as file:
        write_sentences(file, log, ["a", "b"])
        write_sentences(file, log, [])
    assert log.read_text() == after


class TestTail:
    def test_lines_of_earlier_attempts_are_left_out(self, log: Path) -> None:
        log.write_text("old\nnew 1\nnew 2\n")
        assert read_tail(log, 4) == ("new 1", "new 2")
        assert read_tail(log, 4, 1) == ("new 2",)
        assert read_tail(log, log.stat().st_size) == ()

    def test_a_line_that_is_cut_is_left_out_unless_it_is_the_only_one(self, log: Path) -> None:
        log.write_text("x" * 20_000 + "\nlast\n")
        assert read_tail(log, 0) == ("last",)
        log.write_text("x" * 20_000 + "end")
        (line,) = read_tail(log, 0)
        assert (len(line), line[-4:]) == (1000, "xend")


def test_a_missing_log_ends_no_line_in_its_middle(log: Path) -> None:
    assert ends_line(log)
