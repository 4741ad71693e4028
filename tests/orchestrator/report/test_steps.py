"""The lines of a verdict's steps; that their numbers are those of the verdict is held beside the steps themselves."""

import math

from msgspec import structs

from orchestrator.report.steps import say_steps
from orchestrator.verdicts.judgement import Verdict
from orchestrator.verdicts.steps import Arithmetic, CountStep, LookStep, SeedStep
from tests.orchestrator.conftest import build_plan

CAMPAIGN = build_plan({}).campaign
STEPS = Arithmetic(
    experiment="E5",
    reference="baseline",
    metric=CAMPAIGN.judged,
    labels=CAMPAIGN.labels,
    level=0.05,
    verdict=Verdict.NEEDS_SEEDS,
    reason="needs seeds",
    num_items=200,
    dropped_seeds=(),
    dropped_items=0,
)
COUNTS = CountStep(experiment_right=168, reference_right=160, experiment_alone=10, reference_alone=2)
SEED = SeedStep(seed=0, experiment_score=84.0, reference_score=80.0, delta_points=4.0, counts=COUNTS)


def test_an_experiment_without_a_pair_has_its_reason_and_what_was_left_out() -> None:
    steps = structs.replace(STEPS, left_out=("E5-s0-1a2b: no result",))
    head = "E5 against baseline on LocD: needs_seeds"
    assert say_steps(steps) == [head, "  needs seeds", "left out: E5-s0-1a2b: no result"]


def test_one_seed_shows_its_counts_and_no_spread() -> None:
    lines = say_steps(structs.replace(STEPS, seeds=(SEED,), delta_points=4.0))
    counts = "168 by E5, 160 by baseline (10 by E5 alone, 2 by baseline alone): +4.000 points"
    assert f"   seed 0: {counts}" in lines
    assert "2. Mean. There is one seed: +4.000 points. How far another would lie is unknown." in lines
    assert "3. Spread over seeds. One seed shows none; it takes two." in lines


def test_a_look_shows_its_own_numbers_in_place_of_the_steps() -> None:
    look = LookStep(
        num_seeds=2, level=0.015, error_points=1.5, degrees_of_freedom=math.inf, low_points=0.4, high_points=7.6,
        p_value=0.004, adjusted_p_value=0.02, equivalence_p_value=1.0,
    )  # fmt: skip
    said = "\n".join(say_steps(structs.replace(STEPS, seeds=(SEED, SEED), delta_points=4.0, at_look=look)))
    assert "3. Look at 2 seeds, one of several that share the level." in said
    assert "Standard error 1.500 points, with infinitely many degrees of freedom." in said
    assert "Interval, 98.5 %: +4.000 in [+0.400, +7.600]." in said
    assert "Spread over seeds" not in said
