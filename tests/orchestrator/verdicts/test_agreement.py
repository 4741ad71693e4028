"""Our runs agree with a claim if their interval holds it and is narrow enough."""

import pytest

from orchestrator.campaign.fields import Reported
from orchestrator.verdicts.agreement import compare_with_claim
from orchestrator.verdicts.judgement import Judgement, Verdict
from orchestrator.verdicts.scale import Scale
from tests.orchestrator.conftest import build_plan

SCALE = Scale(build_plan({}).campaign.judged)


class TestReplay:
    @pytest.mark.parametrize(
        ("ends", "delta", "agreement"),
        [
            ((0.4, 1.6), 1.0, "agree"),
            ((-3.0, 4.0), 1.0, "cannot tell"),
            ((-2.0, 0.9), 1.0, "disagree"),
            ((-12.0, -3.0), -7.5, "agree"),
            ((-12.0, 0.5), -7.5, "cannot tell"),
            (None, 1.0, "cannot tell"),
            ((0.4, 1.6), None, "cannot tell"),
        ],
    )
    def test_claim_needs_an_interval_that_tells_it_from_nothing(
        self, ends: tuple[float, float] | None, delta: float | None, agreement: str
    ) -> None:
        low, high = ends or (None, None)
        judgement = Judgement(
            experiment="E5", reference="baseline", verdict=Verdict.INCONCLUSIVE, reason="", low_points=low,
            high_points=high,
        )  # fmt: skip
        assert compare_with_claim(judgement, Reported(delta=delta), SCALE)[0] == agreement

    @pytest.mark.parametrize(
        ("verdict", "failure", "reported", "agreement"),
        [
            (Verdict.FAILED, "out_of_memory", Reported(outcome="out_of_memory"), "stopped as reported"),
            (Verdict.IMPROVED, None, Reported(outcome="too_slow"), "disagree"),
            (Verdict.INCONCLUSIVE, None, Reported(outcome="regression"), "cannot tell"),
            (Verdict.REGRESSION, None, Reported(outcome="regression"), "agree"),
            (Verdict.TOO_SLOW, None, Reported(delta=-1.0), "disagree"),
            (Verdict.PENDING, None, Reported(outcome="too_slow"), "cannot tell"),
        ],
    )
    def test_outcome_is_compared_with_how_it_ended(
        self, verdict: Verdict, failure: str | None, reported: Reported, agreement: str
    ) -> None:
        judgement = Judgement(experiment="E5", reference="baseline", verdict=verdict, reason="", failure=failure)
        assert compare_with_claim(judgement, reported, SCALE)[0] == agreement
