"""The report: tables and judgements -> Markdown, HTML, figures and CSV. The same results give the same bytes.

No clock and no arithmetic in the templates: what they print is worked out here, as words.
"""

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markdown_it import MarkdownIt
from markupsafe import Markup

from model.flags import to_flags
from model.run_folder import write_atomically
from orchestrator import figures, tables, wording
from orchestrator.evidence import RunRecord
from orchestrator.judgement import Judgement, Verdict
from orchestrator.knobs import difference
from orchestrator.layout import Layout
from orchestrator.plan import Arm, Plan
from orchestrator.spec import BASELINE
from orchestrator.verdicts import family_size

Records = Mapping[str, RunRecord]
Judgements = Mapping[str, Judgement]

ORDER = (
    Verdict.IMPROVED,
    Verdict.NO_CHANGE,
    Verdict.INCONCLUSIVE,
    Verdict.REGRESSION,
    Verdict.TOO_SLOW,
    Verdict.FAILED,
    Verdict.PENDING,
)
"""In which order the summary lists the verdicts."""
NEGATIVE = (Verdict.REGRESSION, Verdict.TOO_SLOW, Verdict.FAILED)
NOT_RECORDED = "not recorded"
CSV_FILES = {
    "verdicts": "a row an experiment: accuracy, difference, interval, its two sources of error, p, verdict, reason",
    "seeds": "the numbers behind each mean: accuracy and difference of each experiment at each seed",
    "runs": "a row a training: state, scores, epochs, seconds, commit, branch",
    "claims": "what the source reports beside what was found",
    "devices": "accuracy by transmitter",
    "epochs": "the training curves",
}


def write_report(plan: Plan, records: Records, judgements: Judgements, layout: Layout) -> Path:
    """Write the report into a folder named by its contents, point `latest` to it, and return `report.md`."""
    frames = build_frames(plan, records, judgements)
    content: dict[str, bytes] = {f"{name}.csv": _to_csv(frame) for name, frame in frames.items()}
    content["deltas.png"] = figures.draw_deltas(plan, judgements)
    content["curves.png"] = figures.draw_curves(plan, records)
    markdown = render_markdown(plan, records, judgements)
    content["report.md"] = markdown.encode()
    pictures = {name: data for name, data in content.items() if name.endswith(".png")}
    content["report.html"] = render_page(plan.campaign.title, markdown, pictures).encode()
    folder = layout.report(f"{plan.campaign.name}-{_hash(content)}")
    for name, data in content.items():
        write_atomically(folder / name, data)
    _point_latest(layout.latest_report, folder)
    return folder / "report.md"


def _hash(content: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(content):
        whole.update(name.encode() + b"\0" + hashlib.sha256(content[name]).digest())
    return whole.hexdigest()[:8]


def _point_latest(link: Path, folder: Path) -> None:
    """Replace the link in one step, so that there always is a newest report."""
    fresh = link.with_name(f".{link.name}.{folder.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name, target_is_directory=True)
    fresh.replace(link)


def build_frames(plan: Plan, records: Records, judgements: Judgements) -> dict[str, pd.DataFrame]:
    """Build the tables of a report, by the name of their CSV."""
    return {
        "verdicts": tables.scores_table(plan, judgements),
        "seeds": tables.seeds_table(plan, judgements),
        "runs": tables.runs_table(plan, records),
        "claims": tables.claims_table(plan, judgements),
        "devices": tables.devices_table(plan, records),
        "epochs": tables.epochs_table(plan, records),
    }


def _to_csv(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    return text.encode()


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=PackageLoader("orchestrator"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = _cell
    environment.filters["text"] = _text
    return environment


def _cell(value: object) -> str:
    """Make text fit for a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


_CODE = re.compile(r"(`[^`]+`)")
_MARKS = re.compile(r"[\\`*\[\]|~]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|^[#=+-](?=[\s#=+-])|(?<=^\d)[.)](?=\s)")


def _text(value: object) -> str:
    """Make text of others stand for itself in Markdown, in a paragraph or a cell; words in backticks stay code."""
    parts = _CODE.split(" ".join(str(value).split()))
    return "".join(_cell(part) if _CODE.fullmatch(part) else _MARKS.sub(r"\\\g<0>", part) for part in parts)


def render_markdown(plan: Plan, records: Records, judgements: Judgements) -> str:
    """Render the report."""
    context = {
        "campaign": plan.campaign,
        "is_emulated": plan.campaign.data.emulate is not None,
        "judged": tables.judged_capture(plan),
        "also_scored": wording.listed(plan.campaign.data.report[1:]) if plan.campaign.data.report[1:] else "",
        "num_compared": family_size(plan, judgements),
        "headline": describe_outcome(judgements),
        "summary": [_summary_row(plan, judgements[name]) for name in _in_order(judgements)],
        "sections": [
            _section(plan, records, judgements[name])
            for name in _in_order(judgements)
            if _has_section(judgements[name])
        ],
        "negatives": _negatives(plan, judgements),
        "claims": _claims(plan, judgements),
        "how": _how(plan, records),
        "files": CSV_FILES,
    }
    return _environment().get_template("report.md.j2").render(context)


def render_page(title: str, markdown: str, pictures: Mapping[str, bytes]) -> str:
    """Wrap the report as one HTML file that needs no other; HTML inside the Markdown is shown, never obeyed."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    for name, data in pictures.items():
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(data).decode()}"')
    body = re.sub(rf"<td>({'|'.join(Verdict)})</td>", r'<td class="\1">\1</td>', body)
    environment = _environment()
    environment.autoescape = True
    css = Markup(environment.loader.get_source(environment, "report.css")[0]) if environment.loader else ""
    return environment.get_template("report.html.j2").render(title=title, css=css, body=Markup(body))


def _in_order(judgements: Judgements) -> list[str]:
    """The baseline, then the verdicts in their order, larger differences first."""

    def rank(name: str) -> tuple[int, float]:
        judgement = judgements[name]
        if judgement.verdict is None:
            return -1, 0.0
        return ORDER.index(judgement.verdict), -(judgement.delta_points or 0.0)

    return sorted(judgements, key=rank)


def describe_outcome(judgements: Judgements) -> str:
    """Say in a sentence how many experiments ended with which verdict."""
    counts = Counter(
        judgement.verdict for judgement in judgements.values() if judgement.verdict and judgement.reference
    )
    parts = [f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict]]
    return f"Of {wording.counted(sum(counts.values()), 'experiment')}: {wording.listed(parts)}."


def _summary_row(plan: Plan, judgement: Judgement) -> dict[str, str]:
    arm = plan.arms[judgement.experiment]
    return {
        "experiment": arm.id,
        "title": arm.title,
        "on": arm.reference or wording.MISSING,
        "accuracy": wording.percent(judgement.accuracy_percent),
        "delta": wording.points(judgement.delta_points),
        "interval": wording.interval(judgement.interval_points),
        "to_baseline": wording.points(judgement.baseline_delta_points),
        "verdict": str(judgement.verdict or wording.MISSING),
        "reason": judgement.reason,
        "change": _describe_change(arm),
    }


def _describe_change(arm: Arm) -> str:
    return ", ".join(f"`{knob}: {json.dumps(value)}`" for knob, value in arm.change.items())


def _has_section(judgement: Judgement) -> bool:
    return judgement.verdict not in NEGATIVE


def _section(plan: Plan, records: Records, judgement: Judgement) -> dict[str, Any]:
    arm = plan.arms[judgement.experiment]
    before = plan.arms[arm.reference].config if arm.reference else None
    changes = difference(before, arm.config) if before else {}
    return _summary_row(plan, judgement) | {
        "hypothesis": arm.hypothesis,
        "sentence": _sentence(judgement.reason),
        "same_as": arm.same_as or "",
        "twin_reported": _twin_reported(plan, arm),
        "changes": [{"knob": knob, "old": _value(old), "new": _value(new)} for knob, (old, new) in changes.items()],
        "command": _command(plan, arm),
        "training": _training_command(plan, arm),
        "seeds": _seed_rows(plan, records, judgement),
        "errors": _describe_errors(judgement),
        "interval": "(no interval)" if judgement.low_points is None else wording.interval(judgement.interval_points),
    }


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _value(value: object) -> str:
    return "not there" if value is None else f"`{json.dumps(value)}`"


def _twin_reported(plan: Plan, arm: Arm) -> str:
    """Say what the source's two numbers for one configuration tell about its noise."""
    twin = plan.arms[arm.same_as] if arm.same_as else None
    ours, theirs = arm.reported, twin.reported if twin else None
    if twin is None or ours is None or theirs is None or ours.accuracy is None or theirs.accuracy is None:
        return ""
    apart = abs(ours.accuracy - theirs.accuracy)
    return (
        f"The source reports {wording.percent(ours.accuracy)} for {arm.id} and {wording.percent(theirs.accuracy)} for "
        f"{twin.id}. They are one configuration, so the {apart:.1f} points between them are the noise of a single run."
    )


def _command(plan: Plan, arm: Arm) -> str:
    seeds = plan.campaign.seeds
    contiguous = seeds == tuple(range(seeds[0], seeds[-1] + 1))
    words = f" --seeds {seeds[0]}-{seeds[-1]}" if contiguous else ""
    return f"knockout run {arm.id} --profile {shlex.quote(plan.campaign.profile)}{words}"


def _training_command(plan: Plan, arm: Arm) -> str:
    """Write the training of the first seed in the source's command line, on shards of the baseline's data."""
    data = plan.arms[BASELINE].config.data
    flags = to_flags(arm.config, "shards/manifest.json", f"saved_models/{arm.id}.pth", data)
    return wording.shell_command(["python", "-m", "model.train", *flags])


def _seed_rows(plan: Plan, records: Records, judgement: Judgement) -> list[dict[str, str]]:
    rows = []
    for seed in plan.campaign.seeds:
        record = records.get(plan.run_of[judgement.experiment, seed])
        origin = record.provenance if record else {}
        rows.append(
            {
                "seed": str(seed),
                "accuracy": wording.percent(judgement.accuracy_percent_of.get(seed)),
                "delta": wording.points(judgement.delta_points_of.get(seed)),
                "run": plan.run_of[judgement.experiment, seed],
                "commit": str(origin.get("commit") or NOT_RECORDED)[:12],
                "branch": str(origin.get("branch") or NOT_RECORDED),
            }
        )
    return rows


def _describe_errors(judgement: Judgement) -> str:
    if judgement.seed_error_points is None or judgement.burst_error_points is None:
        return ""
    borrowed = ", its spread pooled with the campaign's other comparisons" if judgement.moderated else ""
    return (
        f"Standard error from seeds {judgement.seed_error_points:.2f} points{borrowed}; from bursts "
        f"{judgement.burst_error_points:.2f}. p {wording.probability(judgement.p_value)}, adjusted "
        f"{wording.probability(judgement.adjusted_p_value)}."
    )


def _negatives(plan: Plan, judgements: Judgements) -> dict[str, list[dict[str, str]]]:
    """Group what hurt or was stopped, for the table of negative results."""
    groups: dict[str, list[dict[str, str]]] = {}
    for name in _in_order(judgements):
        if not _has_section(judgements[name]):
            groups.setdefault(plan.arms[name].group, []).append(_summary_row(plan, judgements[name]))
    return groups


def _claims(plan: Plan, judgements: Judgements) -> dict[str, Any]:
    frame = tables.claims_table(plan, judgements)
    compared = frame[frame["experiment"] != BASELINE]
    counts = Counter(compared["agreement"])
    parts = [f"{count} {agreement}" for agreement, count in sorted(counts.items())]
    return {"sentence": wording.listed(parts), "rows": [_claim_row(row) for _, row in frame.iterrows()]}


def _claim_row(row: "pd.Series[Any]") -> dict[str, str]:
    known = {str(name): None if pd.isna(value) else value for name, value in row.items()}
    low, high = known["low_points"], known["high_points"]
    reported = known["reported_outcome"] or wording.points(known["reported_delta_points"])
    return {
        "experiment": str(known["experiment"]),
        "reported_accuracy": wording.percent(known["reported_accuracy_percent"]),
        "reported": str(reported),
        "versus": str(known["reported_versus"] or wording.MISSING),
        "delta": wording.points(known["delta_points"]),
        "interval": wording.interval(None if low is None or high is None else (low, high)),
        "agreement": str(known["agreement"]),
        "why": str(known["why"] or ""),
    }


def _how(plan: Plan, records: Records) -> list[tuple[str, str]]:
    """List how the campaign was run: counts from the records, versions from their provenance."""
    judged = tables.judged_capture(plan)
    runs = list(records.values())
    scorings = sum(judged in run.result.scores for run in runs if run.result)
    seconds = sum(epoch.seconds for run in runs for epoch in run.epochs)
    return [
        ("trainings", f"{len(runs)} of {len(plan.runs)}, {sum(len(run.epochs) for run in runs)} epochs"),
        ("training time", f"{seconds:,.0f} s in epochs ({seconds / 60:.0f} minutes), summed over runs"),
        (f"scorings on {judged}", f"{scorings}, once a run, at the end, by the epoch of lowest validation loss"),
        ("seeds", wording.listed(plan.campaign.seeds)),
        ("code", _distinct(runs, lambda origin: str(origin.get("code_tree") or NOT_RECORDED)[:12])),
        ("base commit", _distinct(runs, lambda origin: str(origin.get("base_commit") or NOT_RECORDED)[:12])),
        ("host", _distinct(runs, lambda origin: str(origin.get("host") or NOT_RECORDED))),
        ("device", _distinct(runs, lambda origin: str(origin.get("device") or NOT_RECORDED))),
        ("environment", _distinct(runs, _describe_environment)),
        *_captures(runs),
    ]


def _distinct(runs: Sequence[RunRecord], describe: Any) -> str:
    return wording.listed(sorted({describe(run.provenance) for run in runs}))


def _describe_environment(origin: Mapping[str, Any]) -> str:
    environment = origin.get("environment") or {}
    return ", ".join(f"{name} {version}" for name, version in environment.items() if version) or NOT_RECORDED


def _captures(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    hashes = {path: content for run in runs for path, content in (run.provenance.get("captures") or {}).items()}
    return [(f"capture {Path(path).name}", f"SHA-256 {content[:16]}…") for path, content in sorted(hashes.items())]
