"""Each look at the reported captures is counted, once."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.search_spec import FloatSpace, SearchSpec
from orchestrator.campaign.spec import StagingSpec
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.ledger import describe_scorings, list_scorings

SLOW = Result(state="too_slow", reason="slow", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}},
    "K1": {"on": "H2", "change": {"model.depth": 4}},
    "wide": {"change": {"model.expand_v": 4.0}},
}
OUTCOMES = {"baseline": 0.8, "E5": 0.8, "H2": [0.8, None], "wide": SLOW}
RunsOf = Callable[..., dict[str, RunRecord]]


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


def test_each_run_that_was_scored_counts_once_and_names_who_reads_it(plan: Plan, runs_of: RunsOf) -> None:
    found = list_scorings(plan, runs_of(plan, OUTCOMES))
    assert [(each.experiment, each.seed) for each in found] == [
        ("baseline", 0), ("E5", 0), ("H2", 0), ("baseline", 1), ("E5", 1),
    ]  # fmt: skip
    assert {each.experiment: each.shared_by for each in found} == {"baseline": (), "E5": ("K1",), "H2": ()}
    assert {(each.metric, each.num_items, each.num_right) for each in found} == {("LocD", 200, 160)}


def test_run_without_a_result_or_without_a_record_was_not_scored(plan: Plan, runs_of: RunsOf) -> None:
    assert list_scorings(plan, {}) == []
    assert list_scorings(plan, runs_of(plan, {"wide": SLOW, "H2": [None, None]})) == []


def test_result_of_older_code_is_one_scoring_of_the_older_run(plan: Plan, runs_of: RunsOf) -> None:
    accepted = {"accepted": {"run": "E5-s0-1a2b3c4d"}}
    records = runs_of(plan, {"baseline": 0.8}) | runs_of(plan, {"E5": [0.8], "H2": [0.8]}, provenance=accepted)
    found = list_scorings(plan, records)
    assert [each.scored_by for each in found if each.experiment == "E5"] == ["E5-s0-1a2b3c4d"]
    assert len(found) == 3


def test_every_reported_capture_is_counted_by_itself(
    a_plan: Callable[..., Plan], a_run: Callable[..., RunRecord]
) -> None:
    plan = a_plan({}, data={"validate": ["LocA"], "train": ["LocB"], "report": ["LocD", "LocE"]} | _captures("LocE"))
    run = a_run(plan, "baseline", 0, 0.8)
    run.scores["LocE"] = run.scores["LocD"]
    found = list_scorings(plan, {run.id: run})
    assert [(each.metric, each.run) for each in found] == [("LocD", run.id), ("LocE", run.id)]
    assert [sentence[:4] for sentence in describe_scorings(plan, found)[:2]] == ["LocD", "LocE"]


def _captures(*more: str) -> dict[str, Any]:
    names = ("LocA", "LocB", "LocD", *more)
    return {"captures": {name: {"path": f"{name}.h5", "devices": [0, 10], "packets": [0, 20]} for name in names}}


def test_sentence_gives_the_counts_and_what_chose(plan: Plan, runs_of: RunsOf) -> None:
    first, *_ = describe_scorings(plan, list_scorings(plan, runs_of(plan, OUTCOMES)))
    counts = "LocD was scored 5 times, by 5 runs of 3 configurations, the baseline and controls among them"
    used = "verdicts by it decide which experiments are kept and built on"
    assert first == f"{counts}; no epoch and no search was chosen by it; {used}."


def test_what_searches_may_look_at_is_named_where_there_is_any(a_plan: Callable[..., Plan]) -> None:
    choosing = a_plan({}, data=_captures("LocC") | {"choose": ["LocC"]})
    assert "Searches may look at LocC alone." in describe_scorings(choosing, [])
    assert not [words for words in describe_scorings(a_plan({}), []) if "Searches" in words]


def test_the_runs_of_searches_are_said_to_be_scored_too(a_plan: Callable[..., Plan]) -> None:
    choosing = a_plan({}, data=_captures("LocC") | {"choose": ["LocC"]})
    search = SearchSpec(title="Focus", space={"loss.gamma": FloatSpace(low=0.5, high=5.0)})
    searching = structs.replace(choosing, campaign=structs.replace(choosing.campaign, searches={"focal": search}))
    (words,) = [words for words in describe_scorings(searching, []) if "Searches" in words]
    told = "their runs are scored here too, once each, but nothing uses these scores and they are not counted."
    assert words.endswith(f"alone; {told}")


def test_giving_out_seeds_is_said_to_be_a_choice_on_the_judged_capture_alone(a_plan: Callable[..., Plan]) -> None:
    two = {"validate": ["LocA"], "train": ["LocB"], "report": ["LocD", "LocE"]} | _captures("LocE")
    judged, other, *rest = describe_scorings(a_plan({}, staging=StagingSpec(), seeds=tuple(range(12)), data=two), [])
    words = "verdicts by it decide which experiments got more seeds, at levels that add up"
    assert judged.endswith(f"; {words}, and which experiments are kept and built on.")
    assert other.endswith("; no epoch and no search was chosen by it.")
    assert not [sentence for sentence in rest if "chosen" in sentence or "more seeds" in sentence]
    assert not [sentence for sentence in describe_scorings(a_plan({}), []) if "more seeds" in sentence]


def test_what_left_no_trace_is_said_to_be_uncounted(plan: Plan) -> None:
    uncounted = describe_scorings(plan, [])[-1]
    assert "results that a second try replaced" in uncounted
    assert "scorings by hand" in uncounted
