"""What is said of a search: its best point, how sure that is, and every point. The same trials give the same bytes."""

import csv
import io
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import msgspec
from scipy.stats import norm, t

from model.run_folder import write_atomically
from orchestrator import wording
from orchestrator.layout import Layout
from orchestrator.search_figures import draw_history, draw_surface
from orchestrator.search_results import Difference, Searched, SearchSummary, TrialRecord
from orchestrator.spec import Change

LEVEL = 0.95
TOO_HIGH = (
    "The best of several noisy scores is too high, however carefully each was taken. What the point is worth is for "
    "fresh seeds to say, at a location that the search never saw."
)


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
    counts = wording.counted(found.num_visited, "point")
    early = f", {len(found.pruned)} of them given up early" if found.pruned else ""
    said = [f"search {found.name}: {counts} visited of {found.spec.trials}{early}, on {found.stack}"]
    said += [f"{trial.arm} is {trial.state} and counts for nothing: {trial.reason}" for trial in _unvisited(found)]
    if not found.scored:
        return said
    best, *others = found.scored
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
    folder = layout.search_report(found.campaign.name, found.name, found.campaign.profile, key)
    figures = {"history.png": draw_history(found), "surface.png": draw_surface(found)}
    drawn = {name: content for name, content in figures.items() if content}
    for name, content in (drawn | {"trials.csv": write_table(found)}).items():
        write_atomically(folder / name, content)
    write_atomically(folder / "report.md", render(found, list(drawn)).encode())
    write_atomically(layout.search_summary(folder), msgspec.json.format(msgspec.json.encode(summarise(found))) + b"\n")
    return folder / "report.md"


def summarise(found: Searched) -> SearchSummary:
    """Return what the report of the campaign lists of a search."""
    best, default = next(iter(found.scored), None), found.default_trial
    return SearchSummary(
        campaign=found.campaign.name,
        profile=found.campaign.profile,
        search=found.name,
        title=found.spec.title,
        stack=found.stack,
        captures=found.captures,
        visited=found.num_visited,
        wanted=found.spec.trials,
        best=best.change if best else {},
        score=best.score if best else None,
        default_visited=default is not None,
        to_default=compare(best, default) if best and default and default is not best else None,
    )


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
        trial = next((each for each in found.scored if each.point == number), None)
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
