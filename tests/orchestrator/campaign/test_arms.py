"""Arms: their stacks, references and configurations, and which arms a command is about."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.campaign.arms import branch_content, describe_change, select_arms
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import SpecError, UsageError
from orchestrator.task.ask import ask_schema
from orchestrator.task.kinds import knob_names
from orchestrator.task.knobs import difference
from tests.orchestrator.conftest import ROOT

FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
WIDE = {"on": "E5", "change": {"model.num_heads": 4, "model.head_dim": 128}}
BACK = {"on": "H2", "change": {"model.num_heads": 8, "model.head_dim": 64}}
PATCHED = "  P1: {title: Patched, group: code, hypothesis: Why., on: E5, patch: p1.diff}\n"


@pytest.fixture
def source_plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan({"E5": FOCAL, "H2": WIDE, "K1": BACK})


def test_an_experiment_carries_the_changes_of_its_whole_stack(source_plan: Plan) -> None:
    wide = source_plan.arms["H2"]
    assert wide.stack == ("E5", "H2")
    assert wide.reference == "E5"
    assert wide.params["loss"]["gamma"] == 2.0
    assert wide.params["model"]["head_dim"] == 128


def test_an_arm_differs_from_its_reference_by_its_own_change_alone(source_plan: Plan) -> None:
    arms = source_plan.arms
    assert set(difference(arms["E5"].params, arms["H2"].params, ())) == {"model.num_heads", "model.head_dim"}
    assert difference(arms["baseline"].params, arms["E5"].params, ()) == {
        "loss.kind": ("cross_entropy", "focal"),
        "loss.gamma": (None, 2.0),
    }


def test_asking_for_an_experiment_brings_its_references(source_plan: Plan) -> None:
    assert set(select_arms(source_plan.arms, ["H2"])) == {"baseline", "E5", "H2"}
    assert set(select_arms(source_plan.arms, [])) == set(source_plan.arms)


def test_asking_for_a_generated_cell_brings_all_four(a_plan: Callable[..., Plan]) -> None:
    deep = {"change": {"model.depth": 2}}
    plan = a_plan({"E5": FOCAL, "H2": WIDE, "D": deep}, interactions=(("E5", "H2"),), aa=1)
    assert list(select_arms(plan.arms, ["H2-alone"])) == ["baseline", "E5", "H2", "H2-alone"]
    assert list(select_arms(plan.arms, ["tag:interaction"])) == ["baseline", "E5", "H2", "H2-alone"]
    assert list(select_arms(plan.arms, ["H2"])) == ["baseline", "E5", "H2"]
    assert list(select_arms(plan.arms, ["tag:aa"])) == ["baseline", "AA1"]
    assert list(select_arms(plan.arms, [])) == list(plan.arms)


def test_asking_for_a_part_left_out_brings_the_full_stack(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"E5": FOCAL, "D": {"change": {"model.depth": 2}}}, ablate=("E5", "D"))
    assert plan.arms["full-without-E5"].same_as == "D"
    assert list(select_arms(plan.arms, ["full-without-E5"])) == ["baseline", "D", "full", "full-without-E5"]
    assert set(select_arms(plan.arms, ["tag:ablation"])) == set(plan.arms)


def test_asking_for_an_unknown_experiment_is_told_with_the_nearest(source_plan: Plan) -> None:
    with pytest.raises(UsageError, match="there is no experiment `H22`; did you mean `H2`"):
        select_arms(source_plan.arms, ["H22"])


def test_a_new_kind_keeps_only_what_it_has(a_plan: Callable[..., Plan]) -> None:
    plain = {"on": "E5", "change": {"loss.kind": "cross_entropy"}}
    plan = a_plan({"E5": FOCAL, "P": plain})
    assert plan.arms["P"].same_as == "baseline"


def test_a_change_that_its_profile_replaces_is_replaced_whole(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"H2": {"change": {"model.depth": 9}, "change_in": {"quick": {"model.dim": 32}}}})
    assert set(difference(plan.arms["baseline"].params, plan.arms["H2"].params, ())) == {"model.dim"}


def test_a_change_that_only_restates_a_default_is_refused(a_plan: Callable[..., Plan]) -> None:
    with pytest.raises(SpecError, match="changes nothing"):
        a_plan({"R": {"change": {"augment.noise": {"min_snr_db": 10.0, "max_snr_db": 40.0}}}})


@pytest.mark.parametrize("knob", ["experiment", "profile", "seed", "format"])
def test_names_and_seeds_are_not_for_an_experiment_to_change(a_plan: Callable[..., Plan], knob: str) -> None:
    with pytest.raises(SpecError, match="is not for an experiment to change"):
        a_plan({"X": {"change": {knob: "other"}}})


def test_every_knob_of_a_change_is_known_by_its_dotted_name(source_plan: Plan) -> None:
    names = knob_names(ask_schema(source_plan.campaign.task, ROOT))
    assert {"loss.gamma", "augment.noise.min_snr_db", "optim.schedule.patience", "model.pooling"} <= set(names)


def test_a_change_of_knobs_and_code_names_both(study: Any) -> None:
    study.file.write_text(study.file.read_text() + PATCHED.replace("patch:", "change: {optim.epochs: 7}, patch:"))
    arm = open_campaign(Request(file=study.file)).arms["P1"]
    assert describe_change(arm) == "optim.epochs: 7, patch p1.diff"
    assert describe_change(arm, mark="`") == "`optim.epochs: 7`, patch `p1.diff`"


def test_a_branch_holds_the_patches_of_the_whole_stack_and_the_experiment_as_json(study: Any) -> None:
    on_top = "  P2: {title: On top, group: code, hypothesis: Why., on: P1, patch: p2.diff}\n"
    study.file.write_text(study.file.read_text() + PATCHED + on_top)
    content = branch_content(open_campaign(Request(file=study.file)).arms["P2"])
    assert [step.patch for step in content.steps] == ["p1.diff", "p2.diff"]
    assert content.message.startswith("P2: On top\n\nOne change to P1; ")
    assert json.loads(content.spec)["stack"] == ["E5", "P1", "P2"]


def test_an_arm_may_stand_in_the_file_before_the_one_it_equals_and_rests_on(a_plan: Callable[..., Plan]) -> None:
    # C takes A's change back, so it is B; and A, on which C stands, stands on B.
    arms = a_plan(
        {
            "A": {"on": "B", "change": {"loss.gamma": 2.5}},
            "C": {"on": "A", "change": {"loss.gamma": 2.0}},
            "B": {"change": {"loss.kind": "focal", "loss.gamma": 2.0}},
        }
    ).arms
    assert arms["B"].same_as == "C"
    for name in ("A", "B", "C"):
        assert list(select_arms(arms, [name])) == ["baseline", "A", "C", "B"]
