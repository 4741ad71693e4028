"""The numbers of a campaign of recognised bursts, as they were before metrics could be of any kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.findings import Findings, judge_all
from tests.orchestrator.conftest import draw_outcomes

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"model.num_heads": 4}},
    "K1": {"change": {"optim.learning_rate": 1e-4}},
    "K2": {"change": {"optim.learning_rate": 2e-4}},
    "K3": {"change": {"optim.learning_rate": 5e-4}},
}
OUTCOMES: dict[str, Any] = {
    "baseline": [0.70, 0.71, 0.69],
    "E5": [0.80, 0.815, 0.79],
    "H2": [0.80, 0.81, 0.795],
    "K1": [0.60, 0.63, 0.62],
    "K2": [0.705, 0.70, 0.70],
    "K3": [0.71, 0.74, None],
    "E5-and-K1": [0.64, 0.66, 0.65],
    "AA1": [0.70, 0.69, 0.72],
    "AA2": [0.71, 0.70, 0.705],
}
DRAWN: dict[str, tuple[str, ...]] = {
    "baseline": ("baseline-s0-57918c75", "baseline-s1-4bc2f33b", "baseline-s2-51a2e0fb"),
    "E5": ("E5-s0-61f4d2ab", "E5-s1-7825af30", "E5-s2-e7fe6eaa"),
    "H2": ("H2-s0-4544f140", "H2-s1-3309aa13", "H2-s2-7e6ac640"),
    "K1": ("K1-s0-61d960a6", "K1-s1-7d030620", "K1-s2-4f19da0c"),
    "K2": ("K2-s0-3f6c3bae", "K2-s1-5589d095", "K2-s2-e5df450e"),
    "K3": ("K3-s0-d76c489a", "K3-s1-d8db14e8", "K3-s2-b55c28da"),
    "E5-and-K1": ("E5-and-K1-s0-9eb64bac", "E5-and-K1-s1-d1210338", "E5-and-K1-s2-fc6cf598"),
    "AA1": ("AA1-s10000-90e01646", "AA1-s10001-47b04c8d", "AA1-s10002-f647f11f"),
    "AA2": ("AA2-s20000-0da296a3", "AA2-s20001-58fb7640", "AA2-s20002-ddb18668"),
}
"""The ids that the runs had then. The luck of a run was drawn by its id."""
FIELDS = (
    *("score", "delta_points", "low_points", "high_points", "p_value", "adjusted_p_value", "equivalence_p_value"),
    *("error_points", "item_error_points", "rest_error_points", "degrees_of_freedom"),
)
KNOWN: dict[str, tuple[Any, ...]] = {
    "E5": (
        80.16666667,
        10.16666667,
        7.390745244,
        12.94258809,
        2.060863755e-05,
        0.0001236518253,
        0.9999771889,
        1.218915496,
        0.2849501381,
        1.185140669,
        8.621902612,
        "improved",
    ),
    "H2": (
        80.16666667,
        0.0,
        -2.691671821,
        2.691671821,
        1.0,
        1.0,
        0.2079439195,
        1.164833725,
        0.0,
        1.164833725,
        7.90614666,
        "inconclusive",
    ),
    "K1": (
        61.66666667,
        -8.333333333,
        -11.39009105,
        -5.276575615,
        0.0001833877228,
        0.000916938614,
        0.9997734023,
        1.344107113,
        0.358057437,
        1.295538036,
        8.697872778,
        "regression",
    ),
    "K2": (
        70.16666667,
        0.1666666667,
        -2.769368801,
        3.102702135,
        0.9017782549,
        1.0,
        0.2705074514,
        1.316398869,
        0.487010767,
        1.222998976,
        9.92725494,
        "inconclusive",
    ),
    "K3": (
        72.5,
        2.0,
        -1.61374148,
        5.61374148,
        0.2290353581,
        0.6871060744,
        0.7350662018,
        1.508257187,
        0.1834498464,
        1.497059083,
        6.574912055,
        "inconclusive",
    ),
    "E5-and-K1": (
        65.0,
        -5.0,
        -7.945201983,
        -2.054798017,
        0.003149374916,
        0.01259749966,
        0.9939468541,
        1.345695893,
        0.5805795807,
        1.214011856,
        11.53433413,
        "regression",
    ),
    "AA1": (
        70.33333333,
        0.3333333333,
        -2.545885056,
        3.212551722,
        0.7962443668,
        1.0,
        0.3039472691,
        1.248574686,
        0.0,
        1.248574686,
        8.0,
        "inconclusive",
    ),
    "AA2": (
        70.5,
        0.5,
        -2.510564091,
        3.510564091,
        0.7117063425,
        1.0,
        0.3558531713,
        1.305532824,
        0.0,
        1.305532824,
        8.0,
        "inconclusive",
    ),
}
"""Experiment -> the values of `FIELDS`, and its verdict: by the code that joined bursts as right or wrong."""


@pytest.fixture(scope="module")
def found(a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> Findings:
    plan = a_plan(EXPERIMENTS, seeds=(0, 1, 2), aa=2, interactions=(("E5", "K1"),))
    drawn = {name: [_draw(*pair) for pair in zip(DRAWN[name], OUTCOMES[name], strict=True)] for name in OUTCOMES}
    return judge_all(plan, runs_of(plan, drawn))


def _draw(name: str, share: float | None) -> NDArray[np.bool_] | None:
    return None if share is None else draw_outcomes(name, share, 400)


@pytest.mark.parametrize("experiment", KNOWN)
def test_numbers_and_verdict_are_those_of_before(found: Findings, experiment: str) -> None:
    judgement = found.judgements[experiment]
    *numbers, verdict = KNOWN[experiment]
    assert [getattr(judgement, name) for name in FIELDS] == pytest.approx(numbers, rel=1e-8, abs=1e-9)
    assert judgement.verdict == verdict


def test_what_two_changes_do_together_is_as_before(found: Findings) -> None:
    (pair,) = found.interactions
    assert pair.contrast.delta_points == pytest.approx(-6.833333333333333)
    assert (pair.contrast.error_points, pair.contrast.p_value) == pytest.approx(
        (1.7697803556154947, 0.001377209058585208), rel=1e-8
    )
    assert pair.verdict == "antagonism"
