"""The values of a verdict: what makes a keeper, what a confirmation says, and what a look spends."""

from typing import Any

import pytest
from msgspec import structs

from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.judgement import ONLY_LOOK, AtLook, Confirmation, Judgement, Verdict

IMPROVED = Judgement(experiment="E5", reference="baseline", verdict=Verdict.IMPROVED, reason="")
WAITING = Estimate()
SCORED = Estimate(low_points=0.5, high_points=3.0)


@pytest.mark.parametrize(
    ("fields", "confirmation", "is_unconfirmed", "is_keeper"),
    [
        ({}, None, False, True),
        ({"confounds": ("device: cpu in baseline, gpu in E5",)}, None, False, False),
        ({"fresh": WAITING, "is_confirmed": False}, Confirmation.WAITS, True, False),
        ({"fresh": SCORED, "is_confirmed": False}, Confirmation.NOT_CONFIRMED, True, False),
        ({"fresh": SCORED, "is_confirmed": True}, Confirmation.CONFIRMED, False, True),
        ({"verdict": Verdict.REGRESSION}, None, False, False),
        ({"collapsed_seeds": (2,)}, None, False, False),
        ({"fragile": ("the reference baseline: seed 1 failed (diverged)",)}, None, False, True),
    ],
)
def test_a_keeper_is_an_improvement_without_a_confound_that_fresh_seeds_do_not_refute(
    fields: dict[str, Any], confirmation: Confirmation | None, is_unconfirmed: bool, is_keeper: bool
) -> None:
    found = structs.replace(IMPROVED, **fields)
    assert (found.confirmation, found.is_unconfirmed, found.is_keeper) == (confirmation, is_unconfirmed, is_keeper)


def test_collapsed_runs_are_fragile_and_said_beside_the_failures() -> None:
    failed = "E5: seed 1 failed (crashed)"
    found = structs.replace(IMPROVED, fragile=(failed,), collapsed_seeds=(2, 3))
    apart = "E5: seeds 2 and 3 lie far below the other seeds, which agree"
    assert found.is_fragile
    assert found.fragile_sentences == (failed, f"{apart}; what collapsed is set aside, and such an arm is no keeper")
    assert (IMPROVED.is_fragile, IMPROVED.fragile_sentences) == (False, ())


def test_several_looks_say_how_likely_a_false_verdict_is() -> None:
    alone = structs.replace(IMPROVED, looks=(2, 3, 5))
    said = "looked at 3 times (at 2, 3 and 5 seeds) without `staging`: a false verdict is about 10 % likely, not 5 %"
    assert alone.looks_sentence == said
    among = structs.replace(alone, num_compared=12).looks_sentence
    assert among.endswith("a false verdict among 12 comparisons is about 11 % likely, not 5 %")
    assert [structs.replace(IMPROVED, looks=looks).looks_sentence for looks in ((), (3,))] == ["", ""]


def test_only_runs_without_scores_stop_an_experiment() -> None:
    assert {verdict for verdict in Verdict if verdict.is_stop} == {Verdict.TOO_SLOW, Verdict.FAILED}


class TestAtLook:
    def test_the_only_look_leaves_every_p_value_as_it_is(self) -> None:
        assert (ONLY_LOOK.spend("E5", 0.02), ONLY_LOOK.spend("E5", None)) == (0.02, None)

    def test_a_look_divides_by_its_share_and_counts_what_has_no_p_value_as_one(self) -> None:
        look = AtLook(0.25, 0.3, {})
        assert (look.spend("E5", 0.02), look.spend("E5", 0.9), look.spend("E5", None)) == (0.08, 1.0, 1.0)

    def test_what_an_earlier_look_decided_keeps_its_p_value(self) -> None:
        assert AtLook(0.25, 0.3, {"E5": 0.03}).spend("E5", 0.9) == 0.03
