"""The figures of a search: its scores in their order, and over two knobs. The same trials give the same bytes.

Axes: N points.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from orchestrator import wording
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.search_spec import CategoricalSpace, FloatSpace, IntSpace
from orchestrator.report.figures import FAINT, INK, NAME_LETTERS, STYLE, to_png
from orchestrator.search.results import Searched, TrialRecord
from orchestrator.wording import one_line

Floats = NDArray[np.float64]

GRID = 60
"""Number of grid points on each side of the response surface."""
LEVELS = 12
"""Number of shades of the surface."""
SMOOTHING = 0.5
"""Smoothing of the surface: scores are noisy, so it must not pass through each of them."""
MIN_SURFACE = 4
"""Least number of points for a surface."""
FEW_DECADES = 100.0
"""A logarithmic axis that spans less than this ratio is also labelled between the powers of ten."""
COLOURS = "cividis"
BEST = "#D55E00"
BEST_SO_FAR = "#0072B2"


def draw_history(found: Searched) -> bytes:
    """Draw the scores in the order of the trials, with the best so far; empty if there is no score."""
    trials = sorted(found.scored, key=lambda trial: trial.number)
    if not trials:
        return b""
    numbers = [trial.number for trial in trials]
    scores = [trial.score.mean for trial in trials if trial.score]
    errors = [trial.score.standard_error for trial in trials if trial.score]
    with style.context(STYLE):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.errorbar(numbers, scores, yerr=errors, fmt="o", color=INK, ecolor=FAINT, label="a point, ± standard error")
        # The best so far changes at a trial and stays until the next, hence steps.
        best_so_far = np.maximum if found.objective.sign > 0 else np.minimum
        axes.step(numbers, best_so_far.accumulate(scores), where="post", color=BEST_SO_FAR, label="best so far")
        if pruned := [trial.number for trial in found.pruned]:
            # A pruned point has no score, so its mark stands on the axis.
            at_foot = axes.get_xaxis_transform()
            axes.plot(pruned, [0.02] * len(pruned), "x", color=FAINT, transform=at_foot, label="pruned")
        axes.set(xlabel="trial", ylabel=_name_score(found.objective))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return to_png(figure)


def _name_score(objective: Objective) -> str:
    """Return the label of an axis: `accuracy on LocC (%)`, `loss`."""
    unit = f" ({objective.unit})" if objective.unit else ""
    if objective.metric:
        return f"{one_line(objective.name, 2 * NAME_LETTERS)}{unit}"
    return f"accuracy on {one_line(wording.listed(objective.splits), 2 * NAME_LETTERS)}{unit}"


def describe_history(found: Searched) -> str:
    """Return the caption of the history."""
    at_least = "the larger of seed noise and sampling error" if len(found.seeds) > 1 else "from sampling error alone"
    return f"Scores in the order of the trials, each with its standard error: {at_least}."


def describe_surface(found: Searched) -> str:
    """Return the caption of the surface: what it shows, and what it does not."""
    shown = _shown_knobs(found)
    hidden = [knob for knob in found.spec.space if knob not in shown]
    rest = f" The points also differ in {wording.listed(hidden)}, which is not shown." if hidden else ""
    lacking = [trial for trial in found.scored if trial not in _with_knobs(found.scored, shown)]
    without = f" Left out: {wording.counted(len(lacking), 'point')} without a value of both." if lacking else ""
    guide = "The surface is smoothed through noisy scores: it guides the eye and measures nothing between the points."
    return f"The score over {wording.listed(shown)}. {guide}{rest}{without}"


def _numeric(found: Searched) -> Iterator[tuple[str, FloatSpace | IntSpace]]:
    return ((knob, within) for knob, within in found.spec.space.items() if not isinstance(within, CategoricalSpace))


def _shown_knobs(found: Searched) -> list[str]:
    """Return the knobs that the surface is drawn over: the first two numbers of the space."""
    return [knob for knob, _ in _numeric(found)][:2]


def draw_surface(found: Searched) -> bytes:
    """Draw the score over the first two numeric knobs, with the points on it; empty if there are too few points.

    The surface is a smoothed radial interpolation on the axes as drawn. It guides the eye and measures nothing between
    the points.
    """
    knobs = _shown_knobs(found)
    if len(knobs) < 2 or len(_with_knobs(found.scored, knobs)) < MIN_SURFACE:
        return b""
    with style.context(STYLE):
        figure = Figure(figsize=(7.0, 5.0), layout="constrained")
        axes = figure.add_subplot()
        _draw_scores(figure, axes, found, knobs)
        pruned_N2 = _points(_with_knobs(found.pruned, knobs), knobs)
        x_N, y_N = pruned_N2.T
        if len(x_N):
            axes.scatter(x_N, y_N, marker="x", c="white", clip_on=False, zorder=3, label="pruned")
        axes.set(xlabel=knobs[0], ylabel=knobs[1])
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=3, frameon=True, facecolor=FAINT)
        return to_png(figure)


def _with_knobs(trials: Sequence[TrialRecord], knobs: Sequence[str]) -> list[TrialRecord]:
    return [trial for trial in trials if all(knob in trial.change for knob in knobs)]


def _points(trials: Sequence[TrialRecord], knobs: Sequence[str]) -> Floats:
    """Return where the points lie [N, 2]."""
    return np.array([[float(trial.change[knob]) for knob in knobs] for trial in trials]).reshape(-1, len(knobs))


def _draw_scores(figure: Figure, axes: Axes, found: Searched, knobs: Sequence[str]) -> None:
    trials = _with_knobs(found.scored, knobs)
    points_N2, scores_N = _points(trials, knobs), np.array([trial.score.mean for trial in trials if trial.score])
    spaces = [within for _, within in _numeric(found)][:2]
    # If the search sampled a knob on a logarithmic scale, so do the axis and the distances between points.
    scaled_N2 = np.stack([_scale(space, x_N) for space, x_N in zip(spaces, points_N2.T, strict=True)], axis=1)
    ends = [_scale(space, np.array([space.low, space.high], np.float64)) for space in spaces]
    sides = [np.linspace(low, high, GRID) for low, high in ends]
    at = np.stack([axis.ravel() for axis in np.meshgrid(*sides)], axis=1)
    height = _interpolate(scaled_N2, scores_N, at).reshape(GRID, GRID)
    across, up = [10.0**side if space.log else side for space, side in zip(spaces, sides, strict=True)]
    low, high = min(scores_N.min(), height.min()), max(scores_N.max(), height.max())
    # Points and surface share one colour scale, so a point off the surface is visible.
    shades = np.linspace(low, max(high, low + 1e-6), LEVELS + 1)
    drawn = axes.contourf(across, up, height, levels=shades, cmap=COLOURS)
    scales = ["log" if space.log else "linear" for space in spaces]
    axes.set(xscale=scales[0], yscale=scales[1])
    for axis, space in zip((axes.xaxis, axes.yaxis), spaces, strict=True):
        if space.log:
            _label_powers(axis, space)
    x_N, y_N = points_N2.T
    marks = [axes.scatter(x_N, y_N, c=scores_N, cmap=COLOURS, vmin=low, vmax=high, edgecolors="white", s=60)]
    if trials[0] is found.scored[0]:
        marks.append(axes.scatter(x_N[:1], y_N[:1], marker="*", s=240, c=BEST, edgecolors="white", label="best"))
    for mark in marks:
        # A point on the edge of the space is drawn whole.
        mark.set(clip_on=False, zorder=3)
    figure.colorbar(
        drawn,
        ax=axes,
        format="%.4g" if found.objective.metric else "%.1f",
        label=_name_score(found.objective),
    )


def _label_powers(axis: Axis, space: FloatSpace | IntSpace) -> None:
    """Label a logarithmic axis as plain text: mathematical type is off, since it would read a name's dollar signs."""
    is_short = space.high < FEW_DECADES * space.low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _scale(space: FloatSpace | IntSpace, values: Floats) -> Floats:
    scaled: Floats = np.log10(values) if space.log else values
    return scaled


def _interpolate(points_N2: Floats, scores_N: Floats, at: Floats) -> Floats:
    """Return the surface at some places; points at one place, which differ in other knobs, count with their mean."""
    places, which_N, count = np.unique(points_N2, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(which_N.ravel(), weights=scores_N) / count
    width = at.max(axis=0) - at.min(axis=0)
    surface = RBFInterpolator(places / width, means, smoothing=SMOOTHING, kernel="linear", degree=0)
    height: Floats = surface(at / width)
    return height
