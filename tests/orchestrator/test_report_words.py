"""What the report says, read from its Markdown alone; `test_report.py` reads the files on disk."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from model.run_folder import Result
from orchestrator.report import _environment, _text, render_markdown
from orchestrator.verdicts import judge

SLOW = Result(state="too_slow", reason="median epoch takes 1.1 s, the budget is 1.0 s", epochs=3)
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "E5": {"change": {"loss.kind": "focal", "loss.gamma": 2.0}, "reported": {"accuracy": 85.0, "delta": 1.0}},
    "H2": {"on": "E5", "change": {"loss.gamma": 3.0}},
    "K1": {"on": "H2", "change": {"loss.gamma": 2.0}},
    "wide": {"change": {"model.expand_v": 4.0}, "group": "architecture", "reported": {"outcome": "too_slow"}},
    "roll": {"change": {"augment.roll": {}}, "group": "augmentation"},
}
OUTCOMES: dict[str, Any] = {"baseline": 0.80, "E5": 0.92, "H2": 0.92, "wide": SLOW, "roll": 0.60}
Render = Callable[..., str]


@pytest.fixture
def render(a_plan: Callable[..., Any], runs_of: Callable[..., Any]) -> Render:
    def rendered(
        outcomes: Mapping[str, Any] = OUTCOMES, experiments: Mapping[str, Any] = EXPERIMENTS, **fields: Any
    ) -> str:
        plan = a_plan(experiments, **fields)
        records = runs_of(plan, outcomes, provenance={"commit": "0123456789abcdef", "branch": "experiment/x"})
        return render_markdown(plan, records, judge(plan, records))

    return rendered


def section(markdown: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its kind or above."""
    level = heading.index(" ")
    return re.split(rf"\n#{{1,{level}}} ", markdown.split(f"\n{heading}", 1)[1])[0]


def test_one_seed_of_a_tenth_of_a_point_is_not_called_an_improvement(render: Render) -> None:
    markdown = render({"baseline": 0.850, "E5": 0.851}, {"E5": EXPERIMENTS["E5"]}, seeds=(0,), margin=0.05)
    assert "| inconclusive |" in section(markdown, "## Result summary")
    assert "improved" not in section(markdown, "## Result summary") + section(markdown, "## Experiments")
    assert "Needs seeds: 1 of at least 2" in section(markdown, "### E5")


def test_margin_and_family_are_said_before_the_numbers(render: Render) -> None:
    how = " ".join(section(render(margin=2.5), "## How to read the verdicts").split())
    assert "±2.5 points" in how
    assert "the 3 comparisons of this campaign" in how


def test_section_shows_why_what_changes_and_how_to_run_it_again(render: Render) -> None:
    words = section(render(), "### E5")
    assert "Why E5." in words
    assert '| `loss.kind` | `"cross_entropy"` | `"focal"` |' in words
    assert "`knockout run E5 --profile quick --seeds 0-1`" in words
    assert "`0123456789ab`" in words
    assert "`experiment/x`" in words


def test_seeds_that_are_no_range_are_left_to_the_campaign_file(render: Render) -> None:
    assert "`knockout run E5 --profile quick`" in section(render(seeds=(3, 1337)), "### E5")


def test_twin_shows_the_runs_that_it_shares(render: Render) -> None:
    assert "`E5-s0-" in section(render(), "### K1")


def test_experiment_that_has_not_run_is_said_to_be_so(render: Render) -> None:
    assert "| roll | Title of roll | baseline | – | – | – | – | pending |" in render({"baseline": 0.8, "E5": 0.9})


def test_scorings_on_the_judged_capture_are_counted(render: Render) -> None:
    assert "| scorings on LocD | 8, once a run" in section(render(), "## How it was run")


def test_campaign_that_reports_nothing_says_so(render: Render) -> None:
    markdown = render({"baseline": 0.8, "H": 0.8}, {"H": {"change": {"loss.kind": "focal"}}})
    assert "says of no experiment what its source reports" in section(markdown, "## Reported and replayed")


@pytest.mark.parametrize(
    "words",
    ["a | b", "*stars* and _lines_", "[link](javascript:alert(1))", "# no heading", "- no list", "1. no list",
     "too_slow", "back\\slash", "~~gone~~", "p < 0.001", "<b>", "one ` tick"],
)  # fmt: skip
def test_words_stand_for_themselves_in_markdown(words: str) -> None:
    (paragraph,) = re.findall(r"^<p>(.*)</p>$", MarkdownIt("commonmark").enable("table").render(_text(words)))
    assert paragraph == words.replace("<", "&lt;").replace(">", "&gt;")


def test_code_in_words_stays_code() -> None:
    assert _text("set `a_b | c` *now*") == r"set `a_b \| c` \*now\*"


def test_value_that_nobody_gave_is_an_error_not_an_empty_cell() -> None:
    with pytest.raises(UndefinedError, match="accuracy"):
        _environment().from_string("{{ row.accuracy }}").render(row={})
