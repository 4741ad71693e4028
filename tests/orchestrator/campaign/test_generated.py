"""Arms that the file asks for without spelling them out: which, what they are called, what they come to."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.campaign.fields import CAMPAIGN, CONTROLS
from orchestrator.campaign.generated import Recipe, common_base, read_generated, refuse_name
from orchestrator.campaign.plan import Plan
from orchestrator.errors import SpecError
from orchestrator.runs.record import RunRecord
from orchestrator.task.knobs import difference
from orchestrator.verdicts.judge import judge

FOCAL = {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}
WIDE = {"on": "E5", "change": {"model.num_heads": 4, "model.head_dim": 128}}
SLOW = {"on": "H2", "change": {"optim.learning_rate": 1e-4}}
DEEP = {"change": {"model.depth": 2}}
SOURCE = {"E5": FOCAL, "H2": WIDE, "I1": SLOW}
CHANGES: dict[str, Any] = {
    "a": {"loss.kind": "focal", "loss.gamma": 3.0},
    "b": {"model.depth": 2, "model.pooling": "mean"},
    "c": {"optim.schedule.kind": "cosine", "optim.schedule.warmup_epochs": 7},
    "d": {"test_time": {"copies": 3, "carrier_offset": {"max_hz": 9.0}}},
    "e": {"augment.noise": None},
}
"""No two change the same."""
Knobs = dict[str, tuple[Any, Any]]


def changes(plan: Plan, before: str, after: str) -> Knobs:
    return difference(plan.arms[before].params, plan.arms[after].params, ())


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Experiments that stand on each other in any way, in any order of the file."""
    names = draw(st.permutations(tuple(CHANGES)))
    on = {name: draw(st.sampled_from(("baseline", *names[:index]))) for index, name in enumerate(names)}
    return {name: {"change": CHANGES[name], "on": on[name]} for name in draw(st.permutations(names))}


class TestInteractions:
    def test_only_the_missing_cell_is_generated(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, interactions=(("E5", "H2"),))
        assert [name for name in plan.arms if name not in SOURCE] == ["baseline", "H2-alone"]
        assert plan.arms["H2-alone"].stack == ("H2",)
        assert plan.arms["H2-alone"].reference == "baseline"
        assert plan.interactions[0].cells == ("baseline", "E5", "H2-alone", "H2")

    def test_experiments_beside_each_other_lack_both_together(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({"E5": FOCAL, "D": DEEP}, interactions=(("D", "E5"),))
        assert list(plan.arms) == ["baseline", "E5", "D", "D-and-E5"]
        assert plan.arms["D-and-E5"].change == FOCAL["change"] | DEEP["change"]
        assert plan.interactions[0].cells == ("baseline", "D", "E5", "D-and-E5")

    def test_what_stands_between_the_two_is_left_out(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, interactions=(("E5", "I1"),))
        assert plan.interactions[0].cells == ("baseline", "E5", "I1-alone", "E5-and-I1")
        assert plan.arms["E5-and-I1"].stack == ("E5", "I1")

    def test_a_base_that_is_not_the_baseline_is_named(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, interactions=(("H2", "I1"),))
        assert plan.interactions[0].cells == ("E5", "H2", "I1-on-E5", "I1")
        assert plan.arms["I1-on-E5"].reference == "E5"

    def test_a_declared_experiment_that_is_the_missing_cell_is_taken(self, a_plan: Callable[..., Plan]) -> None:
        heads = {"change": WIDE["change"]}
        plan = a_plan(SOURCE | {"heads": heads}, interactions=(("E5", "H2"),))
        assert "H2-alone" not in plan.arms
        assert plan.interactions[0].only_second == "heads"

    def test_pairs_share_a_cell(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE | {"D": DEEP}, interactions=(("E5", "H2"), ("D", "H2")))
        assert [name for name in plan.arms if name not in SOURCE] == ["baseline", "D", "H2-alone", "D-and-H2"]
        assert [pair.only_second for pair in plan.interactions] == ["H2-alone", "H2-alone"]

    def test_cells_are_named_after_the_first_arm_of_their_configuration(self, a_plan: Callable[..., Plan]) -> None:
        back = {"on": "H2", "change": {"model.num_heads": 8, "model.head_dim": 64}}
        deep, slow = DEEP | {"on": "K1"}, SLOW | {"on": "K1"}
        plan = a_plan({"E5": FOCAL, "H2": WIDE, "K1": back, "D": deep, "L": slow}, interactions=(("D", "L"),))
        assert plan.interactions[0].cells == ("E5", "D", "L", "D-and-L")
        assert plan.arms["D-and-L"].reference == "K1"

    def test_other_code_makes_another_arm(self, a_plan: Callable[..., Plan]) -> None:
        coded = {"on": "E5", "patch": "a.diff"}
        plan = a_plan({"E5": FOCAL, "P": coded, "D": DEEP}, interactions=(("E5", "P"), ("D", "P")))
        alone, both = plan.arms["P-alone"], plan.arms["D-and-P"]
        assert (alone.patch, alone.same_as) == ("a.diff", None)
        assert alone.code == both.code == plan.arms["P"].code

    def test_two_patches_are_applied_in_the_order_of_the_stack(self, a_plan: Callable[..., Plan]) -> None:
        first, second = {"patch": "a.diff"}, {"patch": "b.diff"}
        plan = a_plan({"P": first, "Q": second}, interactions=(("Q", "P"),))
        assert [step.patch for step in plan.arms["Q-and-P"].code] == ["a.diff", "b.diff"]

    @given(stacks(), st.permutations(tuple(CHANGES)))
    def test_the_four_cells_differ_exactly_by_the_two_changes(
        self, a_plan: Callable[..., Plan], experiments: dict[str, Any], names: list[str]
    ) -> None:
        first, second, *_ = names
        plan = a_plan(experiments, interactions=((first, second),))
        (pair,) = plan.interactions
        ours, theirs = changes(plan, pair.neither, pair.only_first), changes(plan, pair.neither, pair.only_second)
        assert not ours.keys() & theirs.keys()
        assert changes(plan, pair.neither, pair.both) == ours | theirs
        assert changes(plan, pair.only_second, pair.both) == ours
        assert changes(plan, str(plan.arms[first].reference), first) == ours
        assert common_base(plan.campaign, first, second) == common_base(plan.campaign, second, first) == pair.neither


class TestLeaveOneOut:
    def test_each_part_is_left_out_of_the_full_stack_once(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, ablate=("E5", ("H2", "I1")))
        full, no_focal, no_heads = list(plan.arms.values())[-3:]
        assert [arm.id for arm in (full, no_focal, no_heads)] == ["full", "full-without-E5", "full-without-H2-I1"]
        assert [arm.reference for arm in (full, no_focal, no_heads)] == ["baseline", "full", "full"]
        assert [arm.stack for arm in (full, no_focal, no_heads)] == [("E5", "H2", "I1"), ("H2", "I1"), ("E5",)]

    def test_its_change_says_what_the_knobs_are_without_the_part(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE | {"T": {"change": CHANGES["d"]}}, ablate=("E5", "H2", "T"))
        assert plan.arms["full-without-E5"].change == {"loss.kind": "cross_entropy"}
        assert plan.arms["full-without-H2"].change == {"model.num_heads": 8, "model.head_dim": 64}
        assert plan.arms["full-without-T"].change == {"test_time": None}

    def test_a_part_may_be_all_of_a_group(self, a_plan: Callable[..., Plan]) -> None:
        focal, deep = FOCAL | {"group": "loss & co"}, DEEP | {"group": "size"}
        mean = {"change": {"model.pooling": "mean"}, "group": "size"}
        plan = a_plan({"E5": focal, "D": deep, "M": mean}, ablate=("tag:size", "tag:loss & co"))
        assert plan.arms["full-without-size"].stack == ("E5",)
        assert plan.arms["full-without-loss-co"].stack == ("D", "M")

    def test_a_long_part_is_called_after_its_first_member(self, a_plan: Callable[..., Plan]) -> None:
        names = [f"experiment-{name}" for name in CHANGES]
        experiments = dict(zip(names, ({"change": change} for change in CHANGES.values()), strict=True))
        plan = a_plan(experiments, ablate=(tuple(names[:4]), names[4]))
        assert list(plan.arms)[-2:] == ["full-without-experiment-a-and-3-more", "full-without-experiment-e"]

    def test_a_group_in_another_script_is_called_by_its_number(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({"E5": FOCAL | {"group": "損失"}, "D": DEEP}, ablate=("D", "tag:損失"))
        assert "full-without-part-2" in plan.arms

    def test_two_parts_of_one_name_are_refused(self, a_plan: Callable[..., Plan]) -> None:
        with pytest.raises(SpecError, match="two parts would be called `E5`; name the experiments of one of them"):
            a_plan({"E5": FOCAL, "D": DEEP | {"group": "E5"}}, ablate=("E5", "tag:E5"))

    def test_what_is_the_same_as_an_experiment_shares_its_runs(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, ablate=("E5", "H2"))
        assert plan.arms["full"].same_as == "H2"
        assert plan.arms["full-without-H2"].same_as == "E5"
        assert plan.run_of["full", 1] == plan.run_of["H2", 1]
        assert {run.experiment for run in plan.runs} == {"baseline", "E5", "H2", "I1", "full-without-E5"}

    def test_a_part_with_code_takes_its_code_along(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({"P": {"patch": "a.diff"}, "D": DEEP}, ablate=("P", "D"))
        assert [step.patch for step in plan.arms["full"].code] == ["a.diff"]
        assert plan.arms["full-without-P"].code == ()
        assert plan.arms["full-without-P"].same_as == "D"

    @given(stacks(), st.sets(st.sampled_from(tuple(CHANGES)), min_size=1, max_size=4))
    def test_the_full_stack_without_a_part_and_with_it_again_is_the_full_stack(
        self, a_plan: Callable[..., Plan], experiments: dict[str, Any], grouped: set[str]
    ) -> None:
        group = tuple(sorted(grouped))
        rest = [name for name in CHANGES if name not in grouped]
        plan = a_plan(experiments, ablate=(group, *rest))
        alone = a_plan({name: {"change": CHANGES[name]} for name in CHANGES})
        for name in ("-".join(group), *rest):
            members = group if name == "-".join(group) else (name,)
            again = changes(plan, f"full-without-{name}", "full")
            expected = {knob: value for member in members for knob, value in changes(alone, "baseline", member).items()}
            assert again == expected


class TestReplicates:
    def test_they_are_the_baseline_at_seeds_of_their_own(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE, aa=2)
        assert [arm.id for arm in plan.arms.values() if arm.control == "aa"] == ["AA1", "AA2"]
        assert plan.arms["baseline"].params == plan.arms["AA2"].params
        assert plan.arms["AA2"].seed_shift == 20_000
        assert (plan.arms["AA1"].reference, plan.arms["AA1"].same_as) == ("baseline", None)

    def test_they_are_found_at_the_campaigns_seeds(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({}, aa=1, seeds=(3, 5))
        planned = {run.id: run for run in plan.runs}
        run = planned[plan.run_of["AA1", 5]]
        assert (run.experiment, run.seed, run.config.seed) == ("AA1", 10_005, 10_005)
        assert run.id.startswith("AA1-s10005-")

    @given(st.sets(st.integers(0, 9_999), min_size=1, max_size=5), st.integers(1, 4))
    def test_they_never_coincide_with_the_baseline_or_with_each_other(
        self, a_plan: Callable[..., Plan], seeds: set[int], count: int
    ) -> None:
        plan = a_plan({}, aa=count, seeds=tuple(sorted(seeds)))
        assert len(set(plan.run_of.values())) == len(plan.runs) == len(seeds) * (count + 1)


class TestShuffledLabels:
    def test_the_control_differs_from_its_reference_by_the_labels_alone(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(SOURCE | {"chance": {"on": "H2", "control": "shuffled_labels"}})
        assert changes(plan, "H2", "chance") == {"data.shuffled_labels": (False, True)}
        assert plan.arms["chance"].control == "shuffled_labels"
        assert plan.arms["chance"].change == {"data.shuffled_labels": True}

    def test_it_may_change_more(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({"chance": DEEP | {"control": "shuffled_labels"}})
        assert set(changes(plan, "baseline", "chance")) == {"model.depth", "data.shuffled_labels"}


@given(stacks())
def test_the_same_spec_gives_the_same_generated_ids(a_plan: Callable[..., Plan], experiments: dict[str, Any]) -> None:
    """Law 1: the same spec gives the same ids."""
    asked = {"interactions": (("a", "b"), ("c", "d")), "ablate": ("a", ("b", "c")), "aa": 2}
    plan, again = a_plan(experiments, **asked), a_plan(experiments, **asked)
    assert list(again.run_of.items()) == list(plan.run_of.items())
    assert [recipe.id for recipe in read_generated(plan.campaign).recipes] == [
        recipe.id for recipe in read_generated(again.campaign).recipes
    ]


def test_a_generated_arm_survives_being_written_down(a_plan: Callable[..., Plan]) -> None:
    plan = a_plan(SOURCE, interactions=(("E5", "H2"),), ablate=("E5", "H2"), aa=1)
    assert msgspec.json.decode(msgspec.json.encode(plan.arms), type=type(plan).__annotations__["arms"]) == plan.arms


@pytest.mark.parametrize(
    ("name", "message"),
    [("E5", "an experiment `E5`, and the file has one|of that name"), ("x" * 41, "longer than 40 letters; give its")],
)
def test_a_name_that_cannot_be_had_is_refused(name: str, message: str) -> None:
    recipe = Recipe(
        id=name, title="t", group="g", hypothesis="h", base="baseline", reference="baseline", where=("interactions",)
    )
    with pytest.raises(SpecError, match=message) as caught:
        refuse_name(recipe, {"E5"})
    assert caught.value.where == ("interactions",)


@pytest.mark.parametrize("group", ["interaction", "ablation", "aa"])
def test_a_group_of_generated_arms_is_kept_for_them(a_plan: Callable[..., Plan], group: str) -> None:
    message = f"^the group `{group}` is kept for arms that the file asks for by `interactions`, `ablate` or `aa`; call"
    with pytest.raises(SpecError, match=message) as refused:
        a_plan({"E5": FOCAL | {"group": group}})
    assert refused.value.where == ("experiments", "E5", "group")


@pytest.mark.parametrize("group", ["controls", "campaign"])
def test_a_group_named_as_a_family_of_comparisons_is_refused(a_plan: Callable[..., Plan], group: str) -> None:
    message = f"^the group `{group}` is kept for what verdicts are reached among: the controls, or the whole campaign;"
    with pytest.raises(SpecError, match=message):
        a_plan({"E5": FOCAL | {"group": group}})


def test_a_control_may_be_of_the_group_controls(a_plan: Callable[..., Plan]) -> None:
    assert a_plan({"null": {"control": "shuffled_labels", "group": "controls"}}).arms["null"].group == CONTROLS


def test_families_are_called_as_verdicts_call_them(
    a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
) -> None:
    plan = a_plan({"E5": FOCAL}, aa=1)
    judged = judge(plan, runs_of(plan, dict.fromkeys(("baseline", "E5", "AA1"), 0.8)))
    assert (judged["AA1"].family, judged["E5"].family) == (CONTROLS, CAMPAIGN)
