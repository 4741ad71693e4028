"""Saves the campaign as it was queued, so that a report can judge it after the file or the code has changed.

Example: on Friday forty runs are queued. On Sunday the code is edited. Monday's report is of Friday's campaign.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.campaign.arms import Arm, ResolvedArms, select_arms
from orchestrator.campaign.captures import missing_captures
from orchestrator.campaign.fields import TAG
from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.campaign.selection import CurrentPlan, Request, Selection, make_plan, share_runs
from orchestrator.campaign.spec import Campaign
from orchestrator.code.sources import Code, GitCode
from orchestrator.errors import DataError, describe_system_error
from orchestrator.files import UNREADABLE, read_plain, write_atomically
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.results import count_ended

NOT_SAVED = "the campaign cannot be saved as it was queued"
LATER = "a later report is of the campaign as its file is then"
QUEUED_BYTES = 2**28
"""Most bytes of a saved campaign, with every experiment worked out."""


class QueuedCampaign(Struct, frozen=True, kw_only=True):
    """A campaign at one profile as it was when runs of it were last queued."""

    campaign: Campaign
    arms: dict[str, Arm]
    """All of its experiments, also those of which nothing was queued."""
    interactions: tuple[Interaction, ...] = ()
    inputs: CodeAndData
    code_trees: dict[str, str]
    """Experiment -> hash of its code, for experiments with a patch or a ref."""
    commit: str | None
    when: str

    def plan(self, request: Request) -> Plan:
        """Plan what is asked for as it would have been planned then."""
        staging = self.campaign.staging
        # The looks of a sequential campaign say which seeds they judge, so a request for other seeds does not count.
        seeds = self.campaign.seeds if staging or not request.seeds else request.seeds
        asked = request.experiments or (() if request.everything else self.campaign.default_experiments)
        known = [name for name in asked if name in self.arms or ":" in name]
        campaign = msgspec.structs.replace(self.campaign, seeds=seeds)
        resolved = ResolvedArms(arms=select_arms(self.arms, known), interactions=self.interactions)
        return plan_runs(campaign, resolved, self.inputs, self.code_trees)

    def has(self, asked: Sequence[str]) -> bool:
        """Return whether it holds all experiments that are asked for by name."""
        return all(name in self.arms for name in asked if not name.startswith(TAG))

    def sentence(self) -> str:
        """Return the sentence that says which campaign the report is of."""
        at = f" at commit {self.commit[:12]}" if self.commit else ""
        when = f"{self.when[:16].replace('T', ' ')} UTC"
        command = "knockout run --until-decided" if self.campaign.staging else "knockout run"
        return (
            f"this is of the campaign as it was queued on {when}{at}: the file, the code or the captures have changed "
            f"since, and of what they are now fewer runs have ended; `{command}` trains what those lack, if anything, "
            "and reports on them"
        )


def save_snapshot(selection: Selection, current: CurrentPlan) -> str | None:
    """Save the campaign of which runs are queued; return a sentence if that fails, else None."""
    code = current.code
    queued = QueuedCampaign(
        campaign=selection.campaign,
        arms=selection.every_arm,
        interactions=selection.resolved.interactions,
        inputs=current.inputs,
        code_trees=current.code_trees,
        commit=code.repository.base_commit if isinstance(code, GitCode) else None,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        write_atomically(_path(selection), msgspec.json.encode(queued))
    except OSError as error:
        return f"{NOT_SAVED}: {describe_system_error(error)}; {LATER}"
    return None


def load_snapshot(selection: Selection) -> QueuedCampaign | None:
    """Read the campaign as it was last queued at this profile; None if it never was, or the file cannot be read."""
    try:
        return msgspec.json.decode(read_plain(_path(selection), QUEUED_BYTES), type=QueuedCampaign)
    except UNREADABLE:
        return None


def _path(selection: Selection) -> Path:
    return selection.paths.queued_campaign(selection.campaign.name, selection.campaign.profile)


def choose_plan(selection: Selection, code: Code, needed: Sequence[str] = ()) -> tuple[Plan, str]:
    """Return the plan to judge, and a sentence that says which one it is.

    That is the campaign as it is now, or as it was queued. The queued one is taken if file, code or captures have
    changed since and more of its runs have ended.

    Args:
        selection: the campaign as it is now.
        code: the code as it is now.
        needed: experiments that must be in the plan, beside those asked for.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
    """
    queued = load_snapshot(selection)
    is_known = queued is not None and queued.has((*selection.request.experiments, *needed))
    before = share_runs(queued.plan(selection.request), selection.paths) if queued is not None and is_known else None
    missing = missing_captures(selection)
    if not missing:
        now = make_plan(selection, code)
        # At equal counts the campaign of now is judged, because the reader finds its names and margins in the file.
        if before is None or count_ended(selection.paths, before.run_ids) <= count_ended(selection.paths, now.run_ids):
            return now, code.note
    if queued is None or before is None:
        raise DataError(f"{missing[0]}: this capture is not there, so no run can belong to it; `knockout run` makes it")
    return before, queued.sentence()
