"""What the report says of the source's protocol and of the campaign's own."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign.fields import Reported
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import BaselineSpec, JudgingSpec
from orchestrator.report.checks import MEANING, audit_section, controls_section, interaction_rows, part_rows
from orchestrator.report.markdown import render_markdown
from orchestrator.report.page import render_page
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.claims import ClaimVerdict
from orchestrator.verdicts.controls import shuffled_labels
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.interactions import Additivity
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal"}, "reported": {"accuracy": 85.0, "delta": 1.0, "versus": "baseline"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}, "reported": {"accuracy": 85.1, "delta": 0.5, "versus": "E5"}},
    "K1": {"on": "H2", "change": {"model.depth": 4}, "reported": {"accuracy": 83.7, "delta": -1.4, "versus": "H2"}},
    "roll": {"change": {"augment.roll": {}}, "reported": {"accuracy": 37.5, "delta": -47.5, "versus": "E5"}},
    "mean": {"change": {"model.pooling": "mean"}, "reported": {"delta": -3.9}},
}
OUTCOMES: dict[str, Any] = {"baseline": 0.8, "E5": [0.84, 0.85], "H2": [0.84, 0.83], "roll": 0.3, "mean": 0.7}
SOURCE = "## What the source's protocol could have shown"
Builder = Callable[..., Plan]
Judged = tuple[Plan, dict[str, RunRecord], Any]


@pytest.fixture
def judged(a_plan: Builder, runs_of: Callable[..., dict[str, RunRecord]]) -> Callable[..., Judged]:
    def built(outcomes: dict[str, Any] = OUTCOMES, experiments: Any = EXPERIMENTS, **fields: Any) -> Judged:
        plan = a_plan(experiments, **fields)
        records = runs_of(plan, {name: outcome for name, outcome in outcomes.items() if name in plan.arms})
        return plan, records, judge(plan, records)

    return built


def section(markdown: str, heading: str) -> str:
    return markdown.split(f"\n{heading}\n", 1)[1].partition("\n## ")[0]


class TestAudit:
    @pytest.fixture
    def words(self, judged: Callable[..., Judged]) -> dict[str, Any]:
        plan, _, judgements = judged()
        return audit_section(judge_all(plan, {}, judgements))

    def test_counts_the_verdicts_on_claims(self, words: dict[str, Any]) -> None:
        counts = f"1 supported and 4 {ClaimVerdict.WITHIN_REPEAT}"
        assert words["sentence"] == f"Of 5 differences that the source reports: {counts}."

    def test_noise_of_two_runs_is_said_to_be_hardly_known(self, words: dict[str, Any]) -> None:
        assert "E5 (85.0 %) and K1 (83.7 %). That is a standard deviation of 0.9 points for a run" in words["runs"]
        assert "1 degree of freedom only" in words["runs"]
        assert "anything from 0.4 to 29 points (95 % interval)" in words["runs"]

    def test_bursts_are_those_of_the_judged_capture_where_nobody_says(self, words: dict[str, Any]) -> None:
        says = "200 bursts, as many as LocD has here, since the campaign file does not say how many"
        assert words["scored_on"] == says
        assert words["sampling"].startswith("That is 3.6 to 4.3 points here.")
        assert "would then find 3.92 points" in words["sampling"]

    def test_bursts_of_the_campaign_file_are_said_to_be_its_own(self, judged: Callable[..., Judged]) -> None:
        fewer = EXPERIMENTS | {"mean": {"change": {"model.pooling": "mean"}, "reported": {"delta": -3.9, "bursts": 50}}}
        everything = judged(experiments=fewer, baseline=BaselineSpec(reported=Reported(accuracy=84.0, bursts=1000)))
        says = "scored on\n1,000 bursts, as the campaign file says; except for mean (50)."
        assert says in section(render_markdown(judge_all(*everything)), SOURCE)

    def test_interval_of_the_noise_follows_the_campaigns_level(self, judged: Callable[..., Judged]) -> None:
        plan, _, judgements = judged(judging=JudgingSpec(level=0.1))
        assert (
            "anything from 0.5 to 15 points (90 % interval)" in audit_section(judge_all(plan, {}, judgements))["runs"]
        )

    def test_effect_is_given_in_standard_errors_and_points(self, words: dict[str, Any]) -> None:
        assert words["smallest"].startswith(
            "A two-sided test at level 0.05 finds this difference with a power of 80 %: 2.80 standard"
        )

    def test_difference_that_its_accuracies_do_not_give_is_said(self, words: dict[str, Any]) -> None:
        reported = "The source reports +0.5 for H2 against E5"
        assert words["misstated"] == [f"{reported}, but the two accuracies that it reports differ by +0.1."]

    def test_row_has_the_claim_beside_the_replay(self, words: dict[str, Any]) -> None:
        rows = {row["experiment"]: row for row in words["rows"]}
        assert rows["roll"]["verdict"] == "supported"
        assert (rows["roll"]["claimed"], rows["roll"]["delta"]) == ("−47.5", "−50.0")
        assert (rows["mean"]["smallest"], rows["mean"]["verdict"]) == ("–", ClaimVerdict.WITHIN_REPEAT)

    def test_claim_against_a_reported_baseline_can_be_told(self, judged: Callable[..., Judged]) -> None:
        plan, _, judgements = judged(baseline=BaselineSpec(reported=Reported(accuracy=84.0)))
        rows = {row["experiment"]: row for row in audit_section(judge_all(plan, {}, judgements))["rows"]}
        assert float(rows["mean"]["smallest"]) > 3.9

    def test_source_without_a_repeat_is_favoured_and_told_so(self, judged: Callable[..., Judged]) -> None:
        plan, _, judgements = judged(experiments={"E5": EXPERIMENTS["E5"]})
        assert audit_section(judge_all(plan, {}, judgements))["runs"].endswith(
            "leaves it out, which favours the source."
        )

    def test_source_without_accuracies_has_no_standard_error(self, judged: Callable[..., Judged]) -> None:
        plan, _, judgements = judged(experiments={"mean": EXPERIMENTS["mean"]})
        words = audit_section(judge_all(plan, {}, judgements))
        assert words["sampling"] == "The source gives no accuracies, so nobody can compute a standard error."
        assert words["smallest"].endswith("2.80 standard errors.")

    def test_few_bursts_are_said_to_show_nothing(self, judged: Callable[..., Judged]) -> None:
        plan, _, judgements = judged(baseline=BaselineSpec(reported=Reported(bursts=4)))
        assert (
            "with so few bursts, no difference could be found"
            in audit_section(judge_all(plan, {}, judgements))["sampling"]
        )

    def test_section_stands_in_the_report_and_in_the_page(self, judged: Callable[..., Judged]) -> None:
        markdown = render_markdown(judge_all(*judged()))
        found = section(markdown, SOURCE)
        assert "| E5 | +1.0 | baseline | " in found
        assert re.search(r"own repeat it is −0\.3 \|", found)
        assert f"*{ClaimVerdict.WITHIN_REPEAT}*: a t-test, with the freedom of the repeats" in found
        assert f"<td>{ClaimVerdict.WITHIN_REPEAT}</td>" in render_page("t", markdown, {})

    def test_campaign_without_claims_says_so(self, judged: Callable[..., Judged]) -> None:
        markdown = render_markdown(judge_all(*judged(experiments={"E5": {"change": {"loss.kind": "focal"}}})))
        assert "The campaign file has no difference that its source reports" in section(markdown, SOURCE)


class TestControls:
    def test_false_verdicts_are_counted_and_named(self, judged: Callable[..., Judged]) -> None:
        outcomes = {"baseline": 0.8, "E5": 0.8, "AA1": 0.2, "AA2": [0.8, 0.82]}
        plan, records, judgements = judged(outcomes, {"E5": EXPERIMENTS["E5"]}, aa=2)
        wrong = structs.replace(judgements["AA1"], verdict=Verdict.REGRESSION)
        everything = (plan, records, judgements | {"AA1": wrong})
        words = controls_section(judge_all(*everything))
        assert words["aa"].startswith("2 A/A arms: the baseline again under other seeds")
        assert words["aa"].endswith("False verdicts (improved or regression): 1 of 2 judged (AA1).")
        assert words["aa"] in section(render_markdown(judge_all(*everything)), "## Controls")

    def test_shuffled_labels_stand_beside_chance(self, judged: Callable[..., Judged]) -> None:
        everything = judged({"null": [0.1, 0.3]}, {"null": {"control": "shuffled_labels"}})
        words = controls_section(judge_all(*everything))
        assert words["shuffled_sentence"].startswith(
            "2 runs trained on shuffled labels. In 1 the interval does not include"
        )
        assert [row["holds"] for row in words["shuffled"]] == ["yes", "no"]
        one = shuffled_labels(*everything[:2])[0]
        interval = f"{one.low_percent:.1f} % to {one.high_percent:.1f} %"
        row = re.escape(f"10.0 % (20 of 200) | {interval} | 10.0 % | yes |")
        assert re.search(
            rf"^\| null \| `null-s0-\w+` \| {row}$",
            section(render_markdown(judge_all(*everything)), "## Controls"),
            re.M,
        )

    def test_campaign_without_any_says_so(self, judged: Callable[..., Judged]) -> None:
        assert "None: the campaign has no A/A arm" in section(render_markdown(judge_all(*judged())), "## Controls")


class TestParts:
    def test_interaction_is_said_in_words(self, judged: Callable[..., Judged]) -> None:
        pair = {name: EXPERIMENTS[name] for name in ("E5", "mean")}
        outcomes = {"baseline": 0.5, "E5": 0.55, "mean": 0.52, "E5-and-mean": 0.95}
        everything = judged(outcomes, pair, interactions=(("E5", "mean"),))
        (row,) = interaction_rows(judge_all(*everything))
        assert (row["first"], row["second"], row["both"], row["contrast"]) == ("+5.0", "+2.0", "+45.0", "+38.0")
        assert (row["verdict"], row["meaning"]) == ("synergy", "both together do more than the sum of each")
        assert row["p"] == row["adjusted_p"] == "< 0.001"
        table = section(render_markdown(judge_all(*everything)), "## Do two changes add up?")
        assert "| E5 and mean | baseline | +5.0 | +2.0 | +45.0 | +38.0 | [" in table

    def test_every_word_of_a_pair_has_its_sentence(self) -> None:
        assert list(MEANING) == list(Additivity)
        assert MEANING[Additivity.WAITS] == "one of the four arms is undecided; the numbers are from the last look"

    def test_pair_that_has_not_run_needs_seeds(self, judged: Callable[..., Judged]) -> None:
        pair = {name: EXPERIMENTS[name] for name in ("E5", "mean")}
        (row,) = interaction_rows(judge_all(*judged({}, pair, interactions=(("E5", "mean"),))))
        assert (row["contrast"], row["interval"], row["verdict"]) == ("–", "–", "needs_seeds")

    def test_part_is_worth_what_is_lost_without_it(self, judged: Callable[..., Judged]) -> None:
        parts = {name: EXPERIMENTS[name] for name in ("E5", "mean")}
        outcomes = {"baseline": 0.5, "E5": 0.55, "mean": 0.52, "full": 0.9}
        everything = judged(outcomes, parts, ablate=("E5", "mean"))
        plan, _, judgements = everything
        rows = {row["part"]: row for row in part_rows(judge_all(plan, {}, judgements))}
        assert (rows["E5"]["worth"], rows["mean"]["worth"]) == ("+38.0", "+35.0")
        assert "| E5 | full-without-E5 | full | +38.0 | [" in render_markdown(judge_all(*everything))

    def test_sections_are_left_out_where_nothing_was_asked_for(self, judged: Callable[..., Judged]) -> None:
        markdown = render_markdown(judge_all(*judged()))
        assert "## Do two changes add up?" not in markdown
        assert "## What each part is worth" not in markdown
