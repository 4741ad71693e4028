"""Arms become runs: their order, their ids, and the runs that two arms share."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orchestrator.campaign.arms import Arm, ResolvedArms, select_arms
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.runs.identity import CodeAndData
from tests.orchestrator.campaign.conftest import resolve

CAPTURES = ("LocA.h5", "LocB.h5", "LocD.h5")
FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
WIDE = {"on": "E5", "change": {"model.num_heads": 4, "model.head_dim": 128}}
BACK = {"on": "H2", "change": {"model.num_heads": 8, "model.head_dim": 64}}


@pytest.fixture
def source_plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan({"E5": FOCAL, "H2": WIDE, "K1": BACK})


def test_a_change_taken_back_gives_the_same_configuration_and_shares_its_runs(source_plan: Plan) -> None:
    assert source_plan.arms["K1"].same_as == "E5"
    assert source_plan.run_of["K1", 1] == source_plan.run_of["E5", 1]
    assert [run.experiment for run in source_plan.runs].count("K1") == 0


def test_runs_go_seed_by_seed_with_references_first(source_plan: Plan) -> None:
    order = [(run.seed, run.experiment) for run in source_plan.runs]
    assert order == [(seed, name) for seed in (0, 1) for name in ("baseline", "E5", "H2")]


def test_an_arm_brings_the_arm_whose_runs_it_shares_so_that_runs_have_one_name(
    a_plan: Callable[..., Plan],
) -> None:
    other = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
    plan = a_plan({"E5": FOCAL, "Again": other})
    arms = select_arms(plan.arms, ["Again"])
    assert list(arms) == ["baseline", "E5", "Again"]
    inputs = CodeAndData(code_tree="c0de", files={name: f"da7a{name.removesuffix('.h5')}" for name in CAPTURES})
    assert plan_runs(plan.campaign, ResolvedArms(arms=arms), inputs).run_of["Again", 0] == plan.run_of["E5", 0]


def plan_of(plan: Plan, arms: dict[str, Arm]) -> Plan:
    resolved = ResolvedArms(arms=arms, interactions=plan.interactions)
    return plan_runs(plan.campaign, resolved, CodeAndData(code_tree="c0de", files=dict.fromkeys(CAPTURES, "da7a")))


def test_an_interaction_of_which_an_arm_was_not_asked_for_is_left_out(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"E5": FOCAL, "H2": WIDE}, interactions=(("E5", "H2"),))
    for left_out in plan.arms:
        arms = {name: arm for name, arm in plan.arms.items() if name != left_out}
        assert plan_of(plan, arms).interactions == ()
    assert plan_of(plan, plan.arms).interactions == plan.interactions != ()


def test_the_same_spec_gives_the_same_ids(source_plan: Plan, a_plan: Callable[..., Plan]) -> None:
    """Law 1: the same spec gives the same ids."""
    again = a_plan({"E5": FOCAL, "H2": WIDE, "K1": BACK})
    assert [run.id for run in again.runs] == [run.id for run in source_plan.runs]
    other = a_plan({"E5": FOCAL | {"title": "Another title"}, "H2": WIDE, "K1": BACK})
    assert [run.id for run in other.runs] == [run.id for run in source_plan.runs]


@pytest.mark.parametrize("fields", [{"code_tree": "other"}, {"files": dict.fromkeys(CAPTURES, "other")}])
def test_other_code_or_data_gives_other_ids(source_plan: Plan, fields: dict[str, Any]) -> None:
    inputs = CodeAndData(code_tree="c0de", files={path: f"da7a{path[:-3]}" for path in CAPTURES})
    same = plan_runs(source_plan.campaign, resolve(source_plan.campaign), inputs)
    assert [run.id for run in same.runs] == [run.id for run in source_plan.runs]
    changed = msgspec.structs.replace(inputs, **fields)
    other = plan_runs(source_plan.campaign, resolve(source_plan.campaign), changed)
    assert not {run.id for run in other.runs} & {run.id for run in source_plan.runs}
