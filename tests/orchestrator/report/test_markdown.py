"""What the report says, read from its Markdown alone; `test_report.py` reads the files on disk."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from jinja2 import UndefinedError
from msgspec import structs

from orchestrator.campaign.spec import JudgingSpec, StagingSpec
from orchestrator.report.markdown import describe_floor, make_environment, render_markdown
from orchestrator.report.page import render_page
from orchestrator.report.tables import scores_table
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.scale import Scale
from tests.builders.reports import EXPERIMENTS, OUTCOMES, SLOW, Render, renderer, section


@pytest.fixture
def render(a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Render:
    return renderer(a_plan, runs_of)


def test_one_seed_of_a_tenth_of_a_point_is_not_called_an_improvement(render: Render) -> None:
    markdown = render({"baseline": 0.850, "E5": 0.851}, {"E5": EXPERIMENTS["E5"]}, seeds=(0,), margin=0.05)
    assert "| needs_seeds |" in section(markdown, "## Result summary")
    assert "**E5 has too few seeds for a verdict.**" in section(markdown, "### E5")
    assert "improved" not in section(markdown, "## Result summary") + section(markdown, "## Experiments")
    assert "Needs seeds: 1 of at least 2" in section(markdown, "### E5")


def test_summary_comes_first_and_how_to_read_it_right_after(render: Render) -> None:
    headings = re.findall(r"^## (.*)$", render(margin=2.5), re.MULTILINE)
    assert headings[:3] == ["Result summary", "How to read the verdicts", "Experiments"]
    how = " ".join(section(render(margin=2.5), "## How to read the verdicts").split())
    assert "±2.5 points" in how
    assert "the 3 comparisons of this campaign (Dunnett, adjusted p below 0.05)" in how
    assert " 95 % interval" in how


class TestIntervals:
    """The intervals of single comparisons and of the family, and what they do not say."""

    def how(self, markdown: str) -> str:
        return " ".join(section(markdown, "## How to read the verdicts").split())

    def test_both_stand_beside_each_other_and_the_sentence_above_says_which_is_which(self, render: Render) -> None:
        words = " ".join(section(render(), "## Result summary").split())
        said = (
            'The 95 % intervals hold one at a time. Those under "family" are wider: all 3 comparisons of a family hold'
        )
        assert f"{said} at once (Bonferroni)." in words
        assert "although the interval of one comparison leaves zero out. | experiment |" in words

    def test_that_of_the_family_is_the_plain_one_at_the_level_over_its_comparisons(
        self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]
    ) -> None:
        plan = a_plan(EXPERIMENTS)
        records = runs_of(plan, OUTCOMES)
        found = judge(plan, records)["roll"]
        strict = structs.replace(
            plan.campaign, judging=structs.replace(plan.campaign.judging, level=0.05 / found.num_compared)
        )
        wanted = judge(structs.replace(plan, campaign=strict), records)["roll"].interval_points
        assert found.family_interval_points == pytest.approx(wanted)
        cell = Scale(plan.campaign.judged).interval(wanted)
        markdown = render_markdown(judge_all(plan, records, judge(plan, records)))
        (row,) = [line for line in section(markdown, "## Result summary").splitlines() if line.startswith("| roll |")]
        assert row.split(" | ")[6] == cell
        assert f"Beside all 3 comparisons of its family at once, the interval is {cell}. " in markdown
        table = scores_table(judge_all(plan, records, judge(plan, records))).set_index("experiment").loc["roll"]
        assert (table["family_low_points"], table["family_high_points"]) == pytest.approx(wanted)

    def test_the_baseline_is_of_no_family(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> None:
        plan = a_plan(EXPERIMENTS)
        assert judge(plan, runs_of(plan, OUTCOMES))["baseline"].family_interval_points is None

    def test_least_difference_that_two_seeds_can_tell_is_worked_out(
        self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]
    ) -> None:
        plan = a_plan({"E5": EXPERIMENTS["E5"]})
        judgements = judge(plan, runs_of(plan, {"baseline": [0.8, 0.82], "E5": [0.85, 0.9]}))
        low, high = judgements["E5"].family_interval_points or (0.0, 0.0)
        said = describe_floor(plan, judgements)
        assert said.endswith(
            f"must be larger than {(high - low) / 2:.2f} points to be told as the first of its family."
        )

    def test_three_seeds_have_no_such_sentence(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> None:
        plan = a_plan({"E5": EXPERIMENTS["E5"]}, seeds=(0, 1, 2))
        assert describe_floor(plan, judge(plan, runs_of(plan, {"baseline": 0.8, "E5": 0.85}))) == ""

    def test_other_arms_one_location_and_the_level_of_a_family_are_said(self, render: Render) -> None:
        how = self.how(render())
        assert "LocD is one location. One location is one: nothing here says how another place or another day" in how
        assert "So runs of another arm can move an interval a little" in how
        assert "The level of 5 % holds within one family of comparisons. Controls, pairs of changes and each" in how
        assert "may say something false in up to" not in how

    def test_families_of_the_tables_add_up(self, render: Render) -> None:
        how = self.how(render({**OUTCOMES, "AA1": [0.8, 0.81]}, aa=1))
        assert "The 2 families of the tables here may say something false in up to 10 % of campaigns." in how


def test_negative_results_have_their_errors_and_p_values(render: Render) -> None:
    words = section(render(), "### Augmentation")
    assert re.search(r"^\*\*roll\.\*\* Standard error [\d.]+ points: .* p < 0\.001, adjusted ", words, re.MULTILINE)
    assert "**wide.**" not in section(render(), "### Architecture")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(50.0, "50 s in epochs"), (60.0, "60 s in epochs (1 minute)"), (7200.0, "7,200 s in epochs (120 minutes)")],
)
def test_training_time_is_said_in_minutes_from_one_on(
    a_plan: Callable[..., Any], runs_of: Callable[..., Any], seconds: float, words: str
) -> None:
    plan = a_plan({}, seeds=(0,))
    records = {
        run: structs.replace(record, epochs=(structs.replace(record.epochs[0], seconds=seconds),))
        for run, record in runs_of(plan, {"baseline": 0.8}).items()
    }
    assert f"| training time | {words}, summed over runs |" in render_markdown(judge_all(plan, records))


def test_how_verdicts_are_reached_is_said_as_the_campaign_has_it(render: Render) -> None:
    judging = JudgingSpec(level=0.1, correction="benjamini_hochberg", family="group")
    markdown = render(judging=judging)
    how = " ".join(section(markdown, "## How to read the verdicts").split())
    assert "the comparisons of its group (Benjamini-Hochberg, adjusted p below 0.1)" in how
    assert " 90 % interval" in how
    assert "| 90 % interval |" in section(markdown, "## Result summary")


def test_controls_are_no_experiments_and_twins_are_named_in_the_headline(render: Render) -> None:
    head = render(experiments=EXPERIMENTS | {"null": {"control": "shuffled_labels"}}, aa=2).partition("\n## ")[0]
    assert "Of 5 experiments (without controls): " in head
    assert "Of 5 experiments: " in render().partition("\n## ")[0]
    assert "Trained once, because the configuration is the same: K1 (as E5)." in head


def test_section_shows_why_what_changes_and_how_to_run_it_again(render: Render) -> None:
    words = section(render(), "### E5")
    assert "Why E5." in words
    assert '| `loss.kind` | `"cross_entropy"` | `"focal"` |' in words
    assert "`knockout run E5 --profile quick --seeds 0-1`" in words
    assert "`0123456789ab`" in words
    assert "`experiment/x`" in words


def test_seeds_that_are_no_range_are_left_to_the_campaign_file(render: Render) -> None:
    assert "`knockout run E5 --profile quick`" in section(render(seeds=(3, 1337)), "### E5")


def test_confirmation_is_asked_of_a_keeper_where_seeds_are_staged(render: Render) -> None:
    staging = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=2)
    how = section(render(staging=staging, seeds=tuple(range(5))), "## How it was run")
    assert "An experiment that improved and was confirmed on fresh seeds keeps its branch" in how
    assert "fresh seeds" not in section(render(), "## How it was run")


def test_twin_is_marked_in_the_summary(render: Render) -> None:
    assert "| K1 | Title of K1 (the same configuration as E5, trained once) | H2 |" in render()


def test_seeds_of_a_replicate_stand_beside_those_of_its_reference(render: Render) -> None:
    words = section(render({"baseline": 0.8, "AA1": 0.8}, {}, aa=1), "### AA1")
    assert "| 10000 (beside 0) | 80.0 % | +0.0 | `AA1-s10000-" in words


def test_twin_shows_the_runs_that_it_shares(render: Render) -> None:
    assert "`E5-s0-" in section(render(), "### K1")


def test_experiment_that_has_not_run_is_said_to_be_so(render: Render) -> None:
    assert "| roll | Title of roll | baseline | – | – | – | – | – | pending |" in render({"baseline": 0.8, "E5": 0.9})


def test_scorings_on_the_judged_capture_are_counted(render: Render) -> None:
    words = section(render(), "## Scorings")
    assert "LocD was scored 8 times, by 8 runs of 4 configurations, the baseline and controls among them; " in words
    assert "; no epoch and no search was chosen by it; " in words


def test_campaign_that_reports_nothing_says_so(render: Render) -> None:
    markdown = render({"baseline": 0.8, "H": 0.8}, {"H": {"change": {"loss.kind": "focal"}}})
    assert "The campaign file has no result that its source reports" in section(markdown, "## Reported and replayed")


def test_value_that_nobody_gave_is_an_error_not_an_empty_cell() -> None:
    with pytest.raises(UndefinedError, match="accuracy"):
        make_environment().from_string("{{ row.accuracy }}").render(row={})


def test_of_many_packages_those_are_named_that_a_reader_looks_for(
    a_plan: Callable[..., Any], runs_of: Callable[..., Any]
) -> None:
    packages = {"python": "3.11.7", "torch": "2.13.0"} | {f"package{number}": "1.0" for number in range(40)}
    plan = a_plan(EXPERIMENTS)
    records = runs_of(plan, {"baseline": 0.8}, provenance={"environment": packages})
    assert "python 3.11.7, torch 2.13.0, and 40 more packages |" in render_markdown(judge_all(plan, records))


class TestConfounded:
    """E5, roll and wide ran on another torch than everything else."""

    @pytest.fixture
    def markdown(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> str:
        plan = a_plan(EXPERIMENTS)
        records: dict[str, Any] = {}
        for name, outcome in OUTCOMES.items():
            torch = "2.12.1" if name in ("E5", "roll", "wide") else "2.13.0"
            records |= runs_of(plan, {name: outcome}, provenance={"environment": {"torch": torch}})
        return render_markdown(judge_all(plan, records))

    def test_mark_stands_beside_the_verdict_and_is_counted(self, markdown: str) -> None:
        summary = section(markdown, "## Result summary")
        assert re.findall(r"^\| (\w+) .*\(confounded\) \|$", summary, re.MULTILINE) == [
            "E5",
            "H2",
            "K1",
            "roll",
            "wide",
        ]
        assert "Of 5 experiments: 1 improved" in markdown
        assert " Of these, 5 are confounded." in markdown

    def test_section_lists_what_differs(self, markdown: str) -> None:
        words = section(markdown, "### E5")
        assert ": **improved (confounded)**." in words
        assert "\n- environment: torch 2.13.0 in baseline, 2.12.1 in E5 (seeds 0 and 1)\n" in words

    def test_negative_results_list_it_below_their_table(self, markdown: str) -> None:
        words = section(markdown, "### Augmentation")
        assert "| regression (confounded) |" in words
        assert "**roll is confounded.**" in words
        assert "\n### roll" not in markdown
        assert "- environment: torch 2.13.0 in baseline, 2.12.1 in roll (seeds 0 and 1)" in words

    def test_word_is_explained_only_where_it_is_used(self, markdown: str, render: Render) -> None:
        assert "**(confounded)**" in section(markdown, "## How to read the verdicts")
        assert "improved and is not confounded keeps its branch" in markdown
        assert "onfounded" not in render()

    def test_cell_of_the_page_keeps_its_colour(self, markdown: str) -> None:
        page = render_page("t", markdown, {})
        assert '<td class="improved">improved (confounded)</td>' in page
        assert '<td class="regression">regression (confounded)</td>' in page


def test_results_of_older_code_are_said_with_who_accepted_them(
    a_plan: Callable[..., Any], a_run: Callable[..., Any], runs_of: Callable[..., Any]
) -> None:
    plan = a_plan({"E5": EXPERIMENTS["E5"]})
    records = runs_of(plan, {"baseline": 0.8})
    for seed in (0, 1):
        accepted = {
            "run": f"E5-s{seed}-1a2b3c4d",
            "code_tree": "c0de",
            "by": "Ada <ada@example.org>",
            "files": ["model/train/losses.py (+3 -1)", "model/train/job.py (+1 -0)"],
        }
        run = a_run(plan, "E5", seed, 0.9, provenance={"code_tree": "c0de" if seed else "01d", "accepted": accepted})
        records[run.id] = run
    markdown = render_markdown(judge_all(plan, records))
    taken = " and ".join(f"`E5-s{seed}-1a2b3c4d` as `{plan.run_of['E5', seed]}`" for seed in (0, 1))
    told = f"{taken}: accepted by Ada \\<ada@example.org>, who says that the change of code makes no difference: "
    files = "`model/train/losses.py (+3 -1)`, `model/train/job.py (+1 -0)`."
    assert f"- {told}{files}\n" in section(markdown, "### E5")
    assert f"| results of older code | {told}{files} |\n" in section(markdown, "## How it was run")
    assert "older code" not in section(markdown, "### baseline")
    shuffled = dict(reversed(records.items()))
    assert render_markdown(judge_all(plan, shuffled)) == markdown


class TestCode:
    CODE = {
        "commit": "0123456789abcdef",
        "code_changes": ["model/train/losses.py (+3 -1)", "model/train/job.py (+1 -0)"],
    }

    @pytest.fixture
    def told(self, a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Callable[..., str]:
        def rendered(outcomes: Mapping[str, Any], **experiments: Any) -> str:
            plan = a_plan(experiments)
            records = runs_of(plan, {"baseline": 0.8} | outcomes, provenance=self.CODE)
            return render_markdown(judge_all(plan, records))

        return rendered

    @pytest.mark.parametrize(
        ("own", "words"),
        [
            ({"patch": "patches/focal.diff"}, "the patch `patches/focal.diff`"),
            ({"ref": "focal"}, "`model/` of `focal`"),
        ],
    )
    def test_stands_beside_the_knobs(self, told: Callable[..., str], own: dict[str, str], words: str) -> None:
        found = section(told({"E5": 0.9}, E5=EXPERIMENTS["E5"] | own), "### E5")
        listed = f"- {words}: `model/train/losses.py (+3 -1)`, `model/train/job.py (+1 -0)`\n"
        assert f"**What changes**, against baseline:\n\n{listed}\n| knob | before | after |" in found

    def test_of_a_stack_is_said_to_be_that_of_all_of_it(self, told: Callable[..., str]) -> None:
        stack = {"E5": EXPERIMENTS["E5"] | {"ref": "focal"}, "H2": EXPERIMENTS["H2"] | {"patch": "gamma.diff"}}
        listed = "`model/train/losses.py (+3 -1)`, `model/train/job.py (+1 -0)`\n"
        told_of = "- the patch `gamma.diff`; with the code it stands on, against that of the campaign: "
        assert f"{told_of}{listed}" in section(told({"E5": 0.9, "H2": 0.9}, **stack), "### H2")

    def test_is_shown_without_any_knob_and_before_anything_ran(self, told: Callable[..., str]) -> None:
        found = section(told({}, E5={"patch": "focal.diff"}), "### E5")
        assert "**What changes**, against baseline:\n\n- the patch `focal.diff`" in found
        assert "| knob |" not in found

    def test_command_says_at_which_commit_to_run_it_in_the_whole_stack(self, told: Callable[..., str]) -> None:
        stack = {"E5": EXPERIMENTS["E5"] | {"ref": "focal"}, "H2": EXPERIMENTS["H2"]}
        markdown = told({"E5": 0.9, "H2": 0.9}, **stack)
        for name in ("E5", "H2"):
            found = section(markdown, f"### {name}")
            assert f"in the folder that `knockout checkout {name}` makes of its code" in found
            assert "(commit `0123456789ab`; `git worktree add FOLDER 0123456789ab` makes one as well)" in found
        assert "knockout checkout" not in section(markdown, "### baseline")

    @pytest.mark.parametrize("accepted", [None, {"run": "E5-s0-1a2b3c4d", "by": "Ada", "files": []}])
    def test_command_names_no_commit_where_none_holds_the_code_of_the_plan(
        self, a_plan: Callable[..., Any], runs_of: Callable[..., Any], accepted: dict[str, Any] | None
    ) -> None:
        plan = a_plan({"E5": EXPERIMENTS["E5"] | {"ref": "focal"}})
        outcomes = {"E5": 0.9} if accepted else {}
        records = runs_of(plan, outcomes, provenance={"commit": "0123456789abcdef", "accepted": accepted})
        found = section(render_markdown(judge_all(plan, records)), "### E5")
        assert "`knockout checkout E5` makes of its code, with `--manifest`" in found
        assert "worktree" not in found

    def test_stands_in_the_table_of_negative_results(self, told: Callable[..., str]) -> None:
        found = section(told({"E5": SLOW}, E5={"patch": "a_b.diff", "change": {"loss.kind": "focal"}}), "### Loss")
        assert '| E5 | `loss.kind: "focal"`, patch `a_b.diff` |' in found
