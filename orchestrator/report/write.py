"""The report as files: Markdown, HTML, figures and CSV. The same results give the same bytes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from orchestrator.campaign.plan import Plan
from orchestrator.report import figures, tables
from orchestrator.report.markdown import MAX_LETTERS, NOTHING, render_markdown
from orchestrator.report.page import render_page
from orchestrator.report.place import point_latest, write_files
from orchestrator.report.search_rows import search_rows
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import Records
from orchestrator.verdicts.judgement import Judgements
from orchestrator.wording import csv_cell, one_line


def write_report(
    plan: Plan, records: Records, judgements: Judgements, paths: Paths, refused: Mapping[str, str] = NOTHING
) -> Path:
    """Write the report into a folder named by its contents, point `latest` to it, and return `report.md`.

    Args:
        plan: what was to be run.
        records: run -> what it left.
        judgements: experiment -> what is concluded.
        paths: where reports lie.
        refused: run -> why what its folder says is not believed.

    Raises:
        RunError: the report cannot be written.
    """
    frames = build_frames(plan, records, judgements)
    content: dict[str, bytes] = {f"{name}.csv": _to_csv(frame) for name, frame in frames.items()}
    content["deltas.png"] = figures.draw_deltas(plan, judgements)
    content["curves.png"] = figures.draw_curves(plan, records)
    # Without the folder of the campaign, which is no part of what was found.
    left_out = [sentence.replace(f"{paths.root}/", "") for sentence in refused.values()]
    markdown = render_markdown(plan, records, judgements, search_rows(plan.campaign, paths), left_out)
    content["report.md"] = markdown.encode()
    pictures = {name: data for name, data in content.items() if name.endswith(".png")}
    content["report.html"] = render_page(plan.campaign.title, markdown, pictures).encode()
    folder = paths.report(f"{plan.campaign.name}-{_hash(content)}")
    write_files(folder, content)
    point_latest(paths.latest_report, folder)
    return folder / "report.md"


def _hash(content: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(content):
        whole.update(name.encode() + b"\0" + hashlib.sha256(content[name]).digest())
    return whole.hexdigest()[:8]


def build_frames(plan: Plan, records: Records, judgements: Judgements) -> dict[str, pd.DataFrame]:
    """Build the tables of a report, by the name of their CSV."""
    return {
        "verdicts": tables.scores_table(plan, judgements),
        "seeds": tables.seeds_table(plan, records, judgements),
        "runs": tables.runs_table(plan, records),
        "claims": tables.claims_table(plan, judgements),
        "audit": tables.audit_table(plan, judgements),
        "interactions": tables.interactions_table(plan, records, judgements),
        "ledger": tables.ledger_table(plan, records),
        "devices": tables.devices_table(plan, records, judgements),
        "epochs": tables.epochs_table(plan, records),
    }


def _to_csv(frame: pd.DataFrame) -> bytes:
    safe = frame.copy()
    words: list[str] = list(frame.select_dtypes("str").columns)
    for name in words:
        safe[name] = frame[name].map(_csv_words, na_action="ignore")
    safe.columns = [csv_cell(name) for name in frame.columns]
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    return text.encode()


def _csv_words(words: str) -> object:
    return csv_cell(one_line(words, MAX_LETTERS))
