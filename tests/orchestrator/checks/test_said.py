"""Numbers and names in the sentences of a check."""

import pytest

from orchestrator.checks.observed import MetricSeen, Observed
from orchestrator.checks.said import describe_metric, describe_rows, list_few, median, name_numbers, short_seconds
from orchestrator.reading.progress import Row
from orchestrator.task.metric_spec import parse_metrics

METRICS = parse_metrics(
    {"accuracy": {"better": "higher", "margin": 0.01}, "latency": {"better": "lower", "unit": "ms", "role": "shown"}}
)


def test_a_few_files_are_named_and_others_counted() -> None:
    assert list_few(["a"]) == "a"
    assert list_few(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


def test_the_middle_number_is_the_lower_of_two() -> None:
    assert (median([3, 1, 2]), median([2, 1])) == (2, 1)


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (9.96, "10.0 s"), (47, "47 s"), (600, "10 min")])
def test_short_times_have_a_tenth(seconds: float, text: str) -> None:
    assert short_seconds(seconds) == text


def test_numbers_of_two_runs_stand_side_by_side() -> None:
    assert name_numbers({"loss": 0.5, "f1": 1.0}, {"loss": 0.25, "f1": 1.0}) == "loss 0.5 and 0.25, f1 1"
    assert name_numbers({"progress loss": (1.0, 0.5)}, {"progress loss": ()}) == "loss 0.5 and none"
    assert name_numbers({"loss": None}, {}) == "loss none"


@pytest.mark.parametrize(
    ("name", "seen", "text"),
    [
        (
            "accuracy",
            MetricSeen(value=519 / 597, ratio=(519, 597)),
            "accuracy 519/597 = 86.9 %; higher is better; judged",
        ),
        ("latency", MetricSeen(value=12.5), "latency 12.5 ms; lower is better; role `shown`"),
        ("latency", MetricSeen(problem="no row tells `latency`"), "no row tells `latency`"),
        ("latency", MetricSeen(), "`latency` has no number"),
    ],
)
def test_a_metric_has_its_value_and_its_direction(name: str, seen: MetricSeen, text: str) -> None:
    assert describe_metric(METRICS[name], seen) == text


def test_rows_are_counted_with_what_they_tell() -> None:
    rows = (Row(step=1, values={"loss": 1.0}), Row(step=1, values={"f1": 1.0}), Row(step=2, values={"loss": 1.0}))
    assert describe_rows(Observed(seed=0, rows=rows)) == "3 rows of `loss` and `f1`, 2 steps"
    assert describe_rows(Observed(seed=0, rows=(Row(values={"loss": 1.0}),))) == "1 row of `loss`"
