"""Arms and runs: stacks, references, twins, order."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orchestrator.campaign.arms import Arm, ResolvedArms, find_interactions, resolve_arms, select_arms
from orchestrator.campaign.generated import interaction_pairs
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.identity import CodeAndData
from orchestrator.task.knobs import difference, knob_names

CAPTURES = ("LocA.h5", "LocB.h5", "LocD.h5")
FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
WIDE = {"on": "E5", "change": {"model.num_heads": 4, "model.head_dim": 128}}
BACK = {"on": "H2", "change": {"model.num_heads": 8, "model.head_dim": 64}}


@pytest.fixture
def source_plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan({"E5": FOCAL, "H2": WIDE, "K1": BACK})


def test_an_experiment_carries_the_changes_of_its_whole_stack(source_plan: Plan) -> None:
    wide = source_plan.arms["H2"]
    assert wide.stack == ("E5", "H2")
    assert wide.reference == "E5"
    assert wide.config.loss.gamma == 2.0
    assert wide.config.model.head_dim == 128


def test_an_arm_differs_from_its_reference_by_its_own_change_alone(source_plan: Plan) -> None:
    arms = source_plan.arms
    assert set(difference(arms["E5"].config, arms["H2"].config)) == {"model.num_heads", "model.head_dim"}
    assert difference(arms["baseline"].config, arms["E5"].config) == {
        "loss.kind": ("cross_entropy", "focal"),
        "loss.gamma": (None, 2.0),
    }


def test_a_change_taken_back_is_its_twin_and_shares_its_runs(source_plan: Plan) -> None:
    assert source_plan.arms["K1"].same_as == "E5"
    assert source_plan.run_of["K1", 1] == source_plan.run_of["E5", 1]
    assert [run.experiment for run in source_plan.runs].count("K1") == 0


def test_runs_go_seed_by_seed_with_references_first(source_plan: Plan) -> None:
    order = [(run.seed, run.experiment) for run in source_plan.runs]
    assert order == [(seed, name) for seed in (0, 1) for name in ("baseline", "E5", "H2")]


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


def test_a_twin_brings_the_arm_whose_runs_it_shares_so_that_runs_have_one_name(a_plan: Callable[..., Plan]) -> None:
    other = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
    plan = a_plan({"E5": FOCAL, "Again": other})
    arms = select_arms(plan.arms, ["Again"])
    assert list(arms) == ["baseline", "E5", "Again"]
    inputs = CodeAndData(code_tree="c0de", captures={name: f"da7a{name.removesuffix('.h5')}" for name in CAPTURES})
    assert plan_runs(plan.campaign, ResolvedArms(arms=arms), inputs).run_of["Again", 0] == plan.run_of["E5", 0]


def plan_of(plan: Plan, arms: dict[str, Arm]) -> Plan:
    resolved = ResolvedArms(arms=arms, interactions=plan.interactions)
    return plan_runs(plan.campaign, resolved, CodeAndData(code_tree="c0de", captures=dict.fromkeys(CAPTURES, "da7a")))


def test_an_interaction_of_which_an_arm_was_not_asked_for_is_left_out(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"E5": FOCAL, "H2": WIDE}, interactions=(("E5", "H2"),))
    for left_out in plan.arms:
        arms = {name: arm for name, arm in plan.arms.items() if name != left_out}
        assert plan_of(plan, arms).interactions == ()
        assert find_interactions(interaction_pairs(plan.campaign), arms) == ()
    assert plan_of(plan, plan.arms).interactions == plan.interactions != ()
    assert find_interactions(interaction_pairs(plan.campaign), plan.arms) == plan.interactions


def test_asking_for_an_unknown_experiment_is_told_with_the_nearest(source_plan: Plan) -> None:
    with pytest.raises(UsageError, match="there is no experiment `H22`; did you mean `H2`"):
        select_arms(source_plan.arms, ["H22"])


def test_a_new_kind_keeps_only_what_it_has(a_plan: Callable[..., Plan]) -> None:
    plain = {"on": "E5", "change": {"loss.kind": "cross_entropy"}}
    plan = a_plan({"E5": FOCAL, "P": plain})
    assert plan.arms["P"].same_as == "baseline"


def test_a_change_that_its_profile_replaces_is_replaced_whole(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan({"H2": {"change": {"model.depth": 9}, "change_in": {"quick": {"model.dim": 32}}}})
    assert set(difference(plan.arms["baseline"].config, plan.arms["H2"].config)) == {"model.dim"}


def test_a_change_that_only_restates_a_default_is_refused(a_plan: Callable[..., Plan]) -> None:
    with pytest.raises(SpecError, match="changes nothing"):
        a_plan({"R": {"change": {"augment.noise": {"min_snr_db": 10.0, "max_snr_db": 40.0}}}})


@pytest.mark.parametrize("knob", ["experiment", "profile", "seed", "format"])
def test_names_and_seeds_are_not_for_an_experiment_to_change(a_plan: Callable[..., Plan], knob: str) -> None:
    with pytest.raises(SpecError, match="is not for an experiment to change"):
        a_plan({"X": {"change": {knob: "other"}}})


def test_the_same_spec_gives_the_same_ids(source_plan: Plan, a_plan: Callable[..., Plan]) -> None:
    """Law 1: the same spec gives the same ids."""
    again = a_plan({"E5": FOCAL, "H2": WIDE, "K1": BACK})
    assert [run.id for run in again.runs] == [run.id for run in source_plan.runs]
    other = a_plan({"E5": FOCAL | {"title": "Another title"}, "H2": WIDE, "K1": BACK})
    assert [run.id for run in other.runs] == [run.id for run in source_plan.runs]


@pytest.mark.parametrize("fields", [{"code_tree": "other"}, {"captures": dict.fromkeys(CAPTURES, "other")}])
def test_other_code_or_data_gives_other_ids(source_plan: Plan, fields: dict[str, Any]) -> None:
    inputs = CodeAndData(code_tree="c0de", captures={path: f"da7a{path[:-3]}" for path in CAPTURES})
    same = plan_runs(source_plan.campaign, resolve_arms(source_plan.campaign), inputs)
    assert [run.id for run in same.runs] == [run.id for run in source_plan.runs]
    changed = msgspec.structs.replace(inputs, **fields)
    other = plan_runs(source_plan.campaign, resolve_arms(source_plan.campaign), changed)
    assert not {run.id for run in other.runs} & {run.id for run in source_plan.runs}


def test_every_knob_of_a_change_is_known_by_its_dotted_name(source_plan: Plan) -> None:
    config = source_plan.arms["baseline"].config
    names = knob_names(type(config))
    assert {"loss.gamma", "augment.noise.min_snr_db", "optim.schedule.patience", "model.pooling"} <= set(names)
