"""Rows of progress: who supersedes whom, which one counts, and what their seconds say."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reading.patterns import compile_pattern
from orchestrator.reading.presets import build_reader
from orchestrator.reading.progress import (
    LogFollower,
    Row,
    attempts_by_falls,
    encode_row,
    finite_values,
    pick_row,
    read_progress,
    row_seconds,
    settle_attempts,
)
from orchestrator.reading.sources import Best, Pick, ReadingError


def row(step: float | None, attempt: int = 0, **values: float | None) -> Row:
    return Row(step=step, attempt=attempt, values=values or {"loss": step})


def steps(rows: list[Row]) -> list[tuple[float | None, int]]:
    return [(one.step, one.attempt) for one in rows]


def follow(text: str, *patterns: str) -> list[tuple[float | None, dict[str, float | None]]]:
    follower = LogFollower([build_reader(pattern) for pattern in patterns])
    return [(one.step, one.values) for one in (*follower.feed(text), *follower.finish())]


class TestFollowing:
    def test_a_step_that_the_line_names_is_the_rows(self) -> None:
        assert follow("step 10: loss 1\nstep 20: loss nan\n", "step {step}: loss {loss}") == [
            (10, {"loss": 1}),
            (20, {"loss": None}),
        ]

    def test_lines_without_a_step_belong_to_the_step_that_was_told_last(self) -> None:
        text = "val 0.9\nEpoch 1/2\ntrain 0.5\nval 0.6\nEpoch 2/2\ntrain 0.4"
        told = follow(text, "Epoch {epoch}/2", "train {train}", "val {val}")
        assert told == [(None, {"val": 0.9}), (1, {"train": 0.5}), (1, {"val": 0.6}), (2, {"train": 0.4})]

    def test_where_no_line_has_a_step_rows_are_counted_by_their_names(self) -> None:
        assert follow("a 1\nb 2\na 3\n", "a {a}", "b {b}") == [(1, {"a": 1}), (1, {"b": 2}), (2, {"a": 3})]

    def test_another_name_may_count_the_steps(self) -> None:
        follower = LogFollower([compile_pattern("it {it} loss {loss}")], attempt=2, step_name="it")
        assert follower.feed("it 7 loss 1\n", 3.5) == [
            Row(step=7, values={"loss": 1}, at_seconds=3.5, attempt=2, resolutions={"loss": 1})
        ]

    def test_keras_tells_its_epoch_in_a_line_of_its_own(self) -> None:
        text = "Epoch 1/2\n1/9 - loss: 3\r9/9 5s - loss: 2\x08\x08\r9/9 6s - loss: 2 - val_loss: 1\nEpoch 2/2\n"
        assert follow(text, "preset:keras") == [(1, {"loss": 2}), (1, {"loss": 2, "val_loss": 1})]

    @given(st.lists(st.integers(0, 60)))
    def test_pieces_of_any_size_give_the_same_rows(self, cuts: list[int]) -> None:
        text = "step 1: loss 1\rstep 2: loss 2\n\nstep 3: loss 3.5\n"
        whole = LogFollower([compile_pattern("step {step}: loss {loss}")])
        pieces = LogFollower([compile_pattern("step {step}: loss {loss}")])
        places = [0, *sorted(cuts), len(text)]
        found = [one for a, b in itertools.pairwise(places) for one in pieces.feed(text[a:b])]
        assert found == whole.feed(text)

    def test_a_line_without_an_end_takes_little_memory(self) -> None:
        follower = LogFollower([compile_pattern("loss {loss}")])
        for _ in range(50):
            assert follower.feed("." * 10**5) == []
        assert len(follower._tail) < 10**5
        assert follower.feed("\nloss 1\n")[0].values == {"loss": 1}


class TestAttempts:
    def test_a_step_that_is_told_again_supersedes_the_first_and_all_after_it(self) -> None:
        rows = [row(1), row(2), row(3), row(2, 1), row(3, 1)]
        assert steps(settle_attempts(rows)) == [(1, 0), (2, 1), (3, 1)]

    def test_a_later_attempt_that_tells_later_steps_supersedes_nothing(self) -> None:
        assert steps(settle_attempts([row(1), row(2), row(3, 1)])) == [(1, 0), (2, 0), (3, 1)]

    def test_a_later_attempt_that_skips_steps_supersedes_what_lies_beyond(self) -> None:
        assert steps(settle_attempts([row(10), row(20), row(15, 1)])) == [(10, 0), (15, 1)]

    def test_a_run_that_starts_over_has_only_its_last_attempt(self) -> None:
        assert steps(settle_attempts([row(1), row(2), row(1, 1)], starts_over=True)) == [(1, 1)]
        assert settle_attempts([], starts_over=True) == []

    def test_rows_of_one_step_are_joined(self) -> None:
        settled = settle_attempts([row(1, train=1.0, both=1.0), row(1, val=2.0, both=3.0), row(2, val=4.0)])
        assert [one.values for one in settled] == [{"train": 1.0, "both": 3.0, "val": 2.0}, {"val": 4.0}]

    def test_rows_without_steps_are_kept_as_they_are(self) -> None:
        rows = [row(None, 0, loss=1), row(None, 0, loss=2), row(None, 1, loss=3)]
        assert settle_attempts(rows) == rows

    def test_in_a_file_a_fall_of_the_step_begins_an_attempt(self) -> None:
        rows = attempts_by_falls([row(1), row(2), row(2), row(None, loss=1), row(1), row(2)])
        assert steps(rows) == [(1, 0), (2, 0), (2, 0), (None, 0), (1, 1), (2, 1)]

    @given(st.lists(st.lists(st.integers(0, 9), unique=True).map(sorted), max_size=5))
    def test_what_holds_rises_and_the_last_attempt_is_whole(self, attempts: list[list[int]]) -> None:
        rows = [row(step, number) for number, attempt in enumerate(attempts) for step in attempt]
        settled = settle_attempts(rows)
        told = [one.step for one in settled]
        assert told == sorted(set(told), key=told.index) == sorted(told, key=lambda step: step or 0)
        if rows:
            last = rows[-1].attempt
            assert [one for one in settled if one.attempt == last] == [one for one in rows if one.attempt == last]


class TestPicking:
    ROWS = [row(1, val=3.0, acc=0.1), row(2, val=1.0, acc=0.3), row(3, val=1.0, acc=0.2), row(4, other=1.0)]

    @pytest.mark.parametrize(
        ("pick", "step"),
        [("last", 3), ("first", 1), (Best("val", "lower"), 2), (Best("val", "higher"), 1), (Best("acc", "higher"), 2)],
    )
    def test_one_row_counts(self, pick: Pick, step: float) -> None:
        assert pick_row(self.ROWS, "acc", pick).step == step

    def test_a_row_that_is_not_finite_is_never_best(self) -> None:
        rows = [row(1, val=None, acc=0.1), row(2, val=5.0, acc=0.2)]
        assert pick_row(rows, "acc", Best("val", "lower")).step == 2

    def test_a_name_that_no_row_tells_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(ReadingError, match="no row tells `vall`; did you mean `val`"):
            pick_row(self.ROWS, "vall", "last")
        with pytest.raises(ReadingError, match="no row tells `val`: there are no rows"):
            pick_row([], "val", "last")

    def test_a_best_of_another_kind_of_row_is_refused(self) -> None:
        with pytest.raises(ReadingError, match="no row tells a finite `other` beside `acc`; pick by a value"):
            pick_row(self.ROWS, "acc", Best("other", "lower"))


def test_the_first_row_of_an_attempt_has_no_seconds() -> None:
    rows = [Row(step=n, values={}, at_seconds=at, attempt=a) for n, at, a in ((1, 47, 0), (2, 49, 0), (3, 30, 1))]
    assert row_seconds(rows) == [None, 2, None]
    assert row_seconds([row(1), row(2)]) == [None, None]
    assert row_seconds([]) == []


def test_rows_are_read_as_they_were_written_but_for_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert read_progress(path) == []
    rows = [row(1), Row(step=None, values={"loss": None}, at_seconds=2.5, attempt=3, resolutions={"loss": 0.1})]
    path.write_bytes(b"".join(map(encode_row, rows)) + encode_row(row(2))[:9] + b"\n\xff\n")
    assert read_progress(path) == rows


def test_progress_that_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadingError, match=r"cannot be read: .*Is a directory"):
        read_progress(tmp_path)


def test_numbers_that_are_not_finite_become_null() -> None:
    assert finite_values({"a": 1.0, "b": math.nan, "c": math.inf}) == {"a": 1.0, "b": None, "c": None}
