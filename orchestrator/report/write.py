"""The report as files: Markdown, HTML, figures and CSV. The same results give the same bytes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from orchestrator.report import figures, metric_tables, tables
from orchestrator.report.escape import MAX_LETTERS
from orchestrator.report.markdown import NOTHING, render_markdown, shows_curves
from orchestrator.report.page import render_page
from orchestrator.report.place import point_latest, write_files
from orchestrator.report.search_rows import search_rows
from orchestrator.runs.paths import Paths
from orchestrator.verdicts.findings import Findings
from orchestrator.wording import csv_cell, one_line

MAY_MISS = ("metrics", "claims", "audit", "interactions", "strata", "epochs")
"""Tables that a stranger's report leaves out where they have no row. A campaign need not have what they list."""


def write_report(findings: Findings, paths: Paths, refused: Mapping[str, str] = NOTHING) -> Path:
    """Write the report into a folder named by its contents, point `latest` to it, and return `report.md`.

    Args:
        findings: what the report is of.
        paths: where reports lie.
        refused: run -> a sentence that says why its folder is left out.

    Raises:
        RunError: the report cannot be written.
    """
    plan, records = findings.plan, findings.records
    frames = build_frames(findings)
    not_written = {name for name in MAY_MISS if frames[name].empty} if plan.campaign.task.supervised else set()
    content: dict[str, bytes] = {
        f"{name}.csv": _to_csv(frame) for name, frame in frames.items() if name not in not_written
    }
    content["deltas.png"] = figures.draw_deltas(plan, findings.judgements)
    if shows_curves(plan, records):
        content["curves.png"] = figures.draw_curves(plan, records)
    # The campaign's own folder is cut off, so that the same results give the same bytes everywhere.
    left_out = [sentence.replace(f"{paths.root}/", "") for sentence in refused.values()]
    markdown = render_markdown(findings, search_rows(plan.campaign, paths), left_out, not_written)
    content["report.md"] = markdown.encode()
    pictures = {name: data for name, data in content.items() if name.endswith(".png")}
    content["report.html"] = render_page(plan.campaign.title, markdown, pictures).encode()
    # The name holds a hash of the content: the same results never write a second folder.
    folder = paths.report(f"{plan.campaign.name}-{_hash(content)}")
    write_files(folder, content)
    point_latest(paths.latest_report, folder)
    return folder / "report.md"


def _hash(content: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    # A length or an end between name and data keeps two files from reading as one.
    for name in sorted(content):
        whole.update(name.encode() + b"\0" + hashlib.sha256(content[name]).digest())
    return whole.hexdigest()[:8]


def build_frames(findings: Findings) -> dict[str, pd.DataFrame]:
    """Build the tables of a report, by the name of their CSV."""
    return {
        "verdicts": tables.scores_table(findings),
        "seeds": tables.seeds_table(findings),
        "metrics": metric_tables.metrics_table(findings),
        "runs": tables.runs_table(findings.plan, findings.records),
        "claims": tables.claims_table(findings),
        "audit": tables.audit_table(findings),
        "interactions": tables.interactions_table(findings),
        "ledger": tables.ledger_table(findings),
        "strata": metric_tables.strata_table(findings),
        "epochs": tables.epochs_table(findings.plan, findings.records),
    }


def _to_csv(frame: pd.DataFrame) -> bytes:
    # Text of users could be a formula for a spreadsheet, so every word is made safe.
    safe = frame.copy()
    words: list[str] = list(frame.select_dtypes("str").columns)
    for name in words:
        safe[name] = frame[name].map(_csv_words, na_action="ignore")
    safe.columns = [csv_cell(name) for name in frame.columns]
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    return text.encode()


def _csv_words(words: str) -> object:
    return csv_cell(one_line(words, MAX_LETTERS))
