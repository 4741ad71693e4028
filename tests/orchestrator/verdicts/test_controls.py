"""Arms that must show nothing, and parts of a full stack."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from scipy.stats import beta

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.controls import contributions, false_verdicts, shuffled_labels
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict

E5 = {"change": {"loss.kind": "focal"}}
H2 = {"on": "E5", "change": {"model.depth": 2}}
SHUFFLED = {"control": "shuffled_labels"}
Builder = Callable[..., Plan]
RunsOf = Callable[..., dict[str, RunRecord]]


class TestFalseVerdicts:
    def test_are_improvements_and_regressions_of_the_baseline_on_itself(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"E5": E5}, aa=3)
        judgements = judge(plan, runs_of(plan, dict.fromkeys(("baseline", "E5", "AA1", "AA2"), 0.8)))
        judgements |= {
            name: structs.replace(judgements[name], verdict=verdict)
            for name, verdict in (("E5", Verdict.IMPROVED), ("AA1", Verdict.REGRESSION), ("AA2", Verdict.INCONCLUSIVE))
        }
        found = false_verdicts(plan, judgements)
        assert (found.num_arms, found.num_judged, found.wrong) == (3, 2, ("AA1",))

    def test_are_none_without_such_arms(self, a_plan: Builder) -> None:
        plan = a_plan({"E5": E5})
        assert false_verdicts(plan, judge(plan, {})).num_arms == 0


class TestShuffledLabels:
    def test_interval_is_that_of_clopper_and_pearson(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"null": SHUFFLED})
        first, second = shuffled_labels(plan, runs_of(plan, {"null": [0.11, 0.2], "baseline": 0.8}))
        assert (first.experiment, first.num_right, first.num_items, first.chance_percent) == ("null", 22, 200, 10.0)
        wanted = [100 * beta.ppf(0.025, 22, 179), 100 * beta.ppf(0.975, 23, 178)]
        assert [first.low_percent, first.high_percent] == pytest.approx(wanted)
        assert (first.includes_chance, second.includes_chance) == (True, False)

    def test_run_that_was_not_scored_says_nothing(self, a_plan: Builder, runs_of: RunsOf) -> None:
        plan = a_plan({"null": SHUFFLED})
        assert [row.seed for row in shuffled_labels(plan, runs_of(plan, {"null": [None, 0.1]}))] == [1]

    def test_chance_is_one_over_the_transmitters_that_are_learned(self, a_plan: Builder, runs_of: RunsOf) -> None:
        devices = {"LocA": [0, 4], "LocB": [0, 4], "LocD": [0, 4]}
        captures = {name: {"path": f"{name}.h5", "devices": of, "packets": [0, 20]} for name, of in devices.items()}
        plan = a_plan({"null": SHUFFLED}, data={"captures": captures})
        assert shuffled_labels(plan, runs_of(plan, {"null": 0.25}))[0].chance_percent == 25.0


class TestContributions:
    @pytest.fixture
    def full(self, a_plan: Builder) -> Plan:
        return a_plan({"E5": E5, "wide": {"change": {"model.expand_v": 4.0}}}, ablate=("E5", "wide"))

    def test_of_a_part_is_what_is_lost_without_it(self, full: Plan, runs_of: RunsOf) -> None:
        outcomes: dict[str, Any] = {"baseline": 0.7, "E5": [0.80, 0.81], "wide": [0.75, 0.74], "full": [0.9, 0.88]}
        judgements = judge(full, runs_of(full, outcomes))
        by_part = {found.part: found for found in contributions(full, judgements)}
        assert list(by_part) == ["E5", "wide"]
        without = judgements["full-without-E5"]
        assert by_part["E5"].worth_points == pytest.approx(89.0 - 74.5)
        assert (by_part["E5"].low_points, by_part["E5"].high_points) == (-without.high_points, -without.low_points)
        assert by_part["E5"].verdict is without.verdict

    def test_of_what_has_not_run_is_missing_and_never_zero(self, full: Plan) -> None:
        found = contributions(full, judge(full, {}))[0]
        assert (found.worth_points, found.low_points, found.verdict) == (None, None, Verdict.PENDING)

    def test_are_none_without_a_full_stack(self, a_plan: Builder) -> None:
        plan = a_plan({"E5": E5, "H2": H2})
        assert contributions(plan, judge(plan, {})) == []
