"""Figures are drawn from whatever is there, and twice the same."""

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from msgspec.structs import replace

from orchestrator.campaign.plan import Plan
from orchestrator.report.figures import _Row, _write_words, draw_curves, draw_deltas
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.stats.estimate import Estimate
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict
from orchestrator.verdicts.scale import Scale

PNG = b"\x89PNG\r\n\x1a\n"
SLOW = Result(state="too_slow", reason="an epoch takes 14.50 s", epochs=2)
EXPERIMENTS = {
    "E5": {"change": {"loss.kind": "focal"}, "reported": {"accuracy": 85.0, "delta": 1.0}},
    "H2": {"on": "E5", "change": {"model.depth": 2}, "group": "architecture"},
}
RunsOf = Callable[..., dict[str, RunRecord]]


@pytest.fixture
def plan(a_plan: Callable[..., Plan]) -> Plan:
    return a_plan(EXPERIMENTS)


@pytest.fixture
def drawn(plan: Plan, runs_of: RunsOf) -> Callable[..., bytes]:
    """The forest plot of these outcomes."""

    def draw(outcomes: dict[str, Any], of: Plan = plan) -> bytes:
        return draw_deltas(of, judge(of, runs_of(of, outcomes)))

    return draw


SCORED = {"baseline": 0.8, "E5": [0.84, 0.86], "H2": [0.85, 0.8]}


def test_the_same_results_give_the_same_bytes_whatever_the_users_style(
    plan: Plan, runs_of: RunsOf, drawn: Callable[..., bytes]
) -> None:
    deltas, curves = drawn(SCORED), draw_curves(plan, runs_of(plan, SCORED))
    assert deltas.startswith(PNG)
    assert curves.startswith(PNG)
    with mpl.rc_context({"lines.linewidth": 9.0, "axes.facecolor": "red", "savefig.dpi": 30.0}):
        assert drawn(SCORED) == deltas
        assert draw_curves(plan, runs_of(plan, SCORED)) == curves


def test_other_results_give_another_figure(plan: Plan, drawn: Callable[..., bytes]) -> None:
    assert drawn(SCORED | {"H2": [0.85, 0.81]}) != drawn(SCORED)


@pytest.mark.parametrize(
    "outcomes",
    [
        {},
        {"baseline": SLOW, "E5": SLOW, "H2": None},
        {"baseline": 0.8, "E5": [0.8, SLOW]},
        {"baseline": 0.99, "E5": 0.02, "H2": 0.99},
    ],
    ids=["nothing", "stopped", "stopped at one seed", "beyond the axis"],
)
def test_whatever_is_missing_or_far_off_is_drawn_around(
    plan: Plan, runs_of: RunsOf, drawn: Callable[..., bytes], outcomes: dict[str, Any]
) -> None:
    assert drawn(outcomes).startswith(PNG)
    assert draw_curves(plan, runs_of(plan, outcomes)).startswith(PNG)


def test_a_run_stopped_at_one_of_three_seeds_is_drawn_with_its_interval(
    a_plan: Callable[..., Plan], drawn: Callable[..., bytes]
) -> None:
    three = a_plan(EXPERIMENTS, seeds=(0, 1, 2))
    assert drawn({"baseline": 0.8, "E5": [0.84, 0.86, SLOW]}, three).startswith(PNG)


def test_a_campaign_without_experiments_is_drawn(a_plan: Callable[..., Plan], drawn: Callable[..., bytes]) -> None:
    lone = a_plan({})
    assert drawn({"baseline": 0.8}, lone).startswith(PNG)
    assert draw_curves(lone, {}).startswith(PNG)


def test_a_reported_difference_beyond_the_axis_is_drawn(
    a_plan: Callable[..., Plan], drawn: Callable[..., bytes]
) -> None:
    far = a_plan(
        {
            "up": {"change": {"model.depth": 2}, "reported": {"delta": 60.0}},
            "down": {"change": {"model.depth": 3}, "reported": {"delta": -60.0}},
            "a": {"change": {"model.depth": 6}},
            "b": {"change": {"model.depth": 5}},
        }
    )
    assert drawn({name: 0.8 for name in far.arms}, far).startswith(PNG)


def test_an_improvement_looks_different_by_what_fresh_seeds_say(a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
    plan = a_plan({"E5": EXPERIMENTS["E5"]})
    judgements = judge(plan, runs_of(plan, {"baseline": 0.5, "E5": 0.9}))
    told = Estimate(delta_points=1.0, low_points=0.5, high_points=1.5)
    asked = [(None, None), (told, True), (told, False), (Estimate(), None)]
    figures = {
        draw_deltas(plan, judgements | {"E5": replace(judgements["E5"], fresh=fresh, is_confirmed=is_confirmed)})
        for fresh, is_confirmed in asked
    }
    assert judgements["E5"].verdict is Verdict.IMPROVED
    assert len(figures) == len(asked)


def test_labels_without_meaning_have_no_row(a_plan: Callable[..., Plan], drawn: Callable[..., bytes]) -> None:
    with_control = a_plan(EXPERIMENTS | {"null": {"control": "shuffled_labels", "group": "controls"}})
    assert drawn(SCORED | {"null": 0.1}, with_control) == drawn(SCORED)
    lone = a_plan({"null": {"control": "shuffled_labels"}})
    assert drawn({"baseline": 0.8, "null": 0.1}, lone).startswith(PNG)


def test_verdict_is_clear_of_the_longest_numbers(plan: Plan, runs_of: RunsOf) -> None:
    judgements = judge(plan, runs_of(plan, SCORED))
    wide = replace(judgements["H2"], delta_points=-100.0, low_points=-1069.4, high_points=-1046.9)
    rows = [_Row(0.0, plan.arms["E5"], judgements["E5"]), _Row(1.0, plan.arms["H2"], wide)]
    figure = Figure(figsize=(10.0, 3.0), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(0.74, 0.26))[1]
    shown = {row.arm.id: row.judgement for row in rows}
    _write_words(axes, rows, shown, Scale(plan.campaign.judged))
    figure.draw_without_rendering()
    ends = [text.get_window_extent() for text in axes.texts]
    numbers, verdicts = ends[0::2], ends[1::2]
    assert axes.texts[2].get_text().endswith("−1046.9]")
    assert max(each.x1 for each in numbers) < min(each.x0 for each in verdicts)


def test_a_groups_name_is_written_and_not_typeset(a_plan: Callable[..., Plan], drawn: Callable[..., bytes]) -> None:
    odd = a_plan({"E5": {"change": {"loss.kind": "focal"}, "group": r"for $5, \frac$ and _all_"}})
    assert drawn({"baseline": 0.8, "E5": 0.85}, odd).startswith(PNG)
    assert draw_curves(odd, {}).startswith(PNG)


def test_a_stopped_run_does_not_cut_the_curve_of_the_scored_ones(a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
    plan = a_plan({"E5": EXPERIMENTS["E5"]})
    scored = runs_of(plan, {"baseline": 0.8, "E5": [0.85]})
    stopped = scored | runs_of(plan, {"E5": [None, SLOW]}, num_epochs=2)
    stopped |= scored
    assert len(stopped) == len(scored) + 1
    assert draw_curves(plan, stopped) == draw_curves(plan, scored)


def test_losses_that_are_not_finite_leave_a_gap(a_plan: Callable[..., Plan], runs_of: RunsOf) -> None:
    plan = a_plan({})
    records = runs_of(plan, {"baseline": 0.8})
    lost = {
        name: replace(run, epochs=tuple(replace(epoch, val_loss=None) for epoch in run.epochs))
        for name, run in records.items()
    }
    assert draw_curves(plan, lost) != draw_curves(plan, records)


def test_a_campaign_of_thousands_of_experiments_is_drawn_less_sharply(
    a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.figures.MAX_DOTS", 1000)
    plan = a_plan({f"x{number}": {"change": {"loss.gamma": 1.0 + number, "loss.kind": "focal"}} for number in range(9)})
    height = int.from_bytes(draw_deltas(plan, judge(plan, {}))[20:24], "big")
    assert height < 1300


def test_names_of_groups_are_shortened_and_hold_nothing_hidden(
    a_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    set_yticks = Axes.set_yticks
    monkeypatch.setattr(
        Axes, "set_yticks", lambda self, at, texts, **how: (written.extend(texts), set_yticks(self, at, texts, **how))
    )
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}, "group": "a\x1b[2Jb" + "c" * 500}})
    draw_deltas(plan, judge(plan, {}))
    assert [text for text in written if text.startswith("a\\x1b[2Jb")] == ["a\\x1b[2Jb" + "c" * 27 + " […]"]
