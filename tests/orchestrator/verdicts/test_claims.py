"""What single runs on few bursts can show, held against scipy, statsmodels and numbers worked by hand."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import normal_power_het
from statsmodels.stats.proportion import power_proportions_2indep

from orchestrator.campaign.fields import Reported
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import BaselineSpec
from orchestrator.verdicts.claims import (
    AuditedClaim,
    ClaimVerdict,
    RunNoise,
    audit,
    detectable_points,
    find_noise,
    find_protocol,
    misstated,
    paired_detectable_points,
    paired_error_points,
    paired_p_value,
    unpaired_error_points,
)
from orchestrator.verdicts.scale import Scale
from tests.orchestrator.conftest import build_plan

SCALE = Scale(build_plan({}).campaign.judged)


def audit_of(plan: Plan) -> list[AuditedClaim]:
    return audit(plan, find_protocol(plan, 1000))


SOURCE: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}, "reported": {"accuracy": 85.0, "delta": 1.0, "versus": "baseline"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}, "reported": {"accuracy": 85.1, "delta": 0.1, "versus": "E5"}},
    "K1": {"on": "H2", "change": {"model.depth": 4}, "reported": {"accuracy": 83.7, "delta": -1.4, "versus": "H2"}},
    "noise": {"change": {"optim.epochs": 7}, "reported": {"accuracy": 78.3, "delta": -5.7, "versus": "baseline"}},
    "roll": {"change": {"augment.roll": {}}, "reported": {"accuracy": 77.5, "delta": -7.5, "versus": "E5"}},
    "slow": {"change": {"model.expand_v": 4.0}, "reported": {"outcome": "too_slow"}},
}
NEAR: dict[str, dict[str, Any]] = {
    "near": {"change": {"optim.epochs": 8}, "reported": {"accuracy": 78.8, "delta": -5.2, "versus": "baseline"}}
}
ACCURACY = st.floats(1.0, 99.0)


@pytest.fixture
def a_source(a_plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """The source's protocol."""

    def built(experiments: dict[str, dict[str, Any]] = SOURCE, **fields: Any) -> Plan:
        return a_plan(experiments, **fields)

    return built


@pytest.fixture
def claims(a_source: Callable[..., Plan]) -> dict[str, AuditedClaim]:
    return {claim.experiment: claim for claim in audit_of(a_source())}


class TestProtocol:
    def test_has_as_many_bursts_as_the_judged_capture(self, a_source: Callable[..., Plan]) -> None:
        found = find_protocol(a_source(), 300)
        assert (found.num_items, found.is_declared) == (300, False)

    def test_has_the_bursts_that_the_baseline_is_reported_on_whatever_the_capture_holds(
        self, a_source: Callable[..., Plan]
    ) -> None:
        plan = a_source(baseline=BaselineSpec(reported=Reported(accuracy=84.0, bursts=1000)))
        found = find_protocol(plan, 150)
        assert (found.num_items, found.is_declared) == (1000, True)
        full = a_source(baseline=BaselineSpec(reported=Reported(accuracy=84.0)))
        assert audit_of(plan) == audit_of(full)

    def test_claim_with_bursts_of_its_own_is_weighed_on_those(self, a_source: Callable[..., Plan]) -> None:
        more = {"change": {"optim.epochs": 7}, "reported": {"accuracy": 78.3, "delta": -5.7, "bursts": 10_000}}
        of = {claim.experiment: claim for claim in audit_of(a_source(SOURCE | {"noise": more}))}
        assert (of["noise"].num_items, of["roll"].num_items) == (10_000, 1000)
        assert of["noise"].item_error_points == pytest.approx(unpaired_error_points(78.3, 84.0, 10_000))
        assert (of["noise"].item_detectable_points or 0.0) < 5.7 / 3

    def test_knows_the_noise_of_a_run_by_what_is_reported_twice(self, a_source: Callable[..., Plan]) -> None:
        noise = find_protocol(a_source(), 1000).noise
        assert noise is not None
        assert noise.repeats[0].score_of == {"E5": 85.0, "K1": 83.7}
        assert noise.deviation_points == pytest.approx(np.std([85.0, 83.7], ddof=1))
        assert noise.degrees_of_freedom == 1

    def test_noise_of_one_pair_is_hardly_known(self, a_source: Callable[..., Plan]) -> None:
        """Tables of chi-squared with one degree of freedom have 5.024 and 0.000982 at 97.5 and 2.5 %."""
        noise = find_protocol(a_source(), 1000).noise
        assert noise is not None
        deviation = 1.3 / 2**0.5
        wanted = pytest.approx((deviation / 5.024**0.5, deviation / 0.000982**0.5), rel=1e-3)
        assert noise.deviation_interval_points(0.05) == wanted

    def test_noise_is_given_at_the_level_that_is_asked_for(self, a_source: Callable[..., Plan]) -> None:
        """Tables of chi-squared with one degree of freedom have 2.706 and 0.0158 at 90 and 10 %."""
        noise = find_protocol(a_source(), 1000).noise
        assert noise is not None
        deviation = 1.3 / 2**0.5
        wanted = pytest.approx((deviation / 2.706**0.5, deviation / 0.0158**0.5), rel=2e-3)
        assert noise.deviation_interval_points(0.2) == wanted

    def test_repeats_are_pooled_over_configurations(self, a_source: Callable[..., Plan]) -> None:
        again = {"on": "noise", "change": {"optim.epochs": 600}, "reported": {"accuracy": 84.4}}
        wanted = {"noise": {"change": {"optim.epochs": 7}}, "again": again}
        plan = a_source(SOURCE | wanted, baseline=BaselineSpec(reported=Reported(accuracy=84.0)))
        assert plan.arms["again"].same_as == "baseline"
        noise = find_protocol(plan, 1000).noise
        assert noise is not None
        assert noise.degrees_of_freedom == 2
        assert noise.deviation_points == pytest.approx(((1.3**2 / 2 + 0.4**2 / 2) / 2) ** 0.5)

    def test_twins_of_which_one_has_no_number_tell_nothing(self, a_source: Callable[..., Plan]) -> None:
        silent = SOURCE | {"K1": {name: value for name, value in SOURCE["K1"].items() if name != "reported"}}
        assert find_noise(list(a_source(silent).arms.values())) is None


class TestErrors:
    def test_of_85_against_84_percent_on_a_thousand_bursts(self) -> None:
        """By hand: 100 sqrt((0.85 * 0.15 + 0.84 * 0.16) / 1000) = 1.618."""
        assert unpaired_error_points(85.0, 84.0, 1000) == pytest.approx(1.6183, abs=1e-4)

    def test_kindest_pairing_is_the_error_of_that_many_discordant_bursts(self) -> None:
        difference_B = np.zeros(1000)
        difference_B[:10] = 1.0
        assert paired_error_points(1.0, 1000) == pytest.approx(100 * difference_B.std() / 1000**0.5)

    @given(ACCURACY, ACCURACY)
    def test_no_pairing_is_kinder_than_the_kindest(self, first: float, second: float) -> None:
        """Of two shares p >= q, independence gives p(1-p) + q(1-q), the kindest pairing (p-q)(1-(p-q))."""
        assert paired_error_points(first - second, 1000) <= unpaired_error_points(first, second, 1000) + 1e-9

    @pytest.mark.parametrize("discordant", [0, 1, 5, 6, 10, 39])
    def test_exact_p_is_that_of_mcnemar(self, discordant: int) -> None:
        table = [[800, discordant], [0, 200 - discordant]]
        assert paired_p_value(discordant / 10.0, 1000) == pytest.approx(min(1.0, mcnemar(table, exact=True).pvalue))


class TestDetectable:
    @pytest.mark.parametrize("level", [0.01, 0.05])
    @given(accuracy=st.floats(20.0, 90.0))
    def test_effect_is_found_in_four_of_five_tries(self, level: float, accuracy: float) -> None:
        error = unpaired_error_points(accuracy, accuracy, 1000)
        size = detectable_points(error, level)
        deviation = error * 1000**0.5
        assert normal_power_het(size, 1000, level, deviation, deviation) == pytest.approx(0.80, abs=1e-4)

    def test_effect_of_two_proportions_is_that_of_statsmodels(self) -> None:
        """Its test pools the variance under the null, so the two agree where p(1-p) changes little."""
        size = detectable_points(unpaired_error_points(84.0, 80.0, 1000), 0.05)
        found = power_proportions_2indep(-size / 100, 0.84, 1000, ratio=1, alpha=0.05)
        assert found.power == pytest.approx(0.80, abs=0.02)

    @pytest.mark.parametrize(("level", "needed"), [(0.05, 6), (0.01, 8), (0.0625, 5)])
    def test_kindest_pairing_needs_so_many_discordant_bursts(self, level: float, needed: int) -> None:
        """2 / 2^6 = 0.031 is the first at or below 0.05; 2 / 2^8 = 0.0078; 2 / 2^5 = 0.0625 exactly."""
        size = paired_detectable_points(1000, level)
        assert size is not None
        assert binom.sf(needed - 1, 1000, size / 100) == pytest.approx(0.80)

    def test_too_few_bursts_can_never_reject(self) -> None:
        assert paired_detectable_points(5, 0.05) is None
        assert paired_detectable_points(6, 0.05) == pytest.approx(100 * 0.80 ** (1 / 6))


def many_runs() -> dict[str, dict[str, Any]]:
    """Three configurations that the source reports twice each, so that its noise has four degrees of freedom."""
    more = {}
    for number, (first, second) in enumerate([(80.0, 80.8), (81.0, 80.4), (82.0, 81.1)]):
        change = {"change": {"optim.clip_norm": 3.0 + number}}
        again = {"on": f"R{number}", "change": {"loss.kind": "focal"}}
        back = {"on": f"A{number}", "change": {"loss.kind": "cross_entropy"}, "reported": {"accuracy": second}}
        more |= {f"R{number}": change | {"reported": {"accuracy": first}}, f"A{number}": again, f"B{number}": back}
    return more


class TestRepeats:
    """Two runs of one configuration, 1.3 points apart: a deviation of 0.92 with one degree of freedom."""

    @pytest.mark.parametrize(("size", "p_value"), [(1.3, 0.5), (1.3 * 12.7062, 0.05), (0.0, 1.0)])
    def test_p_is_that_of_students_t_with_their_freedom(
        self, a_source: Callable[..., Plan], size: float, p_value: float
    ) -> None:
        """Tables of t with one degree of freedom have 1.000 at a two-sided 0.5, and 12.706 at 0.05."""
        noise = find_protocol(a_source(), 1000).noise
        assert noise is not None
        assert noise.p_value(size) == pytest.approx(p_value, abs=1e-5)

    def test_more_repeats_leave_less_within_them(self, a_source: Callable[..., Plan]) -> None:
        plan = a_source(SOURCE | many_runs())
        noise = find_protocol(plan, 1000).noise
        assert noise is not None
        assert noise.degrees_of_freedom == 4
        of = {claim.experiment: claim for claim in audit_of(plan)}
        assert of["roll"].verdict is not ClaimVerdict.WITHIN_REPEAT
        assert of["E5"].verdict is ClaimVerdict.WITHIN_REPEAT

    def test_repeats_that_agree_to_the_last_digit_hold_nothing_back(self, a_source: Callable[..., Plan]) -> None:
        same = SOURCE | {"K1": SOURCE["K1"] | {"reported": {"accuracy": 85.0}}}
        noise = find_protocol(a_source(same), 1000).noise
        assert noise is not None
        assert (noise.p_value(0.1), noise.p_value(0.0)) == (0.0, 1.0)

    @pytest.mark.parametrize("freedom", [1, 3, 8])
    def test_a_source_without_any_effect_is_within_its_repeat_but_for_the_level(self, freedom: int) -> None:
        rng = np.random.default_rng(freedom)
        beyond = 0
        for _ in range(2000):
            runs = rng.normal(80.0, 1.0, freedom + 1)
            noise = RunNoise(repeats=(), deviation_points=float(runs.std(ddof=1)), degrees_of_freedom=freedom)
            beyond += noise.p_value(abs(float(rng.normal(0.0, 2**0.5)))) < 0.05
        # Four Monte Carlo errors of a share of 5 % in 2,000 are 2 %.
        assert 0.03 < beyond / 2000 < 0.07


class TestStandings:
    @pytest.mark.parametrize(
        ("experiment", "verdict"),
        [
            ("E5", ClaimVerdict.WITHIN_REPEAT),
            ("H2", ClaimVerdict.WITHIN_REPEAT),
            ("K1", ClaimVerdict.WITHIN_REPEAT),
            ("noise", ClaimVerdict.WITHIN_REPEAT),
            ("roll", ClaimVerdict.WITHIN_REPEAT),
        ],
    )
    def test_of_a_claim_beside_one_repeat(
        self, claims: dict[str, AuditedClaim], experiment: str, verdict: ClaimVerdict
    ) -> None:
        assert claims[experiment].verdict is verdict

    @pytest.mark.parametrize(
        ("experiment", "verdict"),
        [
            ("E5", ClaimVerdict.WITHIN_REPEAT),
            ("near", ClaimVerdict.NOT_SUPPORTED),
            ("roll", ClaimVerdict.SUPPORTED),
        ],
    )
    def test_of_a_claim_beside_several_repeats(
        self, a_source: Callable[..., Plan], experiment: str, verdict: ClaimVerdict
    ) -> None:
        of = {claim.experiment: claim for claim in audit_of(a_source(SOURCE | NEAR | many_runs()))}
        assert of[experiment].verdict is verdict

    def test_only_a_reported_difference_is_a_claim(self, claims: dict[str, AuditedClaim]) -> None:
        assert list(claims) == ["E5", "H2", "K1", "noise", "roll"]

    def test_each_says_why(self, claims: dict[str, AuditedClaim], a_source: Callable[..., Plan]) -> None:
        differ = "runs of one configuration differ: E5 and K1 by 1.3 (t, 1 degree of freedom, p"
        assert claims["E5"].why == f"{differ} 0.58); with the source's own repeat it is −0.3"
        assert claims["roll"].why == f"{differ} 0.11)"
        more = {claim.experiment: claim.why for claim in audit_of(a_source(SOURCE | NEAR | many_runs()))}
        assert re.fullmatch(r"above the \d\.\d that sampling error allows, below the \d\.\d with seed.*", more["near"])
        assert re.fullmatch(r"above the \d\.\d that one run a side can tell", more["roll"])

    def test_own_repeat_takes_the_place_of_the_reported_number(self, claims: dict[str, AuditedClaim]) -> None:
        assert claims["E5"].repeat_delta_points == pytest.approx(83.7 - 84.0)
        assert claims["K1"].repeat_delta_points == pytest.approx(85.0 - 85.1)
        assert claims["roll"].repeat_delta_points is None

    def test_errors_of_bursts_and_of_both_runs_are_added(self, claims: dict[str, AuditedClaim]) -> None:
        found = claims["roll"]
        assert found.item_error_points is not None
        assert found.total_error_points == pytest.approx(np.hypot(found.item_error_points, 1.3))
        assert found.detectable_points == pytest.approx((1.959964 + 0.841621) * found.total_error_points, rel=1e-6)

    def test_without_a_repeat_the_bursts_alone_decide(self, a_source: Callable[..., Plan]) -> None:
        plan = a_source({name: SOURCE[name] for name in ("E5", "noise")})
        by_name = {claim.experiment: claim for claim in audit_of(plan)}
        assert by_name["E5"].verdict is ClaimVerdict.NOT_SUPPORTED
        assert by_name["noise"].verdict is ClaimVerdict.SUPPORTED
        assert by_name["noise"].total_error_points == by_name["noise"].item_error_points

    def test_more_bursts_support_what_few_do_not(self, a_source: Callable[..., Plan]) -> None:
        plan = a_source({"E5": SOURCE["E5"]})
        assert audit(plan, find_protocol(plan, 100_000))[0].verdict is ClaimVerdict.SUPPORTED

    def test_stricter_level_of_the_campaign_supports_less(self, a_source: Callable[..., Plan]) -> None:
        plan = a_source({"noise": SOURCE["noise"]})
        strict = structs.replace(plan.campaign, judging=structs.replace(plan.campaign.judging, level=0.001))
        assert audit_of(structs.replace(plan, campaign=strict))[0].verdict is ClaimVerdict.NOT_SUPPORTED

    def test_accuracy_that_is_not_given_follows_from_the_references(self, a_source: Callable[..., Plan]) -> None:
        mean = {"on": "E5", "change": {"model.pooling": "mean"}, "reported": {"delta": -3.9}}
        (*_, found) = audit_of(a_source(SOURCE | {"pool-mean": mean}))
        assert found.item_error_points == pytest.approx(unpaired_error_points(81.1, 85.0, 1000))

    def test_claim_without_any_accuracy_cannot_be_told(self, a_source: Callable[..., Plan]) -> None:
        plan = a_source({"mean": {"change": {"model.pooling": "mean"}, "reported": {"delta": -3.9}}})
        (found,) = audit_of(plan)
        assert (found.verdict, found.detectable_points, found.p_value) == (ClaimVerdict.CANNOT_TELL, None, None)

    @given(accuracy=ACCURACY, delta=st.floats(-90.0, 90.0))
    def test_supported_claims_are_significant_as_well(self, accuracy: float, delta: float) -> None:
        error = unpaired_error_points(accuracy, min(100.0, max(0.0, accuracy - delta)), 1000)
        if abs(delta) > detectable_points(error, 0.05):
            assert abs(delta) / error > 1.96


def test_difference_that_does_not_follow_from_the_accuracies_is_named(a_source: Callable[..., Plan]) -> None:
    wrong = {"on": "H2", "change": {"optim.epochs": 9}, "reported": {"accuracy": 84.5, "delta": -0.5, "versus": "H2"}}
    claims = audit_of(a_source(SOURCE | {"H4": wrong}))
    assert [claim.experiment for claim in misstated(claims)] == ["H4"]
