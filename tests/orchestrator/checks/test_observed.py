"""What one run was seen to do."""

import pytest

from orchestrator.checks.observed import Growth, Heard, MetricSeen, Observed, arrivals_of, column_of, parse_heard
from orchestrator.checks.opened import Opened
from orchestrator.reading.progress import Row


def test_lines_of_the_listener_are_read() -> None:
    lines = ["r\t/a b", "m\t/c", "w\t/d", "r\t/a b", "i\t0.250 numpy torch", "i\t1.500 numpy", "half a line", "q\t/e"]
    assert parse_heard(lines) == Heard(
        opened=(Opened("read", "/a b"), Opened("missing", "/c"), Opened("write", "/d")),
        packages=("numpy", "torch"),
        import_seconds=1.5,
    )


def test_a_command_without_python_tells_nothing() -> None:
    assert not parse_heard([]).was_there
    assert parse_heard(["i\t0.010"]) == Heard(import_seconds=0.01)


@pytest.mark.parametrize(("ends", "arrivals"), [((5, 10, 20), (0.5, 0.5, 2.0)), ((25,), (3.0,)), ((), ())])
def test_a_line_arrives_when_the_log_has_its_end(ends: tuple[int, ...], arrivals: tuple[float, ...]) -> None:
    assert arrivals_of(ends, [Growth(0.5, 12), Growth(2.0, 20)], 3.0) == arrivals


def test_the_numbers_of_a_run_are_its_metrics_and_its_columns() -> None:
    rows = (Row(values={"loss": 0.5}), Row(values={"accuracy": None}), Row(values={"loss": 0.25}))
    run = Observed(seed=0, rows=rows, metrics={"loss": MetricSeen(value=0.25), "f1": MetricSeen(problem="no row")})
    assert run.numbers == {"loss": 0.25, "progress loss": (0.5, 0.25), "progress accuracy": (None,)}
    assert column_of(rows, "loss") == (0.5, 0.25)


def test_only_a_run_that_is_done_has_run() -> None:
    assert Observed(seed=0).ran
    assert not any(Observed(seed=0, state=state).ran for state in ("failed", "too_slow", "interrupted"))
