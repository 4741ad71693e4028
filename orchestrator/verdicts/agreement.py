"""Whether our runs agree with what a campaign's source reports. Pure.

Our runs agree with a claim if their interval includes the reported difference and is narrow enough. A wide interval
includes everything. So the whole interval must lie within max(margin, |reported difference|) of the reported one.
"""

from enum import StrEnum

from orchestrator.campaign.fields import Reported
from orchestrator.verdicts.judgement import Judgement, Verdict
from orchestrator.verdicts.scale import Scale


class Agreement(StrEnum):
    """What our runs say about one of the source's claims."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CANNOT_TELL = "cannot tell"
    STOPPED = "stopped as reported"
    """The source reports that it stopped, and it stopped here too."""


def compare_with_claim(judgement: Judgement, reported: Reported, scale: Scale) -> tuple[Agreement, str]:
    """Return whether a judgement agrees with what the source reports, and why (see the head of this module)."""
    if judgement.verdict is Verdict.PENDING:
        return Agreement.CANNOT_TELL, "not run"
    if reported.outcome is not None:
        return _compare_outcome(judgement, reported.outcome)
    if judgement.verdict is not None and judgement.verdict.is_stop:
        return Agreement.DISAGREE, f"a score is reported, here it ended as {judgement.verdict}"
    return _compare_delta(judgement, reported.delta, scale)


def _compare_delta(judgement: Judgement, delta_points: float | None, scale: Scale) -> tuple[Agreement, str]:
    # A reported accuracy has no pair here, so seed noise and sampling error would not cancel.
    if delta_points is None:
        return Agreement.CANNOT_TELL, "no difference is reported, and an accuracy alone has no pair"
    if judgement.interval_points is None:
        return Agreement.CANNOT_TELL, "no interval"
    # The order matters: an interval without the reported difference contradicts it, however wide it is.
    low, high = (scale.shown(end) for end in judgement.interval_points)
    if not low <= delta_points <= high:
        return Agreement.DISAGREE, "the interval leaves the reported difference out"
    reach_points = max(scale.shown(scale.margin_points), abs(delta_points))
    if low < delta_points - reach_points or high > delta_points + reach_points:
        return (
            Agreement.CANNOT_TELL,
            f"the interval holds it, but reaches more than {scale.reach(reach_points)} beyond it",
        )
    return Agreement.AGREE, "the interval holds the reported difference"


def _compare_outcome(judgement: Judgement, outcome: str) -> tuple[Agreement, str]:
    here = judgement.verdict or "scored"
    if outcome in (here, judgement.failure):
        stopped = judgement.verdict is not None and judgement.verdict.is_stop
        return (Agreement.STOPPED if stopped else Agreement.AGREE), f"reported as {outcome}, and so here"
    if here in (Verdict.INCONCLUSIVE, Verdict.NEEDS_SEEDS):
        return Agreement.CANNOT_TELL, f"reported as {outcome}, here {here}"
    return Agreement.DISAGREE, f"reported as {outcome}, here {judgement.failure or here}"
