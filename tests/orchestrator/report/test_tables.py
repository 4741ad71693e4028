"""Tables hold what the runs left, and leave empty what nobody knows."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.report.metric_tables import strata_table
from orchestrator.report.tables import (
    audit_table,
    claims_table,
    epochs_table,
    interactions_table,
    judged_column,
    ledger_table,
    runs_table,
    scores_table,
    seeds_table,
)
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.claims import ClaimVerdict
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.interactions import judge_interactions
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.staged import judge_as_declared

SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
EXPERIMENTS = {
    "E5": {"change": {"loss.kind": "focal"}, "reported": {"accuracy": 85.0, "delta": 1.0, "versus": "baseline"}},
    "H2": {"on": "E5", "change": {"loss.gamma": 3.0}},
    "K1": {"on": "H2", "change": {"loss.gamma": 2.0}, "reported": {"accuracy": 83.7, "delta": -1.4}},
    "wide": {"change": {"model.expand_v": 4.0}, "reported": {"outcome": "too_slow"}},
}


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


@pytest.fixture
def records(plan: Plan, runs_of: Callable[..., dict[str, RunRecord]]) -> dict[str, RunRecord]:
    """H2 has not run at its second seed, and `wide` was stopped at its first."""
    outcomes = {"baseline": 0.80, "E5": [0.84, 0.86], "H2": [0.85, None], "wide": [SLOW]}
    found = runs_of(plan, outcomes, provenance={"commit": "abc", "branch": "experiment/x"})
    del found[plan.run_of["H2", 1]]
    return found


@pytest.fixture
def judgements(plan: Plan, records: dict[str, RunRecord]) -> dict[str, Judgement]:
    return judge(plan, records)


def row_of(frame: pd.DataFrame, **where: object) -> dict[str, Any]:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return {str(name): None if pd.isna(value) else value for name, value in frame.iloc[0].items()}


class TestRuns:
    def test_each_training_has_one_row_and_names_who_shares_it(self, plan: Plan, records: dict[str, RunRecord]) -> None:
        frame = runs_table(plan, records)
        assert len(frame) == len(plan.runs) == 8
        assert row_of(frame, experiment="E5", seed=0)["shared_by"] == "K1"

    def test_scores_are_percent_and_warm_up_stays_out_of_the_median(
        self, plan: Plan, records: dict[str, RunRecord]
    ) -> None:
        row = row_of(runs_table(plan, records), experiment="E5", seed=0)
        assert row["LocD"] == pytest.approx(84.0)
        assert (row["epochs"], row["best_epoch"]) == (4, 2)
        assert (row["median_epoch_seconds"], row["training_seconds"]) == (1.0, 12.0)
        assert (row["state"], row["commit"], row["branch"]) == ("done", "abc", "experiment/x")

    def test_run_without_a_record_is_empty_never_zero(self, plan: Plan, records: dict[str, RunRecord]) -> None:
        row = row_of(runs_table(plan, records), experiment="H2", seed=1)
        assert {name for name, value in row.items() if value is not None} == {"experiment", "seed", "run"}

    def test_stopped_run_says_why_and_has_no_score(self, plan: Plan, records: dict[str, RunRecord]) -> None:
        row = row_of(runs_table(plan, records), experiment="wide", seed=0)
        assert (row["state"], row["reason"], row["LocD"]) == ("too_slow", SLOW.reason, None)

    def test_run_whose_result_was_taken_from_older_code_names_it(
        self, plan: Plan, runs_of: Callable[..., dict[str, RunRecord]]
    ) -> None:
        accepted = {"run": "E5-s0-1a2b3c4d", "code_tree": "c0de", "by": "Ada", "files": []}
        frame = runs_table(plan, runs_of(plan, {"E5": [0.8]}, provenance={"accepted": accepted}))
        assert row_of(frame, experiment="E5", seed=0)["accepted_from"] == "E5-s0-1a2b3c4d"
        assert row_of(frame, experiment="E5", seed=1)["accepted_from"] is None

    def test_columns_have_their_types_without_any_record(self, plan: Plan) -> None:
        frame = runs_table(plan, {})
        assert frame["LocD"].dtype == "float64"
        assert frame["epochs"].isna().all()


class TestScores:
    def test_row_repeats_the_judgement(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        row = row_of(scores_table(judge_all(plan, {}, judgements)), experiment="E5")
        judged = judgements["E5"]
        assert row["LocD"] == pytest.approx(85.0)
        assert (row["delta_points"], row["low_points"]) == (judged.delta_points, judged.low_points)
        assert (row["verdict"], row["reason"], row["num_paired"]) == (judged.verdict, judged.reason, 2)

    def test_baseline_has_an_accuracy_and_no_comparison(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        row = row_of(scores_table(judge_all(plan, {}, judgements)), experiment="baseline")
        assert row["LocD"] == pytest.approx(80.0)
        assert {row[name] for name in ("delta_points", "verdict", "num_paired", "num_items", "p_value")} == {None}

    def test_single_pair_has_a_difference_without_an_interval(
        self, plan: Plan, judgements: dict[str, Judgement]
    ) -> None:
        row = row_of(scores_table(judge_all(plan, {}, judgements)), experiment="H2")
        assert row["delta_points"] == pytest.approx(1.0)
        assert (row["low_points"], row["adjusted_p_value"], row["num_scored"]) == (None, None, 1)

    def test_confounds_are_joined_and_empty_where_there_is_none(
        self, plan: Plan, judgements: dict[str, Judgement]
    ) -> None:
        mixed = judgements | {"H2": structs.replace(judgements["H2"], confounds=("code: a", "data: b"))}
        frame = scores_table(judge_all(plan, {}, mixed))
        assert row_of(frame, experiment="H2")["confounded"] == "code: a; data: b"
        assert frame["confounded"].isna().sum() == len(plan.arms) - 1

    def test_confirmation_stands_beside_what_it_confirms(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        fresh = Estimate(delta_points=1.0, low_points=0.5, high_points=1.5, level=0.1)
        confirmed = structs.replace(judgements["E5"], fresh=fresh, is_confirmed=True, look_seeds=4)
        frame = scores_table(judge_all(plan, {}, judgements | {"E5": confirmed}))
        row = row_of(frame, experiment="E5")
        assert (row["fresh_delta_points"], row["fresh_low_points"], row["fresh_high_points"]) == (1.0, 0.5, 1.5)
        assert (row["look_seeds"], row["is_confirmed"], row["level"], row["fresh_level"]) == (4, True, 0.05, 0.1)
        other = row_of(frame, experiment="H2")
        assert (other["fresh_delta_points"], other["is_confirmed"]) == (None, None)

    def test_twin_names_the_experiment_whose_runs_it_shares(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        assert row_of(scores_table(judge_all(plan, {}, judgements)), experiment="K1")["same_as"] == "E5"

    def test_nothing_is_said_of_a_confirmation_that_waits(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        waiting = structs.replace(judgements["E5"], fresh=Estimate(), is_confirmed=False)
        row = row_of(scores_table(judge_all(plan, {}, judgements | {"E5": waiting})), experiment="E5")
        assert (row["fresh_delta_points"], row["is_confirmed"]) == (None, None)


class TestSeeds:
    def test_mean_is_over_what_is_used_for_the_look(
        self, plan: Plan, records: dict[str, RunRecord], judgements: dict[str, Judgement]
    ) -> None:
        seeds = seeds_table(judge_all(plan, records, judgements))
        means = seeds[seeds["used_for"] == "look"].groupby("experiment")["LocD"].mean()
        scores = scores_table(judge_all(plan, {}, judgements)).set_index("experiment")["LocD"]
        for name in ("baseline", "E5", "H2"):
            assert means[name] == pytest.approx(scores[name])
        assert len(seeds) == len(plan.arms) * 2

    def test_seed_without_a_score_is_used_for_nothing(
        self, plan: Plan, records: dict[str, RunRecord], judgements: dict[str, Judgement]
    ) -> None:
        row = row_of(seeds_table(judge_all(plan, records, judgements)), experiment="H2", seed=1)
        assert {name for name, value in row.items() if value is not None} == {"experiment", "seed", "unit"}


class TestStagedSeeds:
    """UP and its twin improve at the first look, DOWN is worse; WIDE, on UP, takes UP along and stays undecided.

    The baseline ran at all seeds, though nothing was compared with it at two of them.
    """

    EXPERIMENTS = {
        "UP": {"change": {"loss.kind": "focal"}},
        "UP2": {"change": {"loss.kind": "focal"}},
        "DOWN": {"change": {"augment.roll": {}}},
        "WIDE": {"on": "UP", "change": {"model.expand_v": 4.0}},
    }

    @pytest.fixture
    def judged(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
    ) -> tuple[Plan, dict[str, RunRecord], dict[str, Judgement]]:
        staging = StagingSpec(screen_seeds=2, max_seeds=4, confirm_seeds=2)
        plan = a_plan(self.EXPERIMENTS, seeds=tuple(range(6)), staging=staging)
        outcomes = {"baseline": [0.5] * 6, "UP": [0.9] * 6, "DOWN": [0.1] * 2, "WIDE": [0.93, 0.88, 0.92, 0.91]}
        records = runs_of(plan, outcomes)
        judged, judgements = judge_as_declared(plan, records)
        return judged, records, judgements

    def uses(self, judged: Any, experiment: str) -> list[str | None]:
        frame = seeds_table(judge_all(*judged))
        assert frame["LocD"][frame["used_for"].notna()].notna().all()
        found = frame[frame["experiment"] == experiment]["used_for"]
        return [None if pd.isna(use) else use for use in found]

    def test_every_score_says_what_it_is_used_for(self, judged: Any) -> None:
        assert self.uses(judged, "baseline") == ["look"] * 2 + [None] * 2 + ["reference"] * 2
        assert self.uses(judged, "UP") == ["look"] * 2 + ["reference"] * 2 + ["fresh"] * 2
        assert self.uses(judged, "UP2") == self.uses(judged, "UP")
        assert self.uses(judged, "DOWN") == ["look"] * 2 + [None] * 4
        assert self.uses(judged, "WIDE") == ["look"] * 4 + [None] * 2

    def test_every_scored_run_has_its_accuracy(self, judged: Any) -> None:
        plan, records, _ = judged
        frame = seeds_table(judge_all(*judged))
        scored = {run for run, record in records.items() if record.result and record.result.scores}
        cells = zip(frame["experiment"], frame["seed"], frame["LocD"], strict=True)
        assert {plan.run_of[name, seed] for name, seed, accuracy in cells if not pd.isna(accuracy)} == scored

    def test_difference_of_the_look_and_of_the_fresh_seeds_stand_apart(self, judged: Any) -> None:
        judgement = judged[2]["UP"]
        rows = seeds_table(judge_all(*judged)).set_index(["experiment", "seed"]).loc["UP"]
        assert rows["delta_points"].dropna().to_dict() == judgement.delta_points_of
        assert rows["fresh_delta_points"].dropna().to_dict() == judgement.fresh.delta_points_of
        assert rows[rows["used_for"] == "fresh"].index.tolist() == [4, 5]

    def test_fresh_score_that_waits_for_the_other_side_is_fresh(self, judged: Any) -> None:
        plan, records, _ = judged
        fewer = {run: record for run, record in records.items() if run != plan.run_of["baseline", 5]}
        again = judge_as_declared(plan, fewer)[1]
        assert self.uses((plan, fewer, again), "UP")[4:] == ["fresh"] * 2
        assert self.uses((plan, fewer, again), "baseline")[4:] == ["reference", None]
        lone = {run: record for run, record in records.items() if run != plan.run_of["UP", 5]}
        again = judge_as_declared(plan, lone)[1]
        assert self.uses((plan, lone, again), "baseline")[4:] == ["reference"] * 2

    def test_devices_are_over_the_seeds_of_the_mean(self, judged: Any) -> None:
        scores = scores_table(judge_all(judged[0], {}, judged[2])).set_index("experiment")["LocD"]
        devices = strata_table(judge_all(*judged)).groupby("experiment")["LocD"].mean()
        for name in ("baseline", "UP", "WIDE"):
            assert devices[name] == pytest.approx(scores[name])


class TestClaims:
    def test_only_what_is_reported_has_a_row(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        frame = claims_table(judge_all(plan, {}, judgements))
        assert frame["experiment"].tolist() == ["E5", "K1", "wide"]
        assert row_of(frame, experiment="E5")["reported_versus"] == "baseline"

    def test_stop_that_the_source_reports_as_well(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        row = row_of(claims_table(judge_all(plan, {}, judgements)), experiment="wide")
        assert (row["agreement"], row["reported_delta_points"]) == ("stopped as reported", None)


def test_devices_average_to_the_accuracy_on_the_judged_capture(
    plan: Plan, records: dict[str, RunRecord], judgements: dict[str, Judgement]
) -> None:
    frame = strata_table(judge_all(plan, records, judgements))
    ours = frame[frame["experiment"] == "E5"]
    assert ours["stratum"].tolist() == [str(number) for number in range(10)]
    assert (ours["num_items"].sum(), set(ours["num_seeds"])) == (400, {2})
    assert ours[judged_column(plan)].mean() == pytest.approx(judgements["E5"].score)
    assert "wide" not in set(frame["experiment"])


def test_epochs_table_has_a_row_for_each_epoch_that_ended(plan: Plan, records: dict[str, RunRecord]) -> None:
    frame = epochs_table(plan, records)
    assert len(frame) == sum(len(record.epochs) for record in records.values())
    assert {"run", "experiment", "seed", "epoch", "seconds", "val_loss", "grad_norm"} <= set(frame.columns)
    assert frame["epoch"].dtype == "Int64"
    assert list(epochs_table(plan, {}).columns) == list(frame.columns)


class TestAudit:
    def test_row_has_the_sources_difference_beside_ours(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        frame = audit_table(judge_all(plan, {}, judgements))
        assert frame["experiment"].tolist() == ["E5", "K1"]
        row = row_of(frame, experiment="E5")
        assert (row["reported_delta_points"], row["delta_points"]) == (1.0, judgements["E5"].delta_points)
        assert (row["low_points"], row["high_points"]) == judgements["E5"].interval_points
        assert (row["standing"], row["agreement"]) == (ClaimVerdict.WITHIN_REPEAT, "cannot tell")
        assert row["repeat_delta_points"] == pytest.approx(-0.3)

    def test_bursts_and_the_level_of_each_interval_are_named(
        self, plan: Plan, judgements: dict[str, Judgement]
    ) -> None:
        at_look = judgements | {"E5": structs.replace(judgements["E5"], level=0.02)}
        row = row_of(audit_table(judge_all(plan, {}, at_look)), experiment="E5")
        assert (row["num_items"], row["level"]) == (200, 0.02)
        assert row_of(claims_table(judge_all(plan, {}, at_look)), experiment="E5")["level"] == 0.02

    def test_agreement_is_that_of_the_claims(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        claims = claims_table(judge_all(plan, {}, judgements)).set_index("experiment")["agreement"]
        audited = audit_table(judge_all(plan, {}, judgements)).set_index("experiment")["agreement"]
        assert audited.to_dict() == claims[audited.index].to_dict()

    def test_columns_have_their_types_without_any_claim(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
        frame = audit_table(judge_all(plan, {}))
        assert len(frame) == 0
        assert frame["detectable_points"].dtype == "float64"


class TestInteractions:
    EXPERIMENTS: dict[str, dict[str, Any]] = {
        "A": {"change": {"model.depth": 2}},
        "B": {"change": {"model.pooling": "mean"}},
    }

    def test_row_has_the_effects_and_what_is_left_over(
        self, a_plan: Callable[..., Plan], runs_of: Callable[..., dict[str, RunRecord]]
    ) -> None:
        plan = a_plan(self.EXPERIMENTS, interactions=(("A", "B"),))
        records = runs_of(plan, {"baseline": 0.5, "A": 0.55, "B": 0.52, "A-and-B": 0.95})
        judgements = judge(plan, records)
        row = row_of(interactions_table(judge_all(plan, records, judgements)), first="A", second="B")
        (found,) = judge_interactions(plan, records, judgements)
        assert [row[cell] for cell in ("neither", "only_first", "only_second", "both")] == list(plan.arms)
        effects = [row[f"{name}_points"] for name in ("first", "second", "both", "contrast")]
        assert effects == pytest.approx([5.0, 2.0, 45.0, 38.0])
        assert (row["p_value"], row["low_points"]) == (found.contrast.p_value, found.contrast.low_points)
        assert (row["adjusted_p_value"], row["equivalence_p_value"]) == (
            found.adjusted_p_value,
            found.equivalence_p_value,
        )
        assert (row["num_seeds"], row["num_items"], row["verdict"]) == (2, 200, "synergy")

    def test_pair_without_runs_has_no_numbers(self, a_plan: Callable[..., Plan]) -> None:
        plan = a_plan(self.EXPERIMENTS, interactions=(("A", "B"),))
        row = row_of(interactions_table(judge_all(plan, {})), first="A")
        assert (row["num_seeds"], row["verdict"]) == (0, "needs_seeds")
        assert pd.isna([row[name] for name in ("contrast_points", "p_value", "adjusted_p_value", "low_points")]).all()

    def test_columns_have_their_types_without_any_pair(self, plan: Plan, judgements: dict[str, Judgement]) -> None:
        frame = interactions_table(judge_all(plan, {}, judgements))
        assert (len(frame), str(frame["p_value"].dtype), str(frame["num_seeds"].dtype)) == (0, "float64", "Int64")


def test_ledger_has_a_row_for_each_scoring(plan: Plan, records: dict[str, RunRecord]) -> None:
    frame = ledger_table(judge_all(plan, records))
    assert frame["experiment"].tolist() == ["baseline", "E5", "H2", "baseline", "E5"]
    row = row_of(frame, experiment="E5", seed=0)
    assert (row["metric"], row["shared_by"], row["num_items"], row["num_right"]) == ("LocD", "K1", 200, 168)
    assert row["scored_by"] == row["run"] == plan.run_of["E5", 0]
    assert ledger_table(judge_all(plan, {}))["seed"].dtype == "Int64"
