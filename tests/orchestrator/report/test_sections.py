"""What a report says of a single experiment: where its seeds were given out look by look, and where it is a control."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign.spec import StagingSpec
from orchestrator.report.markdown import render_markdown
from orchestrator.report.page import render_page
from orchestrator.report.sections import verdict_sentence
from orchestrator.report.steps import say_steps
from orchestrator.report.tables import scores_table
from orchestrator.runs.folder import Result
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict
from orchestrator.verdicts.staged import judge_as_declared
from orchestrator.verdicts.steps import work_out
from tests.builders.reports import EXPERIMENTS, SLOW, Render, renderer, section

DIED = Result(state="failed", failure="out_of_memory", reason="the job held 3.9 GiB", epochs=1)

Judged = Callable[[float | None], Any]


@pytest.fixture
def render(a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Render:
    return renderer(a_plan, runs_of)


class TestStaged:
    """Where seeds are given out look by look."""

    @pytest.fixture
    def staged(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Judged:
        """A campaign in which E5 does so on fresh seeds."""

        def judged(on_fresh: float | None) -> Any:
            staging = StagingSpec(screen_seeds=2, max_seeds=4, confirm_seeds=2)
            plan = a_plan(EXPERIMENTS, seeds=tuple(range(6)), staging=staging)
            fresh = [] if on_fresh is None else [on_fresh] * 2
            outcomes = {
                "baseline": [0.8] * 6,
                "E5": [0.95] * 4 + fresh,
                "H2": [0.95] * 6,
                "wide": SLOW,
                "roll": [0.2] * 2,
            }
            records = runs_of(plan, outcomes)
            plan, judgements = judge_as_declared(plan, records)
            return plan, records, judgements

        return judged

    @pytest.fixture
    def markdown(self, staged: Judged) -> str:
        return render_markdown(judge_all(*staged(0.95)))

    def cells(self, markdown: str, experiment: str) -> dict[str, str]:
        lines = re.findall(r"^\| (.*) \|$", section(markdown, "## Result summary"), re.MULTILINE)
        header, *rows = (line.split(" | ") for line in lines)
        return dict(zip(header, next(row for row in rows if row[0] == experiment), strict=True))

    def test_confirmation_stands_beside_the_difference_that_was_found(self, markdown: str) -> None:
        found = self.cells(markdown, "E5")
        assert (found["verdict"], found["delta"], found["seeds"]) == ("improved (confirmed)", "+15.0", "2")
        assert re.fullmatch(r"\+15\.0 \[\+[\d.]+, \+[\d.]+\] \(90 %\), confirmed", found["on fresh seeds"])
        assert self.cells(markdown, "roll")["on fresh seeds"] == "–"

    def test_interval_of_a_look_names_its_own_coverage(self, markdown: str) -> None:
        interval = self.cells(markdown, "E5")["95 % interval"]
        coverage = re.fullmatch(r"\[\+[\d.]+, \+[\d.]+\] \(([\d.]+) %\)", interval)
        assert coverage is not None
        assert 95 < float(coverage[1]) < 100
        assert f"{interval} against baseline: **improved (confirmed)**" in section(markdown, "### E5")
        assert f" | {interval} | " in section(markdown, "## Reported and replayed")
        assert f" | {interval} | " in section(markdown, "## What the source's protocol could have shown")

    def test_how_to_read_it_is_said_where_there_are_looks_and_only_there(self, markdown: str, render: Render) -> None:
        words = " ".join(section(markdown, "## How to read the verdicts").split())
        assert (
            "a one-sided test at the level 0.05 puts the difference above zero. In other words, its 90 % interval"
            in words
        )
        assert "over the seeds of the look that gave its verdict" in words
        assert "**(to be confirmed)**, beside improved" in words
        assert "fresh seeds" not in section(render(), "## How to read the verdicts")
        assert "fresh seeds" not in section(render(), "## Result summary")

    def test_section_says_what_each_seed_is_used_for(self, markdown: str, render: Render) -> None:
        rows = re.findall(
            r"^\| (\d) \| [^|]+ \| ([^|]+) \| ([^|]+) \| `E5-s", section(markdown, "### E5"), re.MULTILINE
        )
        used = ["its mean"] * 2 + ["others, as their reference"] * 2 + ["its confirmation"] * 2
        assert [use for _, _, use in rows] == used
        assert [delta for _, delta, _ in rows] == ["+15.0"] * 2 + ["–"] * 2 + ["+15.0"] * 2
        assert "| delta | used for | run |" in markdown
        assert "| delta | run |" in render()

    def test_coverage_of_the_fresh_interval_is_written_where_it_is_another(self, staged: Judged) -> None:
        plan, records, judgements = staged(0.95)
        fresh = structs.replace(judgements["E5"].fresh, level=0.1)
        found = self.cells(
            render_markdown(
                judge_all(plan, records, judgements | {"E5": structs.replace(judgements["E5"], fresh=fresh)})
            ),
            "E5",
        )
        assert found["on fresh seeds"].endswith("] (90 %), confirmed")

    @pytest.mark.parametrize(
        ("on_fresh", "mark", "words"),
        [
            (0.95, "confirmed", "E5 helps: {beside}, and fresh seeds confirm it."),
            (0.8, "not confirmed", "E5 seemed to help: {beside}; fresh seeds do not confirm it."),
            (None, "to be confirmed", "E5 seems to help: {beside}; fresh seeds have yet to confirm it."),
        ],
    )
    def test_improvement_says_everywhere_what_fresh_seeds_say(
        self, staged: Judged, on_fresh: float | None, mark: str, words: str
    ) -> None:
        plan, records, judgements = staged(on_fresh)
        markdown = render_markdown(judge_all(plan, records, judgements))
        assert self.cells(markdown, "E5")["verdict"] == f"improved ({mark})"
        assert f"1 improved (1 {mark})" in markdown.partition("\n## ")[0]
        beside = "+15.0 points on LocD against baseline"
        assert verdict_sentence(plan, judgements["E5"]) == words.format(beside=beside)
        cell = f">improved ({mark})</td>"
        is_coloured = f'<td class="improved"{cell}' in render_page("t", markdown, {})
        assert is_coloured == (mark == "confirmed")
        assert f"<td{cell}" in render_page("t", markdown, {}) or is_coloured


def test_error_says_whose_spread_over_seeds_it_is(render: Render) -> None:
    scored = {"baseline": [0.8, 0.82], "E5": [0.92, 0.9], "H2": [0.9, 0.91], "wide": [0.8, 0.78], "roll": [0.6, 0.61]}
    markdown = render({**scored, "AA1": [0.81, 0.8]}, aa=1)
    assert "from seeds (their spread pooled with that of the campaign's other arms)," in section(markdown, "### E5")
    assert "from seeds (their spread that of every run of the baseline)," in section(markdown, "### AA1")


class TestShuffled:
    """Labels without meaning are held against chance."""

    @pytest.fixture
    def markdown(self, render: Render) -> str:
        null = {"null": {"control": "shuffled_labels"}}
        return render({"baseline": 0.8, "E5": 0.92, "null": [0.1, 0.12]}, EXPERIMENTS | null)

    def test_difference_is_not_shown_and_the_chance_table_is(self, markdown: str) -> None:
        assert "| null | Title of null | baseline | 11.0 % | – | – | – | – | – |\n" in section(
            markdown, "## Result summary"
        )
        words = section(markdown, "### null")
        assert "**Result.** 11.0 % on LocD.\n" in words
        assert "Standard error" not in words
        assert "is not known yet" not in markdown
        assert "| null | `null-s0-" in section(markdown, "## Controls")

    def test_row_stands_last(self, markdown: str) -> None:
        names = re.findall(r"^\| (\w+) \|", section(markdown, "## Result summary"), re.MULTILINE)
        assert (names[1], names[-1]) == ("baseline", "null")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ([0.95, 0.95], "E5 helps: +15.0 points on LocD against baseline."),
        ([0.60, 0.60], "E5 hurts: −20.0 points on LocD against baseline."),
        ([0.82, 0.81], "The effect of E5 is not known yet: +1.5 points on LocD against baseline, which may be chance."),
        ([0.82, None], "E5 has too few seeds for a verdict."),
        (SLOW, "E5 was stopped because it is too slow."),
        (DIED, "E5 failed in every run."),
        (None, "E5 has not run yet."),
    ],
)
def test_verdict_is_one_sentence(
    a_plan: Callable[..., Any], runs_of: Callable[..., Any], outcome: Any, words: str
) -> None:
    plan = a_plan({"E5": EXPERIMENTS["E5"]})
    judgements = judge(plan, runs_of(plan, {"baseline": 0.80, "E5": outcome}))
    assert verdict_sentence(plan, judgements["E5"]) == words
    assert verdict_sentence(plan, judgements["baseline"]) == ""


def test_no_change_is_one_sentence_with_its_margin(render: Render) -> None:
    words = section(render({"baseline": 0.8, "E5": [0.81, 0.8]}, {"E5": EXPERIMENTS["E5"]}, margin=30.0), "### E5")
    assert (
        "**E5 makes no difference that matters: +0.5 points on LocD against baseline; the margin is ±30 points.**"
        in words
    )


def test_a_verdict_that_was_shown_before_is_marked_and_says_how_likely_it_is_false(
    a_plan: Callable[..., Any], runs_of: Callable[..., Any]
) -> None:
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    records = runs_of(plan, {"baseline": [0.8, 0.81], "E5": [0.9, 0.92]})
    judgements = judge(plan, records)
    again = {"E5": structs.replace(judgements["E5"], looks=(2, 3))}
    words, before = (render_markdown(judge_all(plan, records, judgements | more)) for more in (again, {}))
    assert "(looked again) |" in section(words, "## Result summary")
    assert "- **(looked again)**, beside any verdict: it was shown before" in words
    assert "**Looked again.** Looked at 2 times (at 2 and 3 seeds) without `staging`" in words
    assert "looked again" not in before.lower()
    row = scores_table(judge_all(plan, records, judgements | again)).set_index("experiment").loc["E5"]
    assert row["shown_at"] == "2 3"
    assert again["E5"].looks_sentence in say_steps(
        structs.replace(work_out(plan, records, judgements, "E5"), looked_again=again["E5"].looks_sentence)
    )


class TestFragile:
    """Where a seed failed and the others are judged."""

    @pytest.fixture
    def judged(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Any:
        plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}}, seeds=(0, 1, 2, 3))
        records = runs_of(plan, {"baseline": [0.9] * 4, "E5": [0.2, 0.21, 0.2, DIED]})
        return plan, records, judge(plan, records)

    def test_a_regression_is_marked_in_its_table_its_reason_and_the_legend(self, judged: Any) -> None:
        markdown = render_markdown(judge_all(*judged))
        assert "| regression (fragile) |" in section(markdown, "## Result summary")
        assert "- **(fragile)**, beside any verdict: runs of the experiment" in markdown
        said = "**E5 is fragile.** E5: seed 3 failed (out\\_of\\_memory); a seed that fails is a result too."
        assert said.replace("\\", "") in markdown.replace("\\", "")

    def test_a_verdict_that_failures_bar_has_its_sentence_in_its_section(self, judged: Any) -> None:
        plan, records, judgements = judged
        barred = structs.replace(judgements["E5"], verdict=Verdict.INCONCLUSIVE)
        found = section(render_markdown(judge_all(plan, records, judgements | {"E5": barred})), "## Experiments")
        assert "**Fragile.** E5: seed 3 failed (out" in found

    def test_no_failure_no_word_of_it(self, markdown_of_all: str) -> None:
        assert "ragile" not in markdown_of_all

    @pytest.fixture
    def markdown_of_all(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> str:
        plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
        records = runs_of(plan, {"baseline": 0.8, "E5": 0.8})
        return render_markdown(judge_all(plan, records, judge(plan, records)))

    def test_the_page_colours_the_verdict(self, judged: Any) -> None:
        page = render_page("t", render_markdown(judge_all(*judged)), {})
        assert '<td class="regression">regression (fragile)</td>' in page

    def test_the_table_of_verdicts_has_the_sentence(self, judged: Any) -> None:
        row = scores_table(judge_all(*judged)).set_index("experiment").loc["E5"]
        assert row["fragile"] == "E5: seed 3 failed (out_of_memory); a seed that fails is a result too"
