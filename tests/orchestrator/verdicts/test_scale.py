"""Numbers are written in the unit of their metric, with the places that its margin asks for."""

from typing import Any

import pytest

from orchestrator.task.metric_spec import parse_metrics
from orchestrator.verdicts.scale import Scale


def a_scale(**fields: Any) -> Scale:
    return Scale(parse_metrics({"m": {"better": "lower", "margin": 0.02} | fields})["m"])


PERCENT = a_scale(better="higher", unit="%", margin=1.0)
METRES = a_scale(unit="m", margin=0.05)
RATIO = a_scale(unit="ms", margin="5%")


def test_differences_have_one_place_more_than_the_margin() -> None:
    assert [scale.with_unit(-0.0371) for scale in (a_scale(), METRES, PERCENT)] == ["−0.037", "−0.037 m", "+0.0 points"]
    assert METRES.interval((-0.1, 0.25)) == "[−0.100, +0.250]"
    assert METRES.interval_at((-0.1, 0.25), 0.01, 0.05) == "[−0.100, +0.250] (99 %)"
    assert PERCENT.delta(3.14) == "+3.1"


def test_scores_have_their_unit() -> None:
    assert (PERCENT.score(84.03), METRES.score(1.23456), a_scale().score(None)) == ("84.0 %", "1.235 m", "–")
    assert a_scale(role="judged", margin=100.0).score(12345.6) == "12346"


def test_ratio_reads_as_percent_of_the_reference() -> None:
    assert RATIO.margin_points == pytest.approx(4.879, abs=1e-3)
    assert RATIO.delta(RATIO.value(95.0) - RATIO.value(100.0)) == "−5.0"
    assert (RATIO.margin(), RATIO.unit, RATIO.score(12.3456)) == ("±5 %", "% of the reference", "12.35 ms")


def test_metric_without_a_margin_has_some_digits_of_its_own() -> None:
    shown = Scale(parse_metrics({"m": {"better": "lower", "margin": 1}, "s": {"better": "lower"}})["s"])
    assert (shown.score(0.012345), shown.delta(-0.00123), shown.delta(0.0)) == ("0.01235", "−0.00123", "+0.0")


def test_direction_is_a_sign_and_an_arrow() -> None:
    assert [(scale.sign, scale.arrow) for scale in (PERCENT, METRES)] == [(1, "↑"), (-1, "↓")]


def test_errors_have_a_place_more() -> None:
    assert (PERCENT.size(1.234), METRES.size(0.01234), METRES.error(None)) == ("1.23 points", "0.0123 m", "–")
    assert METRES.reach(0.25) == "0.250 m"
