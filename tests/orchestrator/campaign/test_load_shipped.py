"""`experiments.yaml` of this repository holds every result that the source study reports."""

from pathlib import Path

import msgspec
import pytest

from orchestrator.campaign.plan import plan_runs
from orchestrator.campaign.selection import Request, Selection, open_campaign, read_paths
from orchestrator.runs.identity import CodeAndData
from orchestrator.verdicts.claims import find_protocol

FILE = Path(__file__).parents[3] / "experiments.yaml"
PROFILES = ("paper", "quick", "gpu", "rtl433")

REPORTED_ON = {
    "E5": "D3 H2 pool-attn pos-emb depth-6 dim-768 aux-head neg-eigval stft-embed roll token-drop gain-jitter "
    "gamma-1.5 gamma-3.0",
    "H2": "I1 I4 H4 J5 K1 mlp-2 conv-bias batch-64 grad-norm-0.5 muon smoothing-0.1",
    "baseline": "E5 hybrid-sdpa multi-scale stoch-depth crop phase-noise iq-imbalance mixup const-phase curriculum-snr "
    "no-aug onecycle",
}
"""The stack that the source's own difference was taken against -> experiments."""
STACK_NOT_SAID = (
    "pool-mean cls-first expand-3 expand-4 conv-8 patch-32 stride-16 fused-recurrent mamba2 dropout weight-decay"
)
OUTCOMES = {
    "too_slow": {"expand-3", "expand-4", "conv-8", "patch-32", "stride-16"},
    "failed": {"fused-recurrent", "mamba2"},
}


def study_at(profile: str) -> Selection:
    return open_campaign(Request(file=FILE, profile=profile, everything=True))


def test_every_result_of_the_source_is_an_experiment() -> None:
    wanted = {name for names in (*REPORTED_ON.values(), STACK_NOT_SAID) for name in names.split()}
    assert set(study_at("paper").arms) == wanted | {"baseline"}


@pytest.mark.parametrize("reference", REPORTED_ON)
def test_each_stands_on_the_stack_that_its_difference_was_taken_against(reference: str) -> None:
    arms = study_at("paper").arms
    assert {name for name in REPORTED_ON[reference].split() if arms[name].reference != reference} == set()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_never_finished_is_said_to(outcome: str) -> None:
    arms = study_at("paper").arms.values()
    assert {arm.id for arm in arms if arm.reported and arm.reported.outcome == outcome} == OUTCOMES[outcome]


@pytest.mark.parametrize("profile", PROFILES)
def test_claims_are_audited_on_the_bursts_of_the_source_at_every_profile(profile: str) -> None:
    study = study_at(profile)
    hashes = dict.fromkeys(read_paths(study), "da7a")
    plan = plan_runs(study.campaign, study.resolved, CodeAndData(code_tree="c0de", files=hashes))
    found = find_protocol(plan, 300)
    assert (found.num_items, found.is_declared) == (1000, True)


def test_reported_differences_follow_from_reported_accuracies() -> None:
    """But for H4's, which the source itself misstates."""
    arms = study_at("paper").arms
    off = {
        arm.id
        for arm in arms.values()
        if arm.reported
        and arm.reported.accuracy is not None
        and arm.reported.delta is not None
        and abs(arms[str(arm.reference)].reported.accuracy + arm.reported.delta - arm.reported.accuracy) > 0.05
    }
    assert off == {"H4"}


@pytest.mark.parametrize("profile", PROFILES)
def test_each_changes_something_at_every_profile_and_only_k1_takes_a_change_back(profile: str) -> None:
    arms = study_at(profile).arms
    assert {(arm.id, arm.same_as) for arm in arms.values() if arm.same_as} == {("K1", "E5")}
    for arm in arms.values():
        assert msgspec.json.decode(msgspec.json.encode(arm.params)) == arm.params


def test_the_quick_profile_takes_a_part_of_them_unless_asked_for_all() -> None:
    few = open_campaign(Request(file=FILE, profile="quick"))
    assert {"baseline", "E5", "H2", "I1", "K1"} <= set(few.arms) < set(study_at("quick").arms)
