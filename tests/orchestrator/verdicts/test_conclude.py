"""The rules give the verdict; `test_judge` holds them over whole campaigns."""

import pytest

from orchestrator.verdicts.conclude import decide_verdict
from orchestrator.verdicts.judgement import Verdict


@pytest.mark.parametrize(
    ("gain", "adjusted_p", "equivalence_p", "verdict"),
    [
        (1.0, 0.01, 0.2, Verdict.IMPROVED),
        (-1.0, 0.01, 0.2, Verdict.REGRESSION),
        (1.0, 0.01, 0.01, Verdict.NO_CHANGE),
        (1.0, 0.05, 0.05, Verdict.INCONCLUSIVE),
    ],
)
def test_margin_comes_before_the_sign(gain: float, adjusted_p: float, equivalence_p: float, verdict: Verdict) -> None:
    assert decide_verdict(gain, adjusted_p, equivalence_p, 0.05) is verdict
