"""The numbers of a verdict's steps have enough places, and words where there is no number."""

import math

import pytest

from orchestrator.report.step_numbers import freedom_of, places_of, points_of, size_of, unit_of
from orchestrator.task.metric_spec import Margin, MetricSpec, ReportedSource
from orchestrator.task.spec import LabelsSpec
from orchestrator.verdicts.arithmetic import Arithmetic


def steps_of(margin: float, unit: str, *, is_share: bool = False) -> Arithmetic:
    metric = MetricSpec(
        name="loss",
        better="lower",
        source=ReportedSource(reported="loss"),
        role="judged",
        margin=Margin(value=margin, is_share=is_share),
        compare="ratio" if is_share else "difference",
        unit=unit,
    )
    return Arithmetic(
        experiment="E5",
        reference="baseline",
        metric=metric,
        labels=LabelsSpec(),
        level=0.05,
        verdict=None,
        reason="",
        num_items=0,
        dropped_seeds=(),
        dropped_items=0,
    )


@pytest.mark.parametrize(("margin", "places"), [(1.0, 3), (3.0, 3), (0.02, 5)])
def test_a_smaller_margin_shows_more_places(margin: float, places: int) -> None:
    steps = steps_of(margin, "m")
    assert places_of(steps) == places
    assert size_of(steps, 1.0) == f"{1.0:.{places}f}"


def test_a_difference_has_its_sign_and_a_missing_one_a_dash() -> None:
    steps = steps_of(1.0, "m")
    assert [points_of(steps, value) for value in (1.5, -1.5, -1e-9, None)] == ["+1.500", "−1.500", "+0.000", "–"]


def test_the_unit_of_percent_is_points_and_of_a_ratio_a_logarithm() -> None:
    assert [unit_of(steps_of(1.0, unit)) for unit in ("%", "m", "")] == [" points", " m", ""]
    assert unit_of(steps_of(0.05, "m", is_share=True)) == " hundredths of a natural logarithm"


def test_endless_freedom_has_words() -> None:
    assert freedom_of(math.inf) == "infinitely many degrees of freedom"
    assert freedom_of(3.25) == "3.2 degrees of freedom"
