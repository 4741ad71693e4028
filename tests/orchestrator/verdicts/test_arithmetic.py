"""The values of the steps have the names that a judgement has for them, since some are copied by name."""

import pytest
from msgspec import Struct, structs

from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.arithmetic import Arithmetic, ErrorStep, LookStep
from orchestrator.verdicts.judgement import Judgement
from tests.orchestrator.conftest import build_plan


@pytest.mark.parametrize(
    ("step", "source", "own"),
    [
        (LookStep, Judgement, {"num_seeds"}),
        (ErrorStep, Estimate, {"spread_points", "spread_degrees_of_freedom", "quantile"}),
    ],
)
def test_step_has_the_names_of_what_it_is_copied_from(step: type[Struct], source: type[Struct], own: set[str]) -> None:
    assert set(step.__struct_fields__) - set(source.__struct_fields__) == own


def test_steps_without_enough_data_are_empty() -> None:
    campaign = build_plan({}).campaign
    steps = Arithmetic(
        experiment="E5", reference="baseline", metric=campaign.judged, labels=campaign.labels, level=0.05,
        verdict=None, reason="not run", num_items=0, dropped_seeds=(), dropped_items=0,
    )  # fmt: skip
    told = {name for name, value in structs.asdict(steps).items() if value not in (None, (), {}, False, 0, 0.0, "")}
    assert told == {"experiment", "reference", "metric", "labels", "level", "reason", "rests_on"}
