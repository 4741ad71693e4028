"""The two figures of a report, as PNG bytes. Pure: the same values give the same bytes.

Neither a window nor a user's style plays a part: the figures use no pyplot and matplotlib's own defaults. The colours
are those of Okabe and Ito, which colour-blind readers can tell apart. A marker and a word repeat the verdict.
"""

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from msgspec import structs

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.report.sections import is_compared, marks
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.record import RunRecord
from orchestrator.task.metric_spec import column_of
from orchestrator.verdicts.judgement import Confirmation, Judgement, Verdict
from orchestrator.verdicts.scale import Scale
from orchestrator.wording import one_line

DOTS_PER_INCH = 150
MAX_DOTS = 50_000
"""Most dots of a side: PNG allows fewer than 2**16. A figure with thousands of rows gets fewer dots an inch."""
NAME_LETTERS = 40
"""Most letters of a group's name, or a capture's."""
INK = "#222222"
FAINT = "#8a8a8a"
NUMBERS_SIZE = 8.0
"""Font size of the numbers beside a row, in points."""
CHARACTER_WIDTH = 0.68
"""Greatest mean width of a character of a difference with its interval, with a gap; in font sizes."""
STYLE = ("default", {"text.parse_math": False})
"""Without this, matplotlib reads text between two dollar signs as mathematics."""

COLOUR = {
    Verdict.IMPROVED: "#009E73",
    Verdict.REGRESSION: "#D55E00",
    Verdict.NO_CHANGE: "#0072B2",
    Verdict.INCONCLUSIVE: "#6f6f6f",
    Verdict.NEEDS_SEEDS: FAINT,
    Verdict.TOO_SLOW: FAINT,
    Verdict.FAILED: FAINT,
    Verdict.PENDING: FAINT,
}
OPEN_COLOUR = {Confirmation.WAITS: COLOUR[Verdict.IMPROVED], Confirmation.NOT_CONFIRMED: COLOUR[Verdict.INCONCLUSIVE]}
"""Colour of an improvement that fresh seeds have not confirmed; its marker is hollow."""
MARKER = {
    Verdict.IMPROVED: "^",
    Verdict.REGRESSION: "v",
    Verdict.NO_CHANGE: "s",
    Verdict.INCONCLUSIVE: "o",
}


def to_png(figure: Figure) -> bytes:
    """Write a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # Words beside the axes are part of the picture, so the canvas grows to hold them.
    # Fewer dots an inch keep a very tall figure within what PNG can hold.
    dots = min(DOTS_PER_INCH, MAX_DOTS / max(figure.get_size_inches()))
    figure.savefig(buffer, format="png", dpi=dots, metadata={"Software": None}, bbox_inches="tight")
    return buffer.getvalue()


@dataclass(frozen=True)
class _Row:
    """A line of the forest plot: an experiment at height y."""

    y: float
    arm: Arm
    judgement: Judgement

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict or Verdict.PENDING

    @property
    def colour(self) -> str:
        found = self.judgement.confirmation
        return OPEN_COLOUR[found] if found and found.is_open else COLOUR[self.verdict]

    @property
    def reported_points(self) -> float | None:
        return self.arm.reported.delta if self.arm.reported else None


def draw_deltas(plan: Plan, judgements: Mapping[str, Judgement]) -> bytes:
    """Draw a forest plot: a row shows an experiment's difference to its reference, with the interval.

    Rows are ordered by group, then by gain. Experiments without a score come last in their group. A difference
    far beyond the others is drawn at the edge, with an arrow and its number.
    """
    rows, headings = _lay_out_rows(plan, judgements)
    with style.context(STYLE):
        figure = Figure(figsize=(10.0, 1.6 + 0.26 * (len(rows) + 1.3 * len(headings))), layout="constrained")
        axes, words = figure.subplots(1, 2, sharey=True, width_ratios=(0.74, 0.26))
        scale = Scale(plan.campaign.judged)
        rows = [replace(row, judgement=_as_shown(scale, row.judgement)) for row in rows]
        limits = _limits(rows, scale.shown(scale.margin_points))
        _draw_frame(axes, plan, limits)
        for row in rows:
            _draw_row(axes, row, limits)
        _label_rows(axes, rows, headings)
        _write_words(words, rows, judgements, scale)
        _draw_legend(figure, axes, plan, rows)
        return to_png(figure)


def _lay_out_rows(plan: Plan, judgements: Mapping[str, Judgement]) -> tuple[list[_Row], dict[str, float]]:
    """Place the rows from the top down, with a heading above each group; y grows downwards."""
    compared = [arm for arm in plan.arms.values() if arm.reference and is_compared(judgements[arm.id])]
    rows: list[_Row] = []
    headings: dict[str, float] = {}
    y = 0.0
    for group in dict.fromkeys(arm.group for arm in compared):
        headings[group] = y
        members = [arm for arm in compared if arm.group == group]
        sign = Scale(plan.campaign.judged).sign
        for arm in sorted(members, key=lambda arm: _order(judgements[arm.id], sign)):
            y += 1.0
            rows.append(_Row(y, arm, judgements[arm.id]))
        y += 1.3
    return rows, headings


def _as_shown(scale: Scale, judgement: Judgement) -> Judgement:
    """Return a judgement with its differences as readers see them."""
    if not scale.is_ratio:
        return judgement
    ends = ("delta_points", "low_points", "high_points")
    shown = {name: None if (end := getattr(judgement, name)) is None else scale.shown(end) for name in ends}
    of_seed = {seed: scale.shown(points) for seed, points in judgement.delta_points_of.items()}
    return structs.replace(judgement, **shown, delta_points_of=of_seed)


def _order(judgement: Judgement, sign: int) -> tuple[bool, float]:
    return judgement.delta_points is None, -sign * (judgement.delta_points or 0.0)


def _limits(rows: Iterable[_Row], margin_points: float) -> tuple[float, float]:
    """Return both ends of the axis, in points: at most three times the median row's reach, so most are readable."""
    reaches = [_reach(row) for row in rows]
    furthest = [max(abs(end) for end in reach) for reach in reaches if reach]
    # One experiment far off would shrink all others to a line; it is drawn at the edge instead.
    cap = max(4 * margin_points, 3 * median(furthest)) if furthest else 4 * margin_points
    low = min([end for reach in reaches for end in reach] or [0.0])
    high = max([end for reach in reaches for end in reach] or [0.0])
    return 1.08 * max(-cap, min(low, -2 * margin_points)), 1.08 * min(cap, max(high, 2 * margin_points))


def _reach(row: _Row) -> tuple[float, ...]:
    ends = (*row.judgement.delta_points_of.values(), *(row.judgement.interval_points or ()), row.reported_points)
    return tuple(end for end in ends if end is not None)


def _draw_frame(axes: Axes, plan: Plan, limits: tuple[float, float]) -> None:
    scale = Scale(plan.campaign.judged)
    margin = scale.shown(scale.margin_points)
    axes.axvspan(-margin, margin, color="#e9eef4", zorder=0)
    axes.axvline(0.0, color=INK, linewidth=0.9, zorder=1)
    axes.set_xlim(limits)
    name = one_line(plan.campaign.judged.name, NAME_LETTERS)
    unit = f", {scale.unit}" if scale.unit else ""
    axes.set_xlabel(f"{name}: difference to the reference{unit}   {scale.arrow} {scale.metric.better} is better")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_row(axes: Axes, row: _Row, limits: tuple[float, float]) -> None:
    colour = row.colour
    seeds = [points for points in row.judgement.delta_points_of.values() if limits[0] <= points <= limits[1]]
    axes.plot(seeds, [row.y] * len(seeds), "o", color=colour, markerfacecolor="white", markersize=3.5, zorder=3)
    delta = row.judgement.delta_points
    # A point beyond the axis has no place on it, so an arrow at the edge carries its number.
    if delta is not None and not limits[0] < delta < limits[1]:
        _draw_arrow(axes, row, limits[0] if delta < 0 else limits[1])
        return
    _draw_reported(axes, row, limits)
    if delta is None or row.judgement.interval_points is None:
        return
    low, high = row.judgement.interval_points
    axes.plot([low, high], [row.y, row.y], color=colour, linewidth=1.8, zorder=2, solid_capstyle="butt")
    # A run may be stopped at one seed after others were scored, so that any verdict can have an interval.
    face = "white" if row.judgement.is_unconfirmed else colour
    axes.plot(delta, row.y, MARKER.get(row.verdict, "o"), color=colour, markerfacecolor=face, markersize=6.5, zorder=4)
    for is_beyond, edge, marker in ((low < limits[0], limits[0], "<"), (high > limits[1], limits[1], ">")):
        if is_beyond:
            axes.plot(edge, row.y, marker, color=colour, markersize=5, clip_on=False)


def _draw_reported(axes: Axes, row: _Row, limits: tuple[float, float]) -> None:
    reported = row.reported_points
    if reported is None:
        return
    if limits[0] <= reported <= limits[1]:
        axes.plot(reported, row.y, "D", markerfacecolor="none", markeredgecolor=INK, markersize=6.5, zorder=5)
        return
    text = wording.points(reported)
    is_left = reported < 0
    axes.text(
        limits[0] if is_left else limits[1],
        row.y,
        f"◂ reported {text}" if is_left else f"reported {text} ▸",
        ha="left" if is_left else "right",
        va="center",
        fontsize=7.5,
        color=INK,
    )


def _draw_arrow(axes: Axes, row: _Row, edge: float) -> None:
    """Mark a difference beyond the axis with an arrow, and write the reported difference beside it."""
    inwards = 1 if edge < 0 else -1
    text = wording.points(row.judgement.delta_points)
    if row.reported_points is not None:
        text += f"  (reported {wording.points(row.reported_points)})"
    axes.annotate(
        text,
        xy=(edge, row.y),
        xytext=(24 * inwards, 0),
        textcoords="offset points",
        ha="left" if inwards > 0 else "right",
        va="center",
        fontsize=8,
        color=row.colour,
        arrowprops={"arrowstyle": "-|>", "color": row.colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0},
    )


def _label_rows(axes: Axes, rows: Iterable[_Row], headings: Mapping[str, float]) -> None:
    lines = [(row.y, f"{row.arm.id}  on {row.arm.reference}", "normal") for row in rows]
    lines += [(y, one_line(group, NAME_LETTERS), "bold") for group, y in headings.items()]
    axes.set_yticks([y for y, _, _ in lines], [text for _, text, _ in lines], fontsize=8.5, color=INK)
    for label, (_, _, weight) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight(weight)
    axes.set_ylim(max((y for y, _, _ in lines), default=1.0) + 0.8, -0.8)


def _write_words(axes: Axes, rows: Sequence[_Row], judgements: Mapping[str, Judgement], scale: Scale) -> None:
    """Write the numbers and the verdict beside each row; the verdicts start behind the longest numbers."""
    axes.set_axis_off()
    numbers = [_difference_words(judgements[row.arm.id], scale) for row in rows]
    # The width is estimated from the font size: measuring text needs a drawn canvas.
    indent = NUMBERS_SIZE * CHARACTER_WIDTH * max((len(words) for words in numbers), default=0)
    for row, words in zip(rows, numbers, strict=True):
        axes.text(0.0, row.y, words, va="center", fontsize=NUMBERS_SIZE, color=INK)
        axes.annotate(
            f"{row.verdict}{marks(row.judgement)}",
            xy=(0.0, row.y),
            xytext=(indent, 0.0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=row.colour,
        )


def _difference_words(judgement: Judgement, scale: Scale) -> str:
    words = f"{scale.delta(judgement.delta_points)} {scale.interval(judgement.interval_points)}"
    return words.replace(wording.MISSING, "")


def _draw_legend(figure: Figure, axes: Axes, plan: Plan, rows: Sequence[_Row]) -> None:
    verdicts = [verdict for verdict in MARKER if any(row.verdict is verdict for row in rows)]
    for verdict in verdicts:
        axes.plot(
            [], [], MARKER[verdict] + "-", color=COLOUR[verdict], linewidth=1.8, markersize=6.5, label=str(verdict)
        )
    axes.plot([], [], "o", color=INK, markerfacecolor="white", markersize=3.5, label="one seed")
    if not plan.campaign.task.supervised or any(row.reported_points is not None for row in rows):
        reported = "reported by the source"
        axes.plot([], [], "D", markerfacecolor="none", markeredgecolor=INK, markersize=6.5, label=reported)
    axes.fill_between([], [], color="#e9eef4", label=f"margin {Scale(plan.campaign.judged).margin()}")
    figure.legend(loc="outside lower center", ncols=7, fontsize=8, frameon=False)


LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#4B4B9B")
"""Colours of Okabe and Ito, and two more that differ from them."""


CURVES = {"val_loss": "validation loss", "val_accuracy": "accuracy"}
"""Columns of `epochs.jsonl` that are drawn, where a run has them -> what the axis says."""
NUM_CURVES = 2


def draw_curves(plan: Plan, records: Mapping[str, RunRecord]) -> bytes:
    """Draw what the runs tell by epoch; a row shows a group, a line the median over an experiment's seeds.

    The baseline is the dark line in every row. A line ends at the last epoch that all of its runs reached. A run
    without scores counts only if no other run of the experiment has scores.
    """
    groups = list(dict.fromkeys(arm.group for arm in plan.arms.values() if arm.reference)) or [BASELINE]
    names, task = curve_names(plan, records), plan.campaign.task
    labels = {} if task.supervised else CURVES
    with style.context(STYLE):
        figure = Figure(figsize=(9.0, 0.9 + 2.1 * len(groups)), layout="constrained")
        panels = figure.subplots(len(groups), len(names), squeeze=False, sharex=True)
        for row, group in zip(panels, groups, strict=True):
            for axes, name in zip(row, names, strict=True):
                _draw_group(axes, plan, records, (group, name))
                axes.set_ylabel(labels.get(name, one_line(name, NAME_LETTERS)), fontsize=8.5)
                if labels and name == "val_accuracy":
                    axes.set_ylim(-0.02, 1.02)
            row[0].set_ylabel(f"{one_line(group, NAME_LETTERS)}\n{row[0].get_ylabel()}", fontsize=8.5)
            row[-1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for axes in panels[-1]:
            axes.set_xlabel(task.progress_name, fontsize=8.5)
        return to_png(figure)


def curve_names(plan: Plan, records: Mapping[str, RunRecord]) -> list[str]:
    """Return the columns of progress to draw: those of every epoch first, then what the metrics are read from."""
    # A column that no epoch fills would draw an empty panel.
    told = dict.fromkeys(
        name
        for run in records.values()
        for epoch in run.epochs
        for name, value in _numbers(epoch).items()
        if value is not None
    )
    wanted = [name for metric in plan.campaign.metrics.values() for name in (metric.name, column_of(metric))]
    ordered = dict.fromkeys([*CURVES, *wanted, *told])
    return [name for name in ordered if name in told][:NUM_CURVES] or list(CURVES)


def _numbers(epoch: EpochRecord) -> dict[str, float | None]:
    # A script has no other numbers than its own: those of jobs would be zero.
    return epoch.values or {name: getattr(epoch, name) for name in CURVES}


def _draw_group(axes: Axes, plan: Plan, records: Mapping[str, RunRecord], what: tuple[str, str]) -> None:
    group, name = what
    members = [arm for arm in plan.arms.values() if arm.group == group and arm.reference and arm.same_as is None]
    for arm, colour in zip(members, itertools.cycle(LINES), strict=False):
        axes.plot(*_median_curve(plan, records, arm.id, name), color=colour, linewidth=1.2, label=arm.id)
    axes.plot(*_median_curve(plan, records, BASELINE, name), color=INK, linewidth=2.0, label=BASELINE, zorder=3)
    axes.tick_params(labelsize=7.5)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _median_curve(
    plan: Plan, records: Mapping[str, RunRecord], experiment: str, name: str
) -> tuple[list[float], list[float]]:
    """Return the epochs or steps that all of the runs reached, and the median over the seeds at each."""
    found = [records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds]
    runs = [run for run in found if run is not None and run.epochs]
    scored = [run for run in runs if run.scores]
    # A stopped run would pull the median down, so it counts only if there is no other.
    series = [[_numbers(epoch).get(name) for epoch in run.epochs] for run in scored or runs]
    # `zip` stops at the shortest run, so no median mixes runs that ended with runs that went on.
    values = [[value for value in column if value is not None] for column in zip(*series, strict=False)]
    first = (scored or runs)[0].epochs if runs else ()
    places = [epoch.epoch if epoch.step is None else epoch.step for epoch in first]
    known = [(place, median(column)) for place, column in zip(places, values, strict=False) if column]
    return [place for place, _ in known], [value for _, value in known]
