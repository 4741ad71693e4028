"""Which runs were ruled too slow against what another seed says."""

from collections.abc import Callable

from orchestrator.campaign.plan import Plan
from orchestrator.runs.folder import Result
from orchestrator.runs.results import find_contradicted

ARMS = {"E5": {"change": {"loss.kind": "focal"}}, "H2": {"change": {"model.num_heads": 4}}}


def ended(plan: Plan, states: dict[tuple[str, int], str]) -> dict[str, Result]:
    return {plan.run_of[cell]: Result(state=state, reason="", epochs=1) for cell, state in states.items()}


def test_a_slow_seed_is_contradicted_by_a_seed_of_its_own_arm_alone(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan(ARMS)
    results = ended(plan, {("E5", 0): "too_slow", ("E5", 1): "done", ("H2", 0): "too_slow", ("baseline", 0): "done"})
    assert find_contradicted(plan.run_of, results) == {plan.run_of["E5", 0]}


def test_a_seed_that_failed_or_has_not_ended_contradicts_nothing(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan(ARMS)
    results = ended(plan, {("E5", 0): "too_slow", ("E5", 1): "failed", ("H2", 0): "too_slow"})
    assert find_contradicted(plan.run_of, results) == set()
