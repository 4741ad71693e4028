"""What was queued last, so that a report can judge it after the campaign file or the code has moved on.

On Friday forty runs are queued; on Sunday somebody edits the code; on Monday the report is of Friday's campaign.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from model.endings import describe_system_error
from orchestrator.campaign.arms import Arm, select_arms
from orchestrator.campaign.captures import missing_captures
from orchestrator.campaign.fields import TAG
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.campaign.selection import Request, Selection, make_plan, share_runs
from orchestrator.campaign.spec import Campaign
from orchestrator.code.sources import Code, GitCode
from orchestrator.errors import DataError
from orchestrator.files import UNREADABLE, read_plain, write_atomically
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.results import count_ended

FORGOTTEN = "the campaign cannot be written down as it was queued"
LATER = "a report is then of the campaign as its file is at that time"
QUEUED_BYTES = 2**28
"""Most bytes of a campaign as it was queued, with every experiment worked out."""


class QueuedCampaign(Struct, frozen=True, kw_only=True):
    """A campaign at one profile as it was when runs of it were last queued."""

    campaign: Campaign
    arms: dict[str, Arm]
    """All of its experiments, also those that were not queued."""
    inputs: CodeAndData
    code_trees: dict[str, str]
    """Experiment -> hash of its code, for those with code of their own."""
    commit: str | None
    when: str

    def plan(self, request: Request) -> Plan:
        """Lay out what was asked for, as it would have been then."""
        staging = self.campaign.staging
        seeds = self.campaign.seeds if staging or not request.seeds else request.seeds
        asked = request.experiments or (() if request.everything else self.campaign.default_experiments)
        known = [name for name in asked if name in self.arms or ":" in name]
        campaign = msgspec.structs.replace(self.campaign, seeds=seeds)
        return plan_runs(campaign, select_arms(self.arms, known), self.inputs, self.code_trees)

    def has(self, asked: Sequence[str]) -> bool:
        """Whether it knows all experiments that were asked for by name."""
        return all(name in self.arms for name in asked if not name.startswith(TAG))

    def sentence(self) -> str:
        """Say whose report it is."""
        at = f" at commit {self.commit[:12]}" if self.commit else ""
        when = f"{self.when[:16].replace('T', ' ')} UTC"
        command = "knockout run --until-decided" if self.campaign.staging else "knockout run"
        return (
            f"this is of the campaign as it was queued on {when}{at}: the file, the code or the captures have changed "
            f"since, and of what they are now fewer runs have ended; `{command}` trains what those lack, if anything, "
            "and reports on them"
        )


def save_snapshot(selection: Selection, code: Code, inputs: CodeAndData) -> str | None:
    """Write down the campaign that runs are queued of; say it where that cannot be done."""
    queued = QueuedCampaign(
        campaign=selection.campaign,
        arms=selection.every_arm,
        inputs=inputs,
        code_trees={name: code.code_of(arm.code).hash for name, arm in selection.every_arm.items() if arm.code},
        commit=code.repository.base_commit if isinstance(code, GitCode) else None,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        write_atomically(_path(selection), msgspec.json.encode(queued))
    except OSError as error:
        return f"{FORGOTTEN}: {describe_system_error(error)}; {LATER}"
    return None


def load_snapshot(selection: Selection) -> QueuedCampaign | None:
    """Read what was queued last of a campaign at its profile; None if nothing was, or nobody can read it."""
    try:
        return msgspec.json.decode(read_plain(_path(selection), QUEUED_BYTES), type=QueuedCampaign)
    except UNREADABLE:
        return None


def _path(selection: Selection) -> Path:
    return selection.paths.queued_campaign(selection.campaign.name, selection.campaign.profile)


def choose_plan(selection: Selection, request: Request, code: Code, needed: Sequence[str] = ()) -> tuple[Plan, str]:
    """Return the plan that is judged, and a sentence about whose it is.

    It is of the campaign as it is now; or as it was queued, where file, code or captures have changed since and more of
    that has ended.

    Args:
        selection: the campaign as it is now.
        request: what was asked for.
        code: the code as it is now.
        needed: experiments that must be in the plan, beside those asked for.

    Raises:
        DataError: captures are missing, so that nobody can say which runs belong to the campaign.
    """
    queued = load_snapshot(selection)
    is_known = queued is not None and queued.has((*request.experiments, *needed))
    before = share_runs(queued.plan(request), selection.paths) if queued is not None and is_known else None
    missing = missing_captures(selection)
    if not missing:
        now = make_plan(selection, code)
        if before is None or count_ended(selection.paths, before.run_ids) <= count_ended(selection.paths, now.run_ids):
            return now, code.note
    if queued is None or before is None:
        raise DataError(f"{missing[0]}: this capture is not there, so no run can belong to it; `knockout run` makes it")
    return before, queued.sentence()
