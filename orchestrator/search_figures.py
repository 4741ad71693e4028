"""The figures of a search: how its scores came, and how they lie over two knobs. The same trials give the same bytes.

Axes: N points.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from orchestrator import wording
from orchestrator.figures import FAINT, INK, STYLE, to_png
from orchestrator.search_results import Searched, TrialRecord
from orchestrator.spec import CategoricalSpace

Floats = NDArray[np.float64]

GRID = 60
"""Points a side at which the response surface is drawn."""
LEVELS = 12
"""Shades of the surface."""
SMOOTHING = 0.5
"""Of the surface, which is drawn through noisy scores and must not follow each of them."""
MIN_SURFACE = 4
"""Fewer points make no surface."""
COLOURS = "cividis"
BEST = "#D55E00"
BEST_SO_FAR = "#0072B2"


def draw_history(found: Searched) -> bytes:
    """Draw the scores in the order in which points were asked for, with the best so far; nothing without a score."""
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
        axes.step(numbers, np.maximum.accumulate(scores), where="post", color=BEST_SO_FAR, label="best so far")
        if pruned := [trial.number for trial in found.pruned]:
            # They have no score: their marks stand on the axis.
            at_foot = axes.get_xaxis_transform()
            axes.plot(pruned, [0.02] * len(pruned), "x", color=FAINT, transform=at_foot, label="given up early")
        axes.set(xlabel="trial", ylabel=f"accuracy on {wording.listed(found.captures)} (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return to_png(figure)


def draw_surface(found: Searched) -> bytes:
    """Draw the score over the first two real knobs, with the points on it; nothing where there are too few.

    The surface is a smoothed radial interpolation: a guide for the eye, without a claim between the points.
    """
    knobs = [knob for knob, within in found.spec.space.items() if not isinstance(within, CategoricalSpace)][:2]
    if len(knobs) < 2 or len(_with_knobs(found.scored, knobs)) < MIN_SURFACE:
        return b""
    with style.context(STYLE):
        figure = Figure(figsize=(7.0, 5.0), layout="constrained")
        axes = figure.add_subplot()
        _draw_scores(figure, axes, found, knobs)
        pruned_N2 = _points(_with_knobs(found.pruned, knobs), knobs)
        x_N, y_N = pruned_N2.T
        if len(x_N):
            axes.scatter(x_N, y_N, marker="x", c="white", clip_on=False, zorder=3, label="given up early")
        axes.set(xlabel=knobs[0], ylabel=knobs[1])
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
    spaces = [found.spec.space[knob] for knob in knobs]
    ends = [(space.low, space.high) for space in spaces if not isinstance(space, CategoricalSpace)]
    across, up = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in ends))
    height = _interpolate(points_N2, scores_N, np.array(ends), np.stack([across.ravel(), up.ravel()], axis=1))
    low, high = min(scores_N.min(), height.min()), max(scores_N.max(), height.max())
    # Points and surface share one scale, so that a point which lies off the surface shows it.
    shades = np.linspace(low, max(high, low + 1e-6), LEVELS + 1)
    drawn = axes.contourf(across, up, height.reshape(across.shape), levels=shades, cmap=COLOURS)
    x_N, y_N = points_N2.T
    axes.scatter(x_N, y_N, c=scores_N, cmap=COLOURS, vmin=low, vmax=high, edgecolors="white", s=60)
    axes.scatter(x_N[:1], y_N[:1], marker="*", s=240, c=BEST, edgecolors="white", label="best")
    figure.colorbar(drawn, ax=axes, format="%.1f", label=f"accuracy on {wording.listed(found.captures)} (%)")


def _interpolate(points_N2: Floats, scores_N: Floats, ends: Floats, at: Floats) -> Floats:
    distinct_N2, first = np.unique(points_N2, axis=0, return_index=True)
    width = ends[:, 1] - ends[:, 0]
    surface = RBFInterpolator(distinct_N2 / width, scores_N[first], smoothing=SMOOTHING, kernel="linear", degree=0)
    height: Floats = surface(at / width)
    return height
