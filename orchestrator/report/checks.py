"""The parts of a report that check the protocols: the source's, and the campaign's own. Pure: findings in, words out.

The source's protocol: what one run on each side could have shown. The campaign's own: whether arms without an effect
show none, whether effects add up, and what single parts are worth.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from scipy.stats import norm

from orchestrator import wording
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.report.sections import interval_cell
from orchestrator.task.spec import LabelsSpec
from orchestrator.verdicts.claims import (
    POWER,
    AuditedClaim,
    ClaimVerdict,
    Protocol,
    ReplayedClaim,
    RunNoise,
    misstated,
    paired_detectable_points,
)
from orchestrator.verdicts.controls import COVERAGE, Contribution, FalseVerdicts, Shuffled
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.interactions import Additivity, InteractionJudgement
from orchestrator.verdicts.scale import Scale


def audit_section(findings: Findings) -> dict[str, Any]:
    """Return the audit of the source's claims: its sentences, and the rows of its table."""
    claims, protocol = findings.claims.audited, findings.claims.protocol
    if not claims:
        return {"rows": []}
    return {
        "within_repeat": str(ClaimVerdict.WITHIN_REPEAT),
        "sentence": _count_claim_verdicts(claims),
        "scored_on": _describe_scored_on(findings.plan, claims, protocol),
        "sampling": _describe_sampling(findings.plan, claims, protocol),
        "runs": _describe_noise(protocol.noise, protocol.level),
        "smallest": _describe_smallest(claims, protocol),
        "misstated": [_describe_misstated(claim) for claim in misstated(claims)],
        "rows": [_audit_row(findings, claim) for claim in claims],
    }


def _count_claim_verdicts(claims: Sequence[AuditedClaim]) -> str:
    counts = Counter(claim.verdict for claim in claims)
    parts = [f"{counts[verdict]} {verdict}" for verdict in ClaimVerdict if counts[verdict]]
    return f"Of {wording.counted(len(claims), 'difference')} that the source reports: {wording.listed(parts)}."


def _describe_scored_on(plan: Plan, claims: Sequence[AuditedClaim], protocol: Protocol) -> str:
    """Say on how many items the source scored, and who says so."""
    own = [claim for claim in claims if claim.num_items != protocol.num_items]
    but = wording.listed(f"{claim.experiment} ({claim.num_items:,})" for claim in own)
    whose = (
        "as the campaign file says"
        if protocol.is_declared
        else f"as many as {plan.campaign.judged.name} has here, since the campaign file does not say how many"
    )
    scored = wording.counted(protocol.num_items, plan.campaign.labels.item)
    return f"{scored}, {whose}{f'; except for {but}' if own else ''}"


def _describe_sampling(plan: Plan, claims: Sequence[AuditedClaim], protocol: Protocol) -> str:
    label = plan.campaign.labels.item
    # The error depends on both accuracies, so each claim has its own and the sentence gives the range.
    errors = sorted(claim.item_error_points for claim in claims if claim.item_error_points is not None)
    if not errors:
        return "The source gives no accuracies, so nobody can compute a standard error."
    paired = paired_detectable_points(protocol.num_items, protocol.level)
    kindest = (
        f"with so few {label}s, no difference could be found"
        if paired is None
        else f"an exact McNemar test would then find {paired:.2f} points, if there were no seed noise"
    )
    return (
        f"That is {wording.span(errors[0], errors[-1])} points here. The formula treats the {label}s of the two runs "
        f"as independent, because the source does not say which {label}s both runs have right. The most favourable "
        f"case is that the runs differ on as few {label}s as the difference needs: {kindest}."
    )


def _describe_noise(noise: RunNoise | None, level: float) -> str:
    if noise is None:
        return (
            "The source reports no configuration twice, so its seed noise is unknown. What follows leaves it out, "
            "which favours the source."
        )
    repeats = wording.listed(
        f"{wording.listed(f'{name} ({wording.percent(value)})' for name, value in repeat.score_of.items())}"
        for repeat in noise.repeats
    )
    low, high = noise.deviation_interval_points(level)
    freedom = wording.counted(noise.degrees_of_freedom, "degree") + " of freedom"
    return (
        f"The source reports one configuration more than once: {repeats}. That is a standard deviation of "
        f"{noise.deviation_points:.1f} points for a run and {2**0.5 * noise.deviation_points:.1f} for the difference "
        f"of two. It rests on {freedom} only: the standard deviation of a run may be anything from {low:.1f} to "
        f"{high:.0f} points ({wording.coverage(level)} interval)."
    )


def _describe_smallest(claims: Sequence[AuditedClaim], protocol: Protocol) -> str:
    # The number differs from claim to claim, because it depends on both accuracies.
    found = sorted(claim.detectable_points for claim in claims if claim.detectable_points is not None)
    factor = norm.ppf(1 - protocol.level / 2) + norm.ppf(POWER)
    reach = f", {wording.span(found[0], found[-1])} points" if found else ""
    errors = f"{factor:.2f} standard errors{reach}"
    return f"A two-sided test at level {protocol.level:g} finds this difference with a power of 80 %: {errors}."


def _describe_misstated(claim: AuditedClaim) -> str:
    return (
        f"The source reports {wording.points(claim.delta_points)} for {claim.experiment} against {claim.versus}, but "
        f"the two accuracies that it reports differ by {wording.points(claim.accuracies_delta_points)}."
    )


def _audit_row(findings: Findings, claim: AuditedClaim) -> dict[str, str]:
    judgement, scale = findings.judgements[claim.experiment], Scale(findings.plan.campaign.judged)
    return {
        "experiment": claim.experiment,
        "claimed": wording.points(claim.delta_points),
        "versus": claim.versus or wording.MISSING,
        "smallest": wording.plain(claim.detectable_points, 1),
        "verdict": str(claim.verdict),
        "why": claim.why,
        "delta": scale.delta(judgement.delta_points),
        "interval": interval_cell(findings.plan, judgement),
        "agreement": str(findings.claims.agreement_of[claim.experiment]),
    }


def replay_section(findings: Findings) -> dict[str, Any]:
    """Return what the source reports beside what was found: how many claims agree, and a row for each experiment."""
    # The baseline has no reference, so a claim about it has no difference to agree with.
    claims = findings.claims.replayed
    counts = Counter(str(claim.agreement) for claim in claims if claim.experiment != BASELINE)
    parts = [f"{count} {agreement}" for agreement, count in sorted(counts.items())]
    return {"sentence": wording.listed(parts), "rows": [_replay_row(findings, claim) for claim in claims]}


def _replay_row(findings: Findings, claim: ReplayedClaim) -> dict[str, str]:
    judgement, reported = findings.judgements[claim.experiment], claim.reported
    scale = Scale(findings.plan.campaign.judged)
    return {
        "experiment": claim.experiment,
        "reported_score": scale.score(reported.accuracy),
        "reported": reported.outcome or wording.points(reported.delta),
        "versus": reported.versus or wording.MISSING,
        "delta": scale.delta(judgement.delta_points),
        "interval": interval_cell(findings.plan, judgement),
        "agreement": str(claim.agreement),
        "why": claim.why,
    }


def controls_section(findings: Findings) -> dict[str, Any]:
    """Return the controls: false verdicts on A/A arms, and runs on shuffled labels beside chance."""
    return {
        "aa": _describe_aa(findings.false_verdicts),
        "shuffled": [_shuffled_row(row) for row in findings.shuffled],
        "shuffled_sentence": _describe_shuffled(findings.shuffled, findings.plan.campaign.labels),
        "shuffled_coverage": wording.coverage(1 - COVERAGE),
    }


def _describe_aa(found: FalseVerdicts) -> str:
    if not found.num_arms:
        return ""
    named = f" ({wording.listed(found.wrong)})" if found.wrong else ""
    return (
        f"{wording.counted(found.num_arms, 'A/A arm')}: the baseline again under other seeds, judged like any "
        "experiment. No difference is real here. False verdicts (improved or regression): "
        f"{len(found.wrong)} of {found.num_judged} judged{named}."
    )


def _shuffled_row(row: Shuffled) -> dict[str, str]:
    return {
        "run": row.run,
        "experiment": row.experiment,
        "score": f"{wording.percent(row.score)} ({row.num_right:,} of {row.num_items:,})",
        "interval": f"{wording.percent(row.low_percent)} to {wording.percent(row.high_percent)}",
        "chance": wording.percent(row.chance_percent),
        "holds": "yes" if row.includes_chance else "no",
    }


def _describe_shuffled(rows: Sequence[Shuffled], labels: LabelsSpec) -> str:
    if not rows:
        return ""
    outside = sum(not row.includes_chance for row in rows)
    return (
        f"{wording.counted(len(rows), 'run')} trained on shuffled labels. In {outside} the interval does not include "
        f"chance. {_describe_strata(max(row.num_strata for row in rows), labels)}"
    )


def _describe_strata(num_strata: int, labels: LabelsSpec) -> str:
    """Say what the intervals of runs on shuffled labels take as independent."""
    if num_strata < 2:
        return (
            f"The interval is Clopper and Pearson's and treats {labels.item}s as independent. They may be alike, so "
            "a run just outside is a reason to look for a leak and no proof of one."
        )
    return (
        f"The interval is by {labels.stratum}, of which there are {num_strata}: a model of nothing may give one "
        f"answer to all {labels.item}s of a {labels.stratum}. So it is as wide as their shares differ."
    )


MEANING = {
    Additivity.ADDITIVE: "both together equal the sum of each",
    Additivity.SYNERGY: "both together do more than the sum of each",
    Additivity.ANTAGONISM: "both together do less than the sum of each",
    Additivity.INCONCLUSIVE: "the runs do not show yet whether they add up",
    Additivity.NEEDS_SEEDS: "too few seeds have a score for all four arms",
    Additivity.WAITS: "one of the four arms is undecided; the numbers are from the last look",
}


def interaction_rows(findings: Findings) -> list[dict[str, str]]:
    """Return a row for each pair of experiments: whether their effects add up."""
    scale = Scale(findings.plan.campaign.judged)
    return [_interaction_row(scale, found) for found in findings.interactions]


def _interaction_row(scale: Scale, found: InteractionJudgement) -> dict[str, str]:
    pair, contrast = found.interaction, found.contrast
    return {
        "pair": f"{pair.first} and {pair.second}",
        "on": pair.neither,
        "first": scale.delta(found.first_points),
        "second": scale.delta(found.second_points),
        "both": scale.delta(found.both_points),
        "contrast": scale.delta(contrast.delta_points),
        "interval": scale.interval(contrast.interval_points),
        "p": wording.probability(contrast.p_value),
        "adjusted_p": wording.probability(found.adjusted_p_value),
        "verdict": str(found.verdict),
        "meaning": MEANING[found.verdict],
    }


def part_rows(findings: Findings) -> list[dict[str, str]]:
    """Return a row for each part of a full stack: what it is worth in the stack."""
    return [_part_row(findings, found) for found in findings.contributions]


def _part_row(findings: Findings, found: Contribution) -> dict[str, str]:
    judgement, campaign = findings.judgements[found.experiment], findings.plan.campaign
    scale = Scale(campaign.judged)
    # A part's worth is a difference turned round, so its interval is built again from both ends.
    low, high = found.low_points, found.high_points
    ends = None if low is None or high is None else (low, high)
    return {
        "part": found.part,
        "experiment": found.experiment,
        "full": found.full,
        "worth": scale.delta(found.worth_points),
        "interval": scale.interval_at(ends, judgement.level, campaign.judging.level),
        "verdict": str(found.verdict or wording.MISSING),
    }
