"""What counts as a second change between an experiment and its reference, and what does not."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.plan import Plan
from orchestrator.code.steps import CodeStep
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.confounds import find_confounds

ORIGIN: dict[str, Any] = {
    "device": "cpu0",
    "code_tree": "c0de" * 10,
    "files": {"LocA.h5": "aa" * 32, "LocB.h5": "bb" * 32, "LocD.h5": "dd" * 32},
    "environment": {
        "python": "3.11.9",
        "torch": "2.13.0",
        "triton": None,
        "platform": "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36",
    },
}
ON_GPU = ORIGIN | {"device": "gpu0", "environment": ORIGIN["environment"] | {"gpu": "NVIDIA H100"}}
ACCEPTED = {
    "run": "E5-s0-1a2b3c4d",
    "code_tree": ORIGIN["code_tree"],
    "by": "Ada <ada@example.org>",
    "files": ["model/train/losses.py (+3 -1)"],
}
Compare = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="session")
def plan(a_plan: Callable[..., Plan]) -> Plan:
    """E5 changes the loss, H2 stands on it, and `moved` takes LocA's file for LocB and LocB's for LocA."""
    files = {"LocA": "LocB.h5", "LocB": "LocA.h5", "LocD": "LocD.h5"}
    captures = {name: {"path": file, "devices": [0, 10], "packets": [0, 20]} for name, file in files.items()}
    moved = {"change": {"data.captures": captures}}
    E5 = {"change": {"loss.kind": "focal"}}
    return a_plan({"E5": E5, "H2": {"on": "E5", "change": {"model.depth": 2}}, "moved": moved})


@pytest.fixture(scope="session")
def compare(plan: Plan, a_run: Callable[..., RunRecord]) -> Compare:
    """The confounds of an experiment, from the provenance of its runs and of its reference's, a seed each."""

    def compared(
        ours: Mapping[str, Any], theirs: Mapping[str, Any] = ORIGIN, *, name: str = "E5", seeds: int = 1, **fields: Any
    ) -> tuple[str, ...]:
        arm = plan.arms[name]
        own = (CodeStep(**fields),) if fields else ()
        arm = structs.replace(arm, code=(*arm.code, *own), **fields)
        reference = plan.arms[str(arm.reference)]
        pairs = {
            seed: (a_run(plan, arm.id, seed, provenance=ours), a_run(plan, reference.id, seed, provenance=theirs))
            for seed in range(seeds)
        }
        return find_confounds(arm, reference, pairs)

    return compared


def changed(part: str, **values: Any) -> dict[str, Any]:
    return ORIGIN | {part: ORIGIN[part] | values}


class TestConfig:
    def test_declared_change_alone_is_no_confound(self, compare: Compare) -> None:
        assert compare(ORIGIN, seeds=2) == ()

    def test_reference_is_the_arm_it_stands_on_and_not_the_baseline(self, compare: Compare) -> None:
        assert compare(ORIGIN, name="H2") == ()

    @pytest.mark.parametrize("side", ["E5", "baseline"])
    def test_run_that_was_trained_off_its_plan_is_named_with_both_values(
        self, plan: Plan, a_run: Callable[..., RunRecord], side: str
    ) -> None:
        runs = {name: a_run(plan, name, 0) for name in ("E5", "baseline")}
        params = runs[side].params
        other = params | {"optim": params["optim"] | {"clip_norm": 9.5}}
        runs[side] = structs.replace(runs[side], params=other)
        found = find_confounds(plan.arms["E5"], plan.arms["baseline"], {0: (runs["E5"], runs["baseline"])})
        planned = params["optim"]["clip_norm"]
        assert found == (f"config: optim.clip_norm {planned} in the plan of {side}, 9.5 in its run (seed 0)",)

    def test_knob_that_only_one_kind_has_is_absent_in_the_other(
        self, plan: Plan, a_run: Callable[..., RunRecord]
    ) -> None:
        ours, theirs = a_run(plan, "E5", 0), a_run(plan, "baseline", 0)
        wrong = structs.replace(ours, params=ours.params | {"loss": theirs.params["loss"]})
        found = find_confounds(plan.arms["E5"], plan.arms["baseline"], {0: (wrong, theirs)})
        assert 'config: loss.kind "focal" in the plan of E5, "cross_entropy" in its run (seed 0)' in found
        assert "config: loss.gamma 2.0 in the plan of E5, absent in its run (seed 0)" in found

    def test_names_seed_checkpoints_and_where_a_capture_lies_do_not_count(
        self, plan: Plan, a_run: Callable[..., RunRecord]
    ) -> None:
        ours, theirs = (a_run(plan, name, 1, provenance=ORIGIN) for name in ("E5", "baseline"))
        data = ours.params["data"]
        captures = {name: capture | {"path": f"/mnt/{capture['path']}"} for name, capture in data["captures"].items()}
        runtime = ours.params["runtime"] | {"checkpoint_epochs": 7}
        params = ours.params | {"data": data | {"captures": captures}, "runtime": runtime}
        hashes = {f"/mnt/{path}": content for path, content in ORIGIN["files"].items()}
        ours = structs.replace(ours, params=params, provenance=ORIGIN | {"files": hashes})
        assert find_confounds(plan.arms["E5"], plan.arms["baseline"], {1: (ours, theirs)}) == ()


class TestData:
    def test_capture_of_other_content_is_named_with_both_hashes(self, compare: Compare) -> None:
        other = changed("files", **{"LocD.h5": "ee" * 32})
        assert compare(other) == ("data: captures.LocD dddddddddddd in baseline, eeeeeeeeeeee in E5 (seed 0)",)

    def test_other_file_that_the_change_itself_names_is_no_confound(self, compare: Compare) -> None:
        assert compare(ORIGIN, name="moved") == ()
        unknown = compare(ORIGIN | {"files": {}}, name="moved")
        assert unknown == ("data: captures.LocD dddddddddddd in baseline, not recorded in moved (seed 0)",)


class TestCode:
    OTHER = ORIGIN | {"code_tree": "beef" * 10}

    def test_other_code_is_a_confound_of_an_experiment_of_knobs(self, compare: Compare) -> None:
        assert compare(self.OTHER) == ("code: c0dec0dec0de in baseline, beefbeefbeef in E5 (seed 0)",)

    @pytest.mark.parametrize("fields", [{"patch": "focal.diff"}, {"ref": "focal"}])
    def test_other_code_is_what_a_patch_or_a_ref_declares(self, compare: Compare, fields: dict[str, str]) -> None:
        assert compare(self.OTHER, **fields) == ()

    def test_code_that_is_left_out_of_a_full_stack_is_declared(
        self, a_plan: Callable[..., Plan], a_run: Callable[..., RunRecord]
    ) -> None:
        parts = {"P": {"patch": "a.diff"}, "D": {"change": {"model.depth": 2}}}
        plan = a_plan(parts, ablate=("P", "D"))
        full = a_run(plan, "full", 0, provenance=self.OTHER)
        for name, confounded in (("full-without-P", False), ("full-without-D", True)):
            run = a_run(plan, name, 0, provenance=ORIGIN)
            assert bool(find_confounds(plan.arms[name], plan.arms["full"], {0: (run, full)})) is confounded

    def test_code_beyond_that_of_a_ref_is_a_confound_file_by_file(self, compare: Compare) -> None:
        beyond = self.OTHER | {"code_differs_beyond": ["model/layers/norms.py (+1 -1)", "model/train/job.py (+2 -0)"]}
        assert compare(beyond, ref="focal", seeds=2) == (
            "code: model/layers/norms.py (+1 -1) differs in E5 beyond its own change (seeds 0 and 1)",
            "code: model/train/job.py (+2 -0) differs in E5 beyond its own change (seeds 0 and 1)",
        )

    def test_patch_of_the_reference_must_be_in_both(self, compare: Compare) -> None:
        patched = self.OTHER | {"code_differs_beyond": ["model/layers/norms.py (+1 -1)"]}
        assert compare(patched, patched, name="H2") == ()
        assert compare(ORIGIN, patched, name="H2")[0].startswith("code: beefbeefbeef in E5, c0dec0dec0de in H2")

    def test_code_that_the_reference_differs_in_as_well_is_no_confound(self, compare: Compare) -> None:
        theirs = ORIGIN | {"code_differs_beyond": ["model/layers/norms.py"]}
        ours = self.OTHER | {"code_differs_beyond": ["model/layers/norms.py", "model/train/job.py"]}
        assert compare(theirs, theirs, name="H2", patch="heads.diff") == ()
        assert compare(ours, theirs, name="H2", ref="heads") == (
            "code: model/train/job.py differs in H2 beyond its own change (seed 0)",
        )

    def test_result_of_older_code_that_was_vouched_for_counts_as_the_code_of_the_plan(self, compare: Compare) -> None:
        assert compare(self.OTHER | {"accepted": ACCEPTED}) == ()
        assert len(compare(self.OTHER | {"accepted": ACCEPTED | {"code_tree": "fade" * 10}})) == 1

    def test_vouching_for_code_vouches_for_nothing_else(self, compare: Compare) -> None:
        other = changed("environment", torch="2.12.1") | {"accepted": ACCEPTED}
        assert compare(other) == ("environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seed 0)",)


class TestEnvironment:
    def test_other_version_is_folded_over_seeds(self, compare: Compare) -> None:
        found = compare(changed("environment", torch="2.12.1"), seeds=2)
        assert found == ("environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seeds 0 and 1)",)

    def test_seeds_with_different_differences_are_told_apart(self, plan: Plan, a_run: Callable[..., RunRecord]) -> None:
        pairs = {
            seed: (a_run(plan, "E5", seed, provenance=changed("environment", torch=version)),
                   a_run(plan, "baseline", seed, provenance=ORIGIN))
            for seed, version in ((1, "2.12.1"), (0, "2.12.0"))
        }  # fmt: skip
        assert find_confounds(plan.arms["E5"], plan.arms["baseline"], pairs) == (
            "environment: torch 2.13.0 in baseline, 2.12.0 in E5 (seed 0)",
            "environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seed 1)",
        )

    def test_package_that_one_side_lacks_is_a_confound(self, compare: Compare) -> None:
        found = compare(changed("environment", triton="3.1.0"))
        assert found == ("environment: triton not installed in baseline, 3.1.0 in E5 (seed 0)",)

    @pytest.mark.parametrize(
        "platform", ["Linux-6.18.44-x86_64-with-glibc2.41", "Linux-5.4.0-generic-x86_64-with-musl"]
    )
    def test_update_of_the_kernel_is_no_confound(self, compare: Compare, platform: str) -> None:
        assert compare(changed("environment", platform=platform)) == ()

    def test_other_type_of_machine_is_a_confound(self, compare: Compare) -> None:
        found = compare(changed("environment", platform="Linux-6.1.0-aarch64-with-glibc2.36"))
        assert found == ("environment: machine x86_64 in baseline, aarch64 in E5 (seed 0)",)

    def test_machine_of_no_known_type_is_compared_in_full(self, compare: Compare) -> None:
        odd, later = (changed("environment", platform=f"Plan9-{release}-vax") for release in (4, 5))
        assert compare(odd, odd) == ()
        assert compare(later, odd) == ("environment: machine Plan9-4-vax in baseline, Plan9-5-vax in E5 (seed 0)",)


class TestDevice:
    def test_another_slot_of_the_same_kind_is_no_confound(self, compare: Compare) -> None:
        assert compare(ORIGIN | {"device": "cpu3"}) == ()
        assert compare(ON_GPU | {"device": "gpu1"}, ON_GPU) == ()

    def test_cpu_against_gpu_is_one_confound(self, compare: Compare) -> None:
        assert compare(ON_GPU) == ("device: cpu in baseline, gpu NVIDIA H100 in E5 (seed 0)",)

    def test_another_gpu_is_a_confound(self, compare: Compare) -> None:
        other = changed("environment", gpu="NVIDIA A100") | {"device": "gpu0"}
        assert compare(other, ON_GPU) == ("device: gpu NVIDIA H100 in baseline, gpu NVIDIA A100 in E5 (seed 0)",)

    def test_gpu_of_the_machine_does_not_matter_to_what_ran_on_its_cpu(self, compare: Compare) -> None:
        assert compare(changed("environment", gpu="NVIDIA H100")) == ()
        assert compare(changed("environment", gpu=None)) == ()


class TestNotRecorded:
    def test_what_neither_run_recorded_is_no_confound(self, compare: Compare) -> None:
        assert compare({}, {}) == ()
        assert compare({"device": "gpu0"}, {"device": "gpu1"}) == ()

    def test_what_one_run_recorded_is_a_confound(self, compare: Compare) -> None:
        assert compare({}) == (
            *(f"data: captures.Loc{x} {x.lower() * 12} in baseline, not recorded in E5 (seed 0)" for x in "ABD"),
            "code: c0dec0dec0de in baseline, not recorded in E5 (seed 0)",
            "environment: python 3.11.9 in baseline, not recorded in E5 (seed 0)",
            "environment: torch 2.13.0 in baseline, not recorded in E5 (seed 0)",
            "environment: triton not installed in baseline, not recorded in E5 (seed 0)",
            "environment: machine x86_64 in baseline, not recorded in E5 (seed 0)",
            "device: cpu in baseline, not recorded in E5 (seed 0)",
        )

    def test_gpu_whose_name_only_one_run_recorded_is_a_confound(self, compare: Compare) -> None:
        (found,) = compare(ON_GPU, ORIGIN | {"device": "gpu0"})
        assert found == "device: gpu (name not recorded) in baseline, gpu NVIDIA H100 in E5 (seed 0)"


HASHES = st.sampled_from(["aa" * 20, "bb" * 20])
VERSIONS = st.dictionaries(
    st.sampled_from(["python", "torch", "triton", "platform", "gpu"]), st.sampled_from(["1-x86_64", "2-arm64", None])
)
ORIGINS = st.fixed_dictionaries(
    {},
    optional={
        "device": st.sampled_from(["cpu0", "cpu1", "gpu0", "gpu1"]),
        "code_tree": HASHES,
        "files": st.dictionaries(st.sampled_from(["LocA.h5", "LocB.h5", "LocD.h5"]), HASHES),
        "environment": VERSIONS,
        "accepted": st.fixed_dictionaries({"code_tree": HASHES}),
    },
)


@settings(max_examples=100, deadline=None)
@given(origin=ORIGINS)
def test_two_runs_of_the_same_origin_are_never_confounded(compare: Compare, origin: dict[str, Any]) -> None:
    assert compare(origin, origin, seeds=2) == ()


@settings(max_examples=150, deadline=None)
@given(one=ORIGINS, other=ORIGINS)
def test_a_confound_seen_from_one_side_is_seen_from_the_other(
    plan: Plan, a_run: Callable[..., RunRecord], one: dict[str, Any], other: dict[str, Any]
) -> None:
    arm, reference = plan.arms["E5"], plan.arms["baseline"]
    run, reference_run = a_run(plan, "E5", 0, provenance=one), a_run(plan, "baseline", 0, provenance=other)

    def count(first: tuple[Arm, RunRecord], second: tuple[Arm, RunRecord]) -> int:
        return len(find_confounds(first[0], second[0], {0: (first[1], second[1])}))

    assert count((arm, run), (reference, reference_run)) == count((reference, reference_run), (arm, run))


def test_a_resumed_run_is_a_confound_where_one_side_alone_has_it(plan: Plan, a_run: Callable[..., RunRecord]) -> None:
    arm, reference = plan.arms["E5"], plan.arms["baseline"]
    ours, theirs = (a_run(plan, one.id, 0, provenance=ORIGIN) for one in (arm, reference))
    resumed, also = (structs.replace(run, is_resumed=True) for run in (ours, theirs))
    assert find_confounds(arm, reference, {0: (resumed, theirs)}) == ("resumed: no in baseline, yes in E5 (seed 0)",)
    assert find_confounds(arm, reference, {0: (resumed, also)}) == ()
