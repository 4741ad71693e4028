"""What is said of a search: its best point, how sure that is, and every point. The same trials give the same bytes."""

import csv
import io
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from msgspec import Struct
from scipy.interpolate import RBFInterpolator
from scipy.stats import norm, t

from model.run_folder import write_atomically
from orchestrator import wording
from orchestrator.figures import DOTS_PER_INCH, FAINT, INK, STYLE
from orchestrator.layout import Layout
from orchestrator.search_results import Searched, TrialRecord
from orchestrator.spec import CategoricalSpace, Change

LEVEL = 0.95
GRID = 60
"""Points a side at which the response surface is drawn."""
SMOOTHING = 0.5
"""Of the surface, which is drawn through noisy scores and must not follow each of them."""
MIN_SURFACE = 4
"""Fewer points make no surface."""
TOO_HIGH = (
    "The best of several noisy scores is too high, however carefully each was taken. What the point is worth is for "
    "fresh seeds to say, at a location that the search never saw."
)


class Difference(Struct, frozen=True, kw_only=True):
    """How much better one point scored than another, in points of accuracy, with an interval of 95 %."""

    points: float
    low: float
    high: float
    is_across_seeds: bool
    """Whether the interval covers the luck of seeds; else that of the bursts alone, so that it is too narrow."""

    @property
    def is_told(self) -> bool:
        """Whether the two can be told apart."""
        return not self.low <= 0.0 <= self.high


def compare(best: TrialRecord, other: TrialRecord) -> Difference:
    """Compare two points: paired by seed, by Student's t; of one seed, by the bursts of both (binomial, unpaired)."""
    ours, theirs = best.score, other.score
    assert ours is not None
    assert theirs is not None
    differences = [one - two for one, two in zip(ours.per_seed, theirs.per_seed, strict=True)]
    if ours.is_across_seeds:
        error = stdev(differences) / sqrt(len(differences))
        reach = float(t.ppf(0.5 + LEVEL / 2, len(differences) - 1)) * error
    else:
        reach = float(norm.ppf(0.5 + LEVEL / 2)) * sqrt(ours.standard_error**2 + theirs.standard_error**2)
    middle = mean(differences)
    return Difference(points=middle, low=middle - reach, high=middle + reach, is_across_seeds=ours.is_across_seeds)


def sentences(found: Searched) -> list[str]:
    """Say what the search has found, and how sure that is."""
    counts = wording.counted(len(found.visited), "point")
    said = [f"search {found.name}: {counts} visited of {found.spec.trials}, on {found.stack}"]
    said += [f"{trial.arm} is {trial.state} and counts for nothing: {trial.reason}" for trial in _unvisited(found)]
    if not found.visited:
        return said
    best, *others = found.visited
    assert best.score is not None
    said.append(f"best: {name_point(best.change)} with {_score(best)} on {wording.listed(found.captures)}")
    default = found.default_trial
    if default is not None and default is not best:
        said.append(_compare(best, default, f"the default point ({name_point(found.default)})"))
    elif default is best:
        said.append("that is the default point itself")
    else:
        said.append(f"the default point ({name_point(found.default)}) was not visited")
    if others and others[0] is not default:
        said.append(_compare(best, others[0], f"the runner-up ({name_point(others[0].change)})"))
    return [*said, TOO_HIGH]


def _unvisited(found: Searched) -> list[TrialRecord]:
    return [trial for trial in found.trials if trial.state in ("too_slow", "failed")]


def name_point(change: Change) -> str:
    """Name a point by its values: loss.gamma 2.0, loss.label_smoothing 0.05."""
    return ", ".join(f"{knob} {value}" for knob, value in change.items())


def _score(trial: TrialRecord) -> str:
    score = trial.score
    assert score is not None
    of = "over seeds" if score.is_across_seeds else "of the bursts alone, one seed"
    return f"{score.mean:.1f} % (standard error {score.standard_error:.1f} points {of})"


def _compare(best: TrialRecord, other: TrialRecord, name: str) -> str:
    found = compare(best, other)
    interval = f"{found.points:+.1f} points, 95 % interval {found.low:+.1f} to {found.high:+.1f}"
    if found.is_told and found.is_across_seeds:
        return f"it is better than {name}: {interval}"
    if found.is_told:
        return f"it scored higher than {name}: {interval} by the bursts alone; one seed cannot say that it is better"
    return f"it cannot be told from {name}: {interval}"


def write_search_report(found: Searched, layout: Layout) -> Path:
    """Write the report of a search; return its Markdown file. The same trials give the same bytes."""
    key = found.study.rpartition("/")[2]
    folder = layout.report(f"{found.campaign.name}-search-{found.name}-{found.campaign.profile}-{key}")
    figures = {"history.png": draw_history(found), "surface.png": draw_surface(found)}
    drawn = {name: content for name, content in figures.items() if content}
    for name, content in (drawn | {"trials.csv": write_table(found)}).items():
        write_atomically(folder / name, content)
    write_atomically(folder / "report.md", render(found, list(drawn)).encode())
    return folder / "report.md"


def render(found: Searched, figures: Sequence[str]) -> str:
    """Write the report as Markdown."""
    seeds = f"{wording.seeds(found.seeds)} a point, by {found.spec.sampler}"
    parts = [
        f"# {found.spec.title}",
        f"Search `{found.name}` of campaign {found.campaign.name}, profile {found.campaign.profile}; {seeds}.",
        "\n".join(f"- {sentence}" for sentence in sentences(found)),
        *(f"![{figure.partition('.')[0]}]({figure})" for figure in figures),
        *_render_importance(found),
        "## Points\n\n" + _render_points(found),
        *_render_reported(found),
    ]
    return "\n\n".join(parts) + "\n"


def _render_importance(found: Searched) -> list[str]:
    if not found.importance:
        return []
    shares = [f"- {knob}: {100 * share:.0f} %" for knob, share in found.importance.items()]
    return ["## What the score depends on\n\n" + "\n".join(shares) + "\n\nBy PED-ANOVA, over the points visited."]


def _render_points(found: Searched) -> str:
    rows = [
        [
            trial.arm,
            *(str(trial.change.get(knob, "")) for knob in found.spec.space),
            _cell(trial),
            ", ".join(trial.runs),
        ]
        for trial in found.trials
    ]
    return _render_table(["trial", *found.spec.space, "score", "runs"], rows)


def _cell(trial: TrialRecord) -> str:
    if trial.score is None:
        return trial.state
    return f"{trial.score.mean:.1f} ± {trial.score.standard_error:.1f}"


def _render_reported(found: Searched) -> list[str]:
    """Set the points of the source beside what it says of them."""
    rows = []
    for number, point in enumerate(found.spec.enqueue):
        trial = next((each for each in found.visited if each.point == number), None)
        if point.reported is not None:
            said = point.reported
            score = f"{said.accuracy:.1f}" if said.accuracy is not None else wording.MISSING
            rows.append([name_point(point.at), _cell(trial) if trial else "not visited", score, said.note or ""])
    if not rows:
        return []
    ours, theirs = wording.listed(found.captures), wording.listed(found.campaign.data.report[:1])
    heads = ["point", f"ours, on {ours}", f"the source, on {theirs}", "note"]
    return ["## The source's points\n\n" + _render_table(heads, rows)]


def _render_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def write_table(found: Searched) -> bytes:
    """Write every trial as a line of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *found.spec.space, "state", "score", "standard_error", "runs", "reason"])
    for trial in found.trials:
        values = [trial.change.get(knob, "") for knob in found.spec.space]
        score = (trial.score.mean, trial.score.standard_error) if trial.score else ("", "")
        writer.writerow([trial.number, *values, trial.state, *score, " ".join(trial.runs), trial.reason])
    return text.getvalue().encode()


def draw_history(found: Searched) -> bytes:
    """Draw the scores in the order in which points were asked for, with the best so far; nothing without a score."""
    trials = sorted(found.visited, key=lambda trial: trial.number)
    if not trials:
        return b""
    numbers = [trial.number for trial in trials]
    scores = [trial.score.mean for trial in trials if trial.score]
    errors = [trial.score.standard_error for trial in trials if trial.score]
    with style.context(STYLE):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.errorbar(numbers, scores, yerr=errors, fmt="o", color=INK, ecolor=FAINT, label="a point, ± standard error")
        axes.step(numbers, np.maximum.accumulate(scores), where="post", color="#0072B2", label="best so far")
        axes.set(xlabel="trial", ylabel=f"accuracy on {wording.listed(found.captures)} (%)")
        axes.legend(frameon=False)
        return _to_png(figure)


def draw_surface(found: Searched) -> bytes:
    """Draw the score over the first two real knobs, with the points on it; nothing where there are too few.

    The surface is a smoothed radial interpolation: a guide for the eye, without a claim between the points.
    """
    knobs = [knob for knob, within in found.spec.space.items() if not isinstance(within, CategoricalSpace)][:2]
    trials = [trial for trial in found.visited if all(knob in trial.change for knob in knobs)]
    if len(knobs) < 2 or len(trials) < MIN_SURFACE:
        return b""
    with style.context(STYLE):
        figure = Figure(figsize=(7.0, 5.0), layout="constrained")
        _draw_surface(figure, found, knobs, trials)
        return _to_png(figure)


def _draw_surface(figure: Figure, found: Searched, knobs: Sequence[str], trials: Sequence[TrialRecord]) -> None:
    axes = figure.add_subplot()
    spaces = [found.spec.space[knob] for knob in knobs]
    ends = np.array([(space.low, space.high) for space in spaces if not isinstance(space, CategoricalSpace)])
    points_N2 = np.array([[float(trial.change[knob]) for knob in knobs] for trial in trials])
    scores_N = np.array([trial.score.mean for trial in trials if trial.score])
    distinct_N2, first = np.unique(points_N2, axis=0, return_index=True)
    width = ends[:, 1] - ends[:, 0]
    surface = RBFInterpolator(distinct_N2 / width, scores_N[first], smoothing=SMOOTHING, kernel="linear", degree=0)
    across, up = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in ends))
    height = surface(np.stack([across.ravel(), up.ravel()], axis=1) / width).reshape(across.shape)
    low, high = min(scores_N.min(), height.min()), max(scores_N.max(), height.max())
    drawn = axes.contourf(across, up, height, levels=12, cmap="cividis", vmin=low, vmax=high)
    axes.scatter(
        points_N2[:, 0], points_N2[:, 1], c=scores_N, cmap="cividis", vmin=low, vmax=high, edgecolors="white", s=60
    )
    axes.scatter(points_N2[:1, 0], points_N2[:1, 1], marker="*", s=240, c="#D55E00", edgecolors="white", label="best")
    figure.colorbar(drawn, ax=axes, label=f"accuracy on {wording.listed(found.captures)} (%)")
    axes.set(xlabel=knobs[0], ylabel=knobs[1])
    axes.legend(frameon=True)


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
