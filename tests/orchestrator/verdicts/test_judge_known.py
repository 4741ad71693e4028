"""The numbers of a campaign of recognised bursts: as they were before metrics could be of any kind.

What depends on the pooled spreads is computed here a second time, by least squares with one column for each arm and
each seed, and with the weights of single runs from a linear system.

Letters: A arms, S seeds, B bursts, N scored runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, special, stats
from statsmodels.stats.multitest import multipletests

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import JudgingSpec
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
KNOWN: dict[str, tuple[float, float, float, float, str]] = {
    "E5": (80.16666667, 10.16666667, 0.2849501381, 1.185140669, "improved"),
    "H2": (80.16666667, 0.0, 0.0, 1.164833725, "inconclusive"),
    "K1": (61.66666667, -8.333333333, 0.358057437, 1.295538036, "regression"),
    "K2": (70.16666667, 0.1666666667, 0.487010767, 1.222998976, "inconclusive"),
    "E5-and-K1": (65.0, -5.0, 0.5805795807, 1.214011856, "regression"),
}
"""Experiment -> score, difference, item part, rest and verdict: by the code that joined bursts as right or wrong."""
REPLICATES: dict[str, tuple[Any, ...]] = {
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
"""A/A arm -> the values of `FIELDS`, and its verdict: by the same code."""
Floats = NDArray[np.float64]
POOLED = ("baseline", "E5", "H2", "K1", "K2", "K3", "E5-and-K1")
NUM_DEVICES, NUM_BURSTS = 10, 400
REFERENCE = {"H2": "E5"}
MARGIN = 1.0


@pytest.fixture(scope="module")
def found(a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]) -> Findings:
    holm = JudgingSpec(correction="holm")
    plan = a_plan(EXPERIMENTS, seeds=(0, 1, 2), aa=2, interactions=(("E5", "K1"),), judging=holm)
    drawn = {name: [_draw(*pair) for pair in zip(DRAWN[name], OUTCOMES[name], strict=True)] for name in OUTCOMES}
    return judge_all(plan, runs_of(plan, drawn))


def _draw(name: str, share: float | None) -> NDArray[np.bool_] | None:
    return None if share is None else draw_outcomes(name, share, NUM_BURSTS)


def right_points() -> dict[str, Floats]:
    """Arm -> what each of its runs has of each burst [S, B], 0 or 100."""
    drawn = {name: [_draw(*pair) for pair in zip(DRAWN[name], OUTCOMES[name], strict=True)] for name in POOLED}
    return {name: 100.0 * np.array([row for row in rows if row is not None]) for name, rows in drawn.items()}


def mean_variance(values_B: Floats) -> float:
    """The variance of a mean over bursts, within ten devices of as many bursts each."""
    return float(values_B.reshape(NUM_DEVICES, -1).var(axis=1, ddof=1).mean() / len(values_B))


@dataclass(frozen=True)
class Spreads:
    """Arm -> the variance of one run and its degrees of freedom; and the variance of what a seed does to all arms."""

    variance: dict[str, float]
    freedom: dict[str, float]
    common: float


@pytest.fixture(scope="module")
def spreads() -> Spreads:
    """Weighted least squares and the prior in turn, until the variances stay."""
    cells = [(arm, seed, row.mean()) for arm, rows in right_points().items() for seed, row in enumerate(rows)]
    scores_N = np.array([score for *_, score in cells])
    arm_NA = np.array([[arm == other for other in POOLED] for arm, *_ in cells], dtype=np.float64)
    seed_NS = np.array([[seed == other for other in range(3)] for _, seed, _ in cells], dtype=np.float64)
    noise_A = np.array(
        [sum(map(mean_variance, of - of.mean(axis=0))) / (len(of) - 1) for of in right_points().values()]
    )
    variance_A = np.ones(len(POOLED))
    for _ in range(200):
        root_N = (arm_NA @ variance_A) ** -0.5
        whitened = root_N[:, None] * np.hstack([arm_NA, seed_NS])
        solved = np.linalg.pinv(whitened)
        effects = solved @ (root_N * scores_N)
        squares_A = (scores_N - np.hstack([arm_NA, seed_NS]) @ effects) ** 2 @ arm_NA
        freedom_A = (1.0 - np.diag(whitened @ solved)) @ arm_NA
        whole, centre = prior(squares_A / freedom_A, freedom_A, noise_A)
        weight_A = whole * shares(squares_A / freedom_A, freedom_A, whole, centre)
        variance_A = (weight_A * centre + squares_A) / (weight_A + freedom_A)
    # Of three seeds, the common variance is one standard error above its estimate.
    of_seeds, noise = effects[-3:].var(ddof=1), (1.0 / ((root_N**2) @ seed_NS)).mean()
    estimate = max(0.0, of_seeds - noise)
    common = float(estimate + np.sqrt(2 / 2) * (estimate + noise))
    known_A = np.minimum(weight_A + freedom_A, freedom_A.sum())
    return Spreads(
        dict(zip(POOLED, variance_A.tolist(), strict=True)), dict(zip(POOLED, known_A.tolist(), strict=True)), common
    )


def prior(own_A: Floats, freedom_A: Floats, noise_A: Floats) -> tuple[float, float]:
    """The weight and the variance of the prior: moments of logarithms, a quarter of their error on the safe side."""
    half_A = freedom_A / 2
    log_A = np.log(own_A) - special.digamma(half_A) + np.log(half_A)
    chance = special.polygamma(1, half_A).mean()
    excess = log_A.var(ddof=1) - chance
    fourth = special.polygamma(3, half_A).mean() + 2 * (chance + max(0.0, excess)) ** 2
    apart = max(0.0, excess) + 0.25 * np.sqrt(fourth / len(own_A))
    # Only what bursts do not explain can differ by unknown factors, twice their mean at most.
    ratio = max(1.0, (own_A @ freedom_A) / (noise_A @ freedom_A)) * (1 + np.sqrt(2 / freedom_A.sum()))
    apart = min(apart, np.log1p((2 * (1 - 1 / ratio)) ** 2))
    weight = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - apart, 1e-3, 1e6)
    geometric, pooled = np.exp(log_A.mean()), (own_A @ freedom_A) / freedom_A.sum()
    return weight, float(min(max(geometric, pooled), geometric * np.exp(max(0.0, excess) / 2)))


def shares(own_A: Floats, freedom_A: Floats, weight: float, centre: float) -> Floats:
    """The share of the prior's weight that each arm takes: by chance over rank, and a wider arm never more."""
    chance_A = stats.f.sf(own_A / centre, freedom_A, weight)
    order_A = np.argsort(chance_A)
    ratio_A = np.minimum(1.0, chance_A[order_A] / ((np.arange(len(own_A)) + 0.5) / len(own_A)))
    # Isotonic regression: the largest of the means from before each place, of the smallest to behind it.
    of_A = np.array(
        [
            max(min(ratio_A[low:high].mean() for high in range(place + 1, len(own_A) + 1)) for low in range(place + 1))
            for place in range(len(own_A))
        ]
    )
    return of_A[np.argsort(order_A)]


@dataclass(frozen=True)
class Numbers:
    """A difference, its error with the parts of items and of the rest, and the degrees of freedom."""

    delta: float
    error: float
    item: float
    rest: float
    freedom: float

    @property
    def low_and_high(self) -> list[float]:
        half_width = self.error * stats.t.ppf(0.975, self.freedom)
        return [self.delta - half_width, self.delta + half_width]

    @property
    def p_value(self) -> float:
        return float(2 * stats.t.sf(abs(self.delta) / self.error, self.freedom))

    @property
    def equivalence_p_value(self) -> float:
        return float(stats.t.sf((MARGIN - abs(self.delta)) / self.error, self.freedom))


def numbers(rows_SB: Floats, of_mean: float, freedom: float) -> Numbers:
    """The numbers of a difference from what it is at each seed and burst, and from the variance that runs give it."""
    num_seeds, num_items = rows_SB.shape
    within = num_items - NUM_DEVICES
    between = mean_variance(rows_SB.mean(axis=0))
    rest = sum(map(mean_variance, rows_SB - rows_SB.mean(axis=0))) / (num_seeds - 1) / num_seeds
    across, item = max(of_mean, rest), max(0.0, between - rest)
    noise = across**2 / freedom + between**2 / within + rest**2 / (within * (num_seeds - 1))
    known = max((across + item) ** 2 / noise, min(freedom, within))
    return Numbers(float(rows_SB.mean()), (across + item) ** 0.5, item**0.5, rest**0.5, known)


def expected(name: str, of: Spreads) -> Numbers:
    """The numbers of a comparison, with the weights of its runs that give the least variance."""
    other = REFERENCE.get(name, "baseline")
    ours, theirs = right_points()[name], right_points()[other]
    common, signs = min(len(ours), len(theirs)), [1.0] * len(ours) + [-1.0] * len(theirs)
    seeds, arms = [*range(len(ours)), *range(len(theirs))], [name] * len(ours) + [other] * len(theirs)
    places = range(len(seeds))
    covariance = np.array([
        [(i == j) * of.variance[arms[i]] + (seeds[i] == seeds[j]) * signs[i] * signs[j] * of.common for j in places]
        for i in places
    ])  # fmt: skip
    sides = np.array([[sign > 0 for sign in signs], [sign < 0 for sign in signs]], dtype=np.float64)
    system = np.block([[covariance, sides.T], [sides, np.zeros((2, 2))]])
    weights = np.linalg.solve(system, [0.0] * len(seeds) + [1.0, 1.0])[:-2]
    first, second = weights[: len(ours)], weights[len(ours) :]
    parts = (first @ first * of.variance[name], second @ second * of.variance[other])
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / of.freedom[name] + parts[1] ** 2 / of.freedom[other])
    blended = [weight[:common].sum() * side[:common] for weight, side in ((first, ours), (second, theirs))]
    if len(theirs) > common:
        blended[1] = blended[1] + second[common:].sum() * theirs[common:].mean(axis=0)
    return numbers(blended[0] - blended[1], float(weights @ covariance @ weights), freedom)


@pytest.mark.parametrize("experiment", KNOWN)
def test_what_no_other_arm_moves_is_as_before(found: Findings, experiment: str) -> None:
    judgement = found.judgements[experiment]
    *known, verdict = KNOWN[experiment]
    fields = ("score", "delta_points", "item_error_points", "rest_error_points")
    assert [getattr(judgement, name) for name in fields] == pytest.approx(known, rel=1e-8, abs=1e-9)
    assert judgement.verdict == verdict


@pytest.mark.parametrize("experiment", [*KNOWN, "K3"])
def test_what_rests_on_pooled_spreads_is_as_computed_another_way(
    found: Findings, spreads: Spreads, experiment: str
) -> None:
    judgement, wanted = found.judgements[experiment], expected(experiment, spreads)
    assert judgement.delta_points == pytest.approx(wanted.delta, abs=1e-9)
    assert [judgement.low_points, judgement.high_points] == pytest.approx(wanted.low_and_high, rel=1e-6)
    assert [judgement.error_points, judgement.degrees_of_freedom] == pytest.approx(
        [wanted.error, wanted.freedom], rel=1e-6
    )
    assert [judgement.item_error_points, judgement.rest_error_points] == pytest.approx([wanted.item, wanted.rest])
    assert judgement.p_value == pytest.approx(wanted.p_value, rel=1e-5)
    assert judgement.equivalence_p_value == pytest.approx(wanted.equivalence_p_value, rel=1e-5)


def test_arm_that_lacks_a_seed_uses_the_reference_at_all_of_its_own(found: Findings) -> None:
    judgement = found.judgements["K3"]
    assert (judgement.seeds, judgement.extra_seeds, judgement.dropped_seeds) == ((0, 1), (2,), ())
    assert judgement.verdict == "inconclusive"


def test_adjusted_p_values_are_holms_of_those(found: Findings, spreads: Spreads) -> None:
    names = [*KNOWN, "K3"]
    wanted = multipletests([expected(name, spreads).p_value for name in names], method="holm")[1]
    assert [found.judgements[name].adjusted_p_value for name in names] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("arm", REPLICATES)
def test_arms_under_other_seeds_are_as_before(found: Findings, arm: str) -> None:
    judgement = found.judgements[arm]
    *known, verdict = REPLICATES[arm]
    assert [getattr(judgement, name) for name in FIELDS] == pytest.approx(known, rel=1e-8, abs=1e-9)
    assert judgement.verdict == verdict


def test_what_two_changes_do_together_is_as_before_but_for_how_well_it_is_known(
    found: Findings, spreads: Spreads
) -> None:
    (pair,) = found.interactions
    cells = ("baseline", "E5", "K1", "E5-and-K1")
    neither, first, second, both = (right_points()[name] for name in cells)
    variances = [spreads.variance[name] for name in cells]
    freedom = sum(variances) ** 2 / sum(spreads.variance[name] ** 2 / spreads.freedom[name] for name in cells)
    wanted = numbers(both - first - second + neither, sum(variances) / 3, freedom)
    assert pair.contrast.delta_points == pytest.approx(-6.833333333333333)
    assert pair.contrast.error_points == pytest.approx(1.7697803556154947, rel=1e-8)
    assert pair.contrast.p_value == pytest.approx(wanted.p_value, rel=1e-5)
    assert pair.verdict == "antagonism"
