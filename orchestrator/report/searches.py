"""The report of a search: its best point, how sure that is, and every point. The same trials give the same bytes."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from msgspec import UNSET

from orchestrator import wording
from orchestrator.campaign.scored import Objective
from orchestrator.files import format_json
from orchestrator.report.escape import MAX_LETTERS, escape_cell
from orchestrator.report.place import write_files
from orchestrator.report.search_figures import describe_history, describe_surface, draw_history, draw_surface
from orchestrator.runs.paths import Paths
from orchestrator.search.best_of import compare, pool_points
from orchestrator.search.objective import Score
from orchestrator.search.results import (
    Difference,
    Searched,
    SearchSummary,
    TrialRecord,
    as_trained,
    describe_score,
    name_point,
)
from orchestrator.search.sampler import TOP_SHARE
from orchestrator.wording import csv_cell, one_line, visible

TOO_GOOD = (
    "The best of several noisy scores is too good on average. To measure what the point is worth, use fresh seeds."
)
UNVISITED = {"too_slow": "was too slow", "failed": "failed"}
"""States in which a point was not visited -> how the report says so."""
TOO_HIGH = (
    "The best of several noisy scores is too high on average. To measure what the point is worth, use fresh seeds at a "
    "location that the search did not use."
)


def compare_with_best(found: Searched, other: TrialRecord) -> Difference:
    """Compare the best point with another one that has a score."""
    points = pool_points(found.scored, found.objective)
    return compare(found.scored[0], other, points, found.pairs.get(other.number))


def sentences(found: Searched) -> list[str]:
    """Return what the search found, and how sure that is, in sentences."""
    said = [_describe_count(found)]
    if found.exhausted and found.num_visited < found.spec.trials:
        said.append(f"no new point will come: {found.exhausted}")
    said += [f"{trial.arm} {UNVISITED[trial.state]} and does not count: {trial.reason}" for trial in _unvisited(found)]
    if not found.scored:
        return said
    best, *others = found.scored
    assert best.score is not None
    scored = describe_score(found.objective, best.score.mean, f" ({_describe_error(found.objective, best.score)})")
    said.append(f"best: {name_point(best.change)} with {scored}")
    default = found.default_trial
    if default is not None and default is not best:
        said.append(_describe_comparison(found, default, f"the default point ({name_point(found.default)})"))
    elif default is best:
        said.append("that is the default point itself")
    else:
        said.append(f"the default point ({name_point(found.default)}) was not visited")
    if others and others[0] is not default:
        said.append(_describe_comparison(found, others[0], f"the runner-up ({name_point(others[0].change)})"))
    return [*said, TOO_GOOD if found.objective.metric else TOO_HIGH]


def _describe_count(found: Searched) -> str:
    visited, wanted = found.num_visited, found.spec.trials
    of = f"of {wanted}" if visited <= wanted else f"where the file wants {wanted}"
    early = f", {len(found.pruned)} of them pruned" if found.pruned else ""
    return f"search {found.name}: {wording.counted(visited, 'point')} visited {of}{early}, on {found.stack}"


def _unvisited(found: Searched) -> list[TrialRecord]:
    return [trial for trial in found.trials if trial.state in UNVISITED]


def _describe_error(objective: Objective, score: Score) -> str:
    if not score.standard_error:
        unknown = "it has one seed, and no items" if objective.metric else "the number of bursts is not known"
        return f"standard error unknown: {unknown}"
    of = "over seeds" if score.is_across_seeds else "from sampling error alone, one seed"
    return f"standard error {objective.size(score.standard_error)} {of}"


def _describe_comparison(found: Searched, other: TrialRecord, name: str) -> str:
    objective = found.objective
    difference = compare_with_best(found, other)
    interval = _describe_interval(objective, difference)
    if difference.is_decided and difference.is_across_seeds:
        return f"it is better than {name}: {interval}"
    if difference.is_decided:
        scored = "scored better" if objective.metric else "scored higher"
        caution = "from sampling error alone; one seed cannot show that it is better"
        return f"it {scored} than {name}: {interval} {caution}"
    return f"no difference from {name} was found: {interval}"


def _describe_interval(objective: Objective, difference: Difference) -> str:
    unit = "points" if objective.unit == "%" else objective.unit
    points = f"{objective.difference(difference.points)} {unit}".rstrip()
    if difference.low is None or difference.high is None:
        return f"{points}, of unknown error"
    adjusted = f" {difference.adjusted}," if difference.adjusted else ""
    ends = f"{objective.difference(difference.low)} to {objective.difference(difference.high)}"
    return f"{points}, 95 % interval{adjusted} {ends}"


def write_search_report(found: Searched, paths: Paths) -> Path:
    """Write the report of a search and return its Markdown file. The same trials give the same bytes.

    Raises:
        RunError: it cannot be written.
    """
    key = found.study.rpartition("/")[2]
    folder = paths.search_report(found.campaign.name, found.name, found.campaign.profile, key)
    figures = {"history.png": draw_history(found), "surface.png": draw_surface(found)}
    drawn = {name: content for name, content in figures.items() if content}
    said = {
        "trials.csv": write_table(found),
        "report.md": render(found, list(drawn)).encode(),
        paths.search_summary(folder).name: format_json(summarise(found)),
    }
    write_files(folder, drawn | said)
    return folder / "report.md"


def summarise(found: Searched) -> SearchSummary:
    """Return what the campaign's report lists of a search."""
    best, default = next(iter(found.scored), None), found.default_trial
    return SearchSummary(
        campaign=found.campaign.name,
        profile=found.campaign.profile,
        search=found.name,
        title=found.spec.title,
        stack=found.stack,
        captures=found.objective.splits,
        metric=found.objective if found.objective.metric else UNSET,
        visited=found.num_visited,
        wanted=found.spec.trials,
        best=best.change if best else {},
        score=best.score if best else None,
        default_visited=default is not None,
        to_default=compare_with_best(found, default) if best and default and default is not best else None,
    )


def render(found: Searched, figures: Sequence[str]) -> str:
    """Return the report as Markdown; `figures` are the names of the pictures that were drawn."""
    said = {"history.png": describe_history, "surface.png": describe_surface}
    parts = [
        f"# {one_line(found.spec.title, MAX_LETTERS)}",
        f"Search `{found.name}` of campaign {found.campaign.name}, profile {found.campaign.profile}; "
        f"every point at {wording.seeds(found.seeds)}, suggested by {_name_samplers(found)}.",
        "\n".join(f"- {one_line(sentence, MAX_LETTERS)}" for sentence in sentences(found)),
        *(f"![{figure.partition('.')[0]}]({figure})\n\n{said[figure](found)}" for figure in figures),
        *_render_importance(found),
        "## Points\n\n" + _render_points(found),
        *_render_reported(found),
    ]
    return visible("\n\n".join(parts) + "\n")


def _name_samplers(found: Searched) -> str:
    """Name the samplers that suggested points, in their order; a search may change its sampler."""
    known = dict.fromkeys(trial.sampler for trial in found.trials if trial.sampler)
    return wording.listed(known or [found.spec.sampler])


def _render_importance(found: Searched) -> list[str]:
    if not found.importance:
        return []
    shares = [f"- {knob}: {100 * share:.0f} %" for knob, share in found.importance.items()]
    how = (
        f"By PED-ANOVA, from {len(found.scored)} points with a score: how much the best {100 * TOP_SHARE:.0f} % "
        "differ from all points in each knob. So few points give a hint, not a measurement."
    )
    return ["\n\n".join(["## What the score depends on", "\n".join(shares), how])]


def _render_points(found: Searched) -> str:
    rows = [
        [
            trial.arm if trial.again_of is None else f"{trial.arm}, {found.trials[trial.again_of].arm} again",
            *(str(trial.change.get(knob, "")) for knob in found.spec.space),
            _score_cell(found, trial),
            ", ".join(trial.runs),
        ]
        for trial in found.trials
    ]
    return _render_table(["trial", *found.spec.space, "score", "runs"], rows)


def _score_cell(found: Searched, trial: TrialRecord) -> str:
    if trial.score is None:
        return trial.state
    number = found.objective.number
    error = trial.score.standard_error
    return number(trial.score.mean) + (f" ± {number(error)}" if error else "")


def _render_reported(found: Searched) -> list[str]:
    """Return a table of the source's points: our score beside the one that it reports."""
    rows = []
    for point in found.spec.enqueue:
        # Trained values are rounded as the space says, so the point of the file is rounded too before the comparison.
        at = as_trained(point.at, found.spec.space)
        trial = next((each for each in (*found.scored, *found.trials) if each.change == at), None)
        if point.reported is not None:
            said = point.reported
            score = f"{said.accuracy:.1f}" if said.accuracy is not None else wording.MISSING
            rows.append(
                [name_point(point.at), _score_cell(found, trial) if trial else "not visited", score, said.note or ""]
            )
    if not rows:
        return []
    objective, theirs = found.objective, wording.listed(found.campaign.reported[:1])
    ours = objective.name if objective.metric else f"on {wording.listed(objective.splits)}"
    heads = ["point", f"ours, {ours}", f"the source, on {theirs}", "note"]
    return ["## The source's points\n\n" + _render_table(heads, rows)]


def _render_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(escape_cell(cell) for cell in line)} |" for line in lines)


def write_table(found: Searched) -> bytes:
    """Return every trial as a line of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "trial",
            *(csv_cell(knob) for knob in found.spec.space),
            "state",
            "score",
            "standard_error",
            "runs",
            "again_of",
            "reason",
        ]
    )
    for trial in found.trials:
        values = [trial.change.get(knob, "") for knob in found.spec.space]
        # A metric may be of any size, so its digits count and not its places.
        digits = ".8g" if found.objective.metric else ".4f"
        score = trial.score and f"{trial.score.mean:{digits}}"
        error = trial.score and trial.score.standard_error and f"{trial.score.standard_error:{digits}}"
        runs = " ".join(trial.runs)
        cells = [trial.number, *values, trial.state, score, error or "", runs, trial.again_of, trial.reason]
        writer.writerow([csv_cell(cell) for cell in cells])
    return text.getvalue().encode()
