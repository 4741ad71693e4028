"""The searches of a campaign stand in its report, and change nothing else of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.scored import Objective
from orchestrator.report.search_rows import search_rows
from orchestrator.report.write import write_report
from orchestrator.runs.paths import Paths
from orchestrator.search.objective import Score, combine
from orchestrator.search.results import Difference, SearchSummary
from orchestrator.verdicts.findings import judge_all
from orchestrator.verdicts.judge import judge

EXPERIMENTS = {"E5": {"change": {"loss.kind": "focal"}}}
OUTCOMES = {"baseline": 0.80, "E5": [0.84, 0.86]}
BETTER = Difference(points=4.0, low=1.0, high=7.0, is_across_seeds=True)


@pytest.fixture(scope="module")
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def write_summary(paths: Paths, key: str = "0a1b", **fields: Any) -> Path:
    values = {
        "campaign": "tiny",
        "profile": "quick",
        "search": "focal",
        "title": "Focus",
        "stack": "E5",
        "captures": ("LocC",),
        "visited": 5,
        "wanted": 6,
        "best": {"loss.gamma": 1.5, "loss.label_smoothing": 0.05},
        "score": combine([(62.0, 10_000), (64.0, 10_000)]),
        "default_visited": True,
        "to_default": BETTER,
    }
    summary = SearchSummary(**values | fields)
    path = paths.search_summary(paths.search_report(summary.campaign, summary.search, summary.profile, key))
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(summary))
    return path


def row(plan: Plan, paths: Paths, **fields: Any) -> dict[str, str]:
    write_summary(paths, **fields)
    (only,) = search_rows(plan.campaign, paths)
    return only


def test_a_search_is_a_row_with_a_link_to_its_report(plan: Plan, paths: Paths) -> None:
    assert row(plan, paths) == {
        "name": "focal",
        "title": "Focus, on E5",
        "visited": "5 of 6",
        "best": "loss.gamma 1.5, loss.label_smoothing 0.05",
        # Of seeds 1.0, and of bursts 0.48: both are in the error.
        "score": "63.0 ± 1.1 on LocC",
        "to_default": "better: +4.0 [+1.0, +7.0]",
        "link": "../tiny-search-focal-quick-0a1b/report.md",
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"to_default": msgspec.structs.replace(BETTER, low=-1.0)}, "no difference found: +4.0 [−1.0, +7.0]"),
        (
            {"to_default": msgspec.structs.replace(BETTER, is_across_seeds=False)},
            "higher, judged by sampling error only (one seed): +4.0 [+1.0, +7.0]",
        ),
        (
            {"to_default": msgspec.structs.replace(BETTER, best_of=12)},
            "better: +4.0 [+1.0, +7.0], adjusted for the best of 12 points",
        ),
        ({"to_default": None}, "it is the default point"),
        ({"to_default": None, "default_visited": False}, "the default point was not visited"),
    ],
)
def test_a_row_says_whether_the_best_point_can_be_told_from_the_default(
    plan: Plan, paths: Paths, fields: dict[str, Any], said: str
) -> None:
    assert row(plan, paths, **fields)["to_default"] == said


def test_a_score_of_one_seed_is_said_to_be_that_of_its_bursts_alone(plan: Plan, paths: Paths) -> None:
    assert row(plan, paths, score=combine([(60.0, 100)]))["score"] == "60.0 ± 4.8 on LocC, sampling error only"


def test_a_score_whose_bursts_nobody_counted_has_no_error(plan: Plan, paths: Paths) -> None:
    assert (
        row(plan, paths, score=combine([(60.0, 0)]))["score"]
        == "60.0 on LocC, without an error: the number of bursts is not known"
    )


LOSS = Objective(metric="loss", better="lower", unit="nats")
LESS = Difference(points=-0.25, low=-0.5, high=-0.125, is_across_seeds=True)


@pytest.mark.parametrize(
    ("score", "to_default", "said"),
    [
        (Score(mean=0.5, standard_error=0.25, per_seed=(0.25, 0.75), bursts=0), LESS,
         ("loss 0.5 ± 0.25 nats", "better: -0.25 [-0.5, -0.125]")),
        (Score(mean=0.5, standard_error=0.25, per_seed=(0.5,), bursts=0),
         msgspec.structs.replace(LESS, is_across_seeds=False),
         ("loss 0.5 ± 0.25 nats, sampling error only",
          "better, judged by sampling error only (one seed): -0.25 [-0.5, -0.125]")),
        (Score(mean=0.5, standard_error=0.0, per_seed=(0.5,), bursts=0),
         msgspec.structs.replace(LESS, low=None, high=None, is_across_seeds=False),
         ("loss 0.5 nats, without an error: one seed, and no items", "no difference found: -0.25, of unknown error")),
    ],
)  # fmt: skip
def test_a_metric_is_written_with_its_name_and_unit(
    plan: Plan, paths: Paths, score: Score, to_default: Difference, said: tuple[str, str]
) -> None:
    found = row(plan, paths, captures=(), metric=LOSS, score=score, to_default=to_default)
    assert (found["score"], found["to_default"]) == said


def test_points_beyond_those_of_the_file_are_not_counted_as_some_of_them(plan: Plan, paths: Paths) -> None:
    assert row(plan, paths, visited=10)["visited"] == "10"


def test_a_search_without_a_point_has_none(plan: Plan, paths: Paths) -> None:
    found = row(plan, paths, visited=0, best={}, score=None, to_default=None, default_visited=False)
    assert (found["best"], found["score"], found["to_default"]) == ("no point was visited yet", "–", "–")


def test_searches_of_other_campaigns_and_profiles_are_left_out(plan: Plan, paths: Paths) -> None:
    write_summary(paths, profile="paper")
    write_summary(paths, campaign="other")
    write_summary(paths, campaign="tiny-search-x")
    paths.report("tiny-search-old-quick-0a1b").mkdir()
    assert search_rows(plan.campaign, paths) == []


@pytest.mark.parametrize("content", [b"{", b"{}", b"another version's"])
def test_a_summary_that_cannot_be_read_is_said_to_be_and_no_report_fails(
    plan: Plan, paths: Paths, content: bytes
) -> None:
    path = write_summary(paths)
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2') if b"version" in content else content)
    (found,) = search_rows(plan.campaign, paths)
    assert found["best"] == "its findings cannot be read; `knockout search` with its name writes them again"
    assert (found["name"], found["score"]) == ("tiny-search-focal-quick-0a1b", "–")


def test_the_report_links_its_searches_and_nothing_else_of_it_changes(
    plan: Plan, paths: Paths, runs_of: Callable[..., Any], tmp_path: Path
) -> None:
    records = runs_of(plan, OUTCOMES)
    judgements = judge(plan, records)
    without = write_report(judge_all(plan, records, judgements), paths).parent
    write_summary(paths, title="Focus <b>|</b> *more*")
    folder = write_report(judge_all(plan, records, judgements), paths).parent
    before, after = ((one / "report.md").read_text() for one in (without, folder))
    start, end = after.index("## Searches"), after.index("## Controls")
    assert after[:start] + after[end:] == before
    link = "[focal](../tiny-search-focal-quick-0a1b/report.md)"
    assert f"| {link} | Focus \\<b>\\|\\</b> \\*more\\*, on E5 | 5 of 6 |" in after
    page = (folder / "report.html").read_text()
    assert '<a href="../tiny-search-focal-quick-0a1b/report.md">focal</a>' in page
    assert "Focus &lt;b&gt;|&lt;/b&gt; *more*, on E5" in page
    for path in [*without.glob("*.csv"), *without.glob("*.png")]:
        assert (folder / path.name).read_bytes() == path.read_bytes()
