"""Judges the claims of a campaign's source: by the source's own numbers, and by our runs. Pure.

The source trains once on each side and scores each run on the n bursts of one capture. Its numbers have two errors:

- Sampling error. The source does not say which bursts both runs recognised. So the standard error of the difference of
  two accuracies p and q is sqrt(p(1-p)/n + q(1-q)/n). The most favourable pairing gives a lower bound. There, only
  the n|p-q| bursts of the difference are recognised by one run alone (McNemar's discordant pairs, all on one side).
- Seed noise. Two runs of one configuration differ by nothing else.

The smallest detectable effect is the difference that a two-sided test at the campaign's level finds with a power of
80 %. It is z(1 - level/2) + z(0.80) standard errors, 2.80 at a level of 0.05. Both errors count as known. Their sum
counts the sampling error of a run twice, which is conservative.

If the source reports a configuration more than once, the claim is first held against that. The test is Student's t of
|claim| / (sqrt(2) s), where s is the deviation of a run and has the freedom of the repeats. A claim that is not beyond
it is "within the source's own repeat". That contradicts nothing: so few runs cannot tell such a difference from the
noise of seeds.

Example: accuracies of 85.0 % and 84.0 % on 1,000 bursts. The sampling error is 1.6 points, so 4.5 points could have
been found. The claim of +1.0 is not supported.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct, structs
from scipy.stats import beta, binomtest, chi2, norm
from scipy.stats import t as student

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import BASELINE, Reported
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import Records
from orchestrator.runs.scores import is_share_metric
from orchestrator.verdicts.agreement import Agreement, compare_with_claim
from orchestrator.verdicts.judgement import Judgement, Judgements
from orchestrator.verdicts.scale import Scale

POWER = 0.80
ROUNDING_POINTS = 0.05
"""Greatest rounding error of a number with one decimal."""
TIE = 1e-9
"""Decimal numbers that are equal on paper differ by less than this as floats."""


class ClaimVerdict(StrEnum):
    """What the source's own numbers say about one of its claims."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    WITHIN_REPEAT = "within the source's own repeat"
    CANNOT_TELL = "cannot tell"


class Repeat(Struct, frozen=True, kw_only=True):
    """One configuration that the source reports under several names."""

    score_of: dict[str, float]
    """Experiment -> its reported accuracy; two or more."""

    @property
    def apart_points(self) -> float:
        """The distance between the highest and the lowest."""
        return max(self.score_of.values()) - min(self.score_of.values())

    @property
    def sum_of_squares_points2(self) -> float:
        """The sum of the squared deviations from the mean."""
        accuracies = self.score_of.values()
        mean = sum(accuracies) / len(accuracies)
        return sum((accuracy - mean) ** 2 for accuracy in accuracies)


class RunNoise(Struct, frozen=True, kw_only=True):
    """The spread of single runs of one configuration, as the source's repeats show it."""

    repeats: tuple[Repeat, ...]
    deviation_points: float
    """Standard deviation of a run."""
    degrees_of_freedom: int

    def p_value(self, size_points: float) -> float:
        """Return the two-sided p-value of a difference of two runs, against runs of one configuration.

        The difference of two runs has sqrt(2) times the deviation of one. The deviation is estimated, so Student's t
        has the freedom of the repeats: with few repeats, little is beyond them.
        """
        error = math.sqrt(2.0) * self.deviation_points
        # Repeats that agree to the last digit leave no spread to hold anything against.
        if error == 0.0:
            return float(size_points <= TIE)
        return 2.0 * float(student.sf(size_points / error, self.degrees_of_freedom))

    def deviation_interval_points(self, level: float) -> tuple[float, float]:
        """Return an interval for the standard deviation that covers one minus the level, for normal scores."""
        freedom, ends = self.degrees_of_freedom, (1.0 - level / 2.0, level / 2.0)
        low, high = (self.deviation_points * math.sqrt(freedom / chi2.ppf(end, freedom)) for end in ends)
        return float(low), float(high)


class Protocol(Struct, frozen=True, kw_only=True):
    """How the source got its numbers: one run on each side, both scored on the same bursts."""

    num_items: int
    is_declared: bool
    """Whether the campaign file gives the number of items. Otherwise it is that of the judged split here."""
    level: float
    """Level of the two-sided test."""
    noise: RunNoise | None
    """None if the source reports no configuration twice."""


class AuditedClaim(Struct, frozen=True, kw_only=True):
    """A reported difference beside what its protocol could have shown; None means "cannot be computed"."""

    experiment: str
    delta_points: float
    versus: str | None
    num_items: int
    """Number of bursts that each side was scored on."""
    accuracies_delta_points: float | None
    """The difference of the two reported accuracies, if the source reports both."""
    repeat_delta_points: float | None
    """The claim again, with the accuracy that the source reports for its other run of this configuration."""
    item_error_points: float | None
    paired_error_points: float
    """Standard error with the most favourable pairing."""
    total_error_points: float | None
    """Standard error from unpaired bursts and from both runs."""
    detectable_points: float | None
    item_detectable_points: float | None
    """From the sampling error of unpaired bursts alone."""
    paired_detectable_points: float | None
    """From the sampling error alone, with the most favourable pairing."""
    repeat_p_value: float | None
    """Two-sided, of a t-test of the difference against the spread of the source's own repeats; None without any."""
    p_value: float | None
    """Two-sided, from the sampling error of unpaired bursts alone."""
    paired_p_value: float
    """Of McNemar's exact test with the most favourable pairing."""
    verdict: ClaimVerdict
    why: str


class ReplayedClaim(Struct, frozen=True, kw_only=True):
    """What the source reports of an experiment, beside what was found here."""

    experiment: str
    reported: Reported
    agreement: Agreement
    why: str


class Claims(Struct, frozen=True, kw_only=True):
    """The source's claims, judged by its own numbers and by our runs."""

    protocol: Protocol
    audited: tuple[AuditedClaim, ...]
    """Every reported difference, judged by the source's numbers alone."""
    replayed: tuple[ReplayedClaim, ...]
    """Every experiment that the source reports on, judged by our runs."""
    agreement_of: dict[str, Agreement]
    """Audited experiment -> whether our difference agrees with the reported one, whatever outcome is reported too."""


def judge_claims(plan: Plan, records: Records, judgements: Judgements) -> Claims:
    """Judge what the source reports, both ways, in the order of the campaign file.

    Only a share of items that are right or wrong has a sampling error that the source's own numbers give. By another
    metric no claim is audited.
    """
    scores = [record.scores.get(plan.campaign.judged.name) for record in records.values()]
    scored = [score.num_items or 0 for score in scores if score]
    compared = [found.num_items for found in judgements.values() if found.rests_on == "items"]
    protocol = find_protocol(plan, max(scored, default=0) or max(compared, default=0))
    is_audited = is_share_metric(plan.campaign.judged) and protocol.num_items > 0
    audited = audit(plan, protocol) if is_audited else []
    scale = Scale(plan.campaign.judged)
    deltas = {claim.experiment: Reported(delta=claim.delta_points) for claim in audited}
    return Claims(
        protocol=protocol,
        audited=tuple(audited),
        replayed=tuple(
            _replay_claim(judgements[arm.id], arm.reported, scale) for arm in plan.arms.values() if arm.reported
        ),
        agreement_of={
            name: compare_with_claim(judgements[name], reported, scale)[0] for name, reported in deltas.items()
        },
    )


def _replay_claim(judgement: Judgement, reported: Reported, scale: Scale) -> ReplayedClaim:
    agreement, why = compare_with_claim(judgement, reported, scale)
    return ReplayedClaim(experiment=judgement.experiment, reported=reported, agreement=agreement, why=why)


def audit(plan: Plan, protocol: Protocol) -> list[AuditedClaim]:
    """Audit every difference that the source reports, in the order of the campaign file."""
    claims = [(arm, arm.reported) for arm in plan.arms.values() if arm.reported]
    return [audit_claim(plan, arm, reported, protocol) for arm, reported in claims if reported.delta is not None]


def find_protocol(plan: Plan, num_here: int) -> Protocol:
    """Return the source's protocol from what the campaign file reports.

    The baseline's `reported` gives the number of items that the source scored. Without it, the number is that of the
    judged split here, which differs between profiles.

    Args:
        plan: the arms.
        num_here: how many items a run is scored on here; 0 while no run is scored.
    """
    baseline = plan.arms[BASELINE].reported
    declared = baseline.bursts if baseline else None
    return Protocol(
        num_items=declared or num_here,
        is_declared=declared is not None,
        level=plan.campaign.judging.level,
        noise=find_noise(list(plan.arms.values())),
    )


def find_noise(arms: Sequence[Arm]) -> RunNoise | None:
    """Return the configurations that the source reports more than once, with the pooled spread of their runs."""
    reported: dict[str, dict[str, float]] = {}
    for arm in arms:
        if arm.reported and arm.reported.accuracy is not None:
            reported.setdefault(arm.same_as or arm.id, {})[arm.id] = arm.reported.accuracy
    repeats = tuple(Repeat(score_of=each) for each in reported.values() if len(each) > 1)
    freedom = sum(len(repeat.score_of) - 1 for repeat in repeats)
    if not freedom:
        return None
    variance = sum(repeat.sum_of_squares_points2 for repeat in repeats) / freedom
    return RunNoise(repeats=repeats, deviation_points=math.sqrt(variance), degrees_of_freedom=freedom)


def unpaired_error_points(first_percent: float, second_percent: float, num_items: int) -> float:
    """Return the standard error of the difference of two accuracies, each over `num_items` independent bursts."""
    shares = (first_percent / 100.0, second_percent / 100.0)
    return 100.0 * math.sqrt(sum(share * (1.0 - share) for share in shares) / num_items)


def paired_error_points(delta_points: float, num_items: int) -> float:
    """Return the standard error of a paired difference whose runs differ on as few bursts as possible.

    Source: Fleiss, Levin, Paik, Statistical Methods for Rates and Proportions (2003), chapter 13, matched samples.
    """
    share = min(1.0, abs(delta_points) / 100.0)
    return 100.0 * math.sqrt((share - share**2) / num_items)


def paired_p_value(delta_points: float, num_items: int) -> float:
    """Return the p-value of McNemar's exact test if all discordant bursts favour one side."""
    discordant = round(num_items * min(1.0, abs(delta_points) / 100.0))
    return float(binomtest(0, discordant).pvalue) if discordant else 1.0


def detectable_points(error_points: float, level: float) -> float:
    """Return the smallest difference that a two-sided z-test at `level` finds with a power of 80 %."""
    return float(norm.ppf(1.0 - level / 2.0) + norm.ppf(POWER)) * error_points


def paired_detectable_points(num_items: int, level: float) -> float | None:
    """Return the smallest difference that McNemar's exact test finds with a power of 80 %, with the best pairing.

    The test rejects from c discordant bursts on one side, the first c with 2 / 2^c at or below the level. The number of
    discordant bursts is binomial. The share that gives c or more with that power is a quantile of a beta distribution.
    None if so few bursts can never reject.
    """
    # c bursts on one side have a two-sided p-value of 2 / 2^c.
    needed = math.ceil(math.log2(2.0 / level) - TIE)
    if needed > num_items:
        return None
    return 100.0 * float(beta.ppf(POWER, needed, num_items - needed + 1))


def audit_claim(plan: Plan, arm: Arm, reported: Reported, protocol: Protocol) -> AuditedClaim:
    """Judge one reported difference; its own number of bursts, if reported, replaces that of the protocol."""
    assert reported.delta is not None
    protocol = structs.replace(protocol, num_items=reported.bursts or protocol.num_items)
    sides = _sides(plan, arm, reported)
    item_error = unpaired_error_points(*sides, protocol.num_items) if sides else None
    total_error = None if item_error is None else math.hypot(item_error, _difference_noise(protocol.noise))
    verdict, why = _judge_claim(abs(reported.delta), item_error, protocol)
    repeat_delta = _repeat_delta(arm, sides, protocol.noise)
    return AuditedClaim(
        experiment=arm.id,
        delta_points=reported.delta,
        versus=reported.versus,
        num_items=protocol.num_items,
        accuracies_delta_points=_accuracies_delta(plan, reported),
        repeat_delta_points=repeat_delta,
        item_error_points=item_error,
        paired_error_points=paired_error_points(reported.delta, protocol.num_items),
        total_error_points=total_error,
        detectable_points=None if total_error is None else detectable_points(total_error, protocol.level),
        item_detectable_points=None if item_error is None else detectable_points(item_error, protocol.level),
        paired_detectable_points=paired_detectable_points(protocol.num_items, protocol.level),
        repeat_p_value=protocol.noise.p_value(abs(reported.delta)) if protocol.noise else None,
        p_value=_p_value(reported.delta, item_error),
        paired_p_value=paired_p_value(reported.delta, protocol.num_items),
        verdict=verdict,
        why=why
        if repeat_delta is None
        else f"{why}; with the source's own repeat it is {wording.points(repeat_delta)}",
    )


def _sides(plan: Plan, arm: Arm, reported: Reported) -> tuple[float, float] | None:
    """Return both accuracies of a claim, in percent. One that is not reported follows from the difference."""
    assert reported.delta is not None
    if reported.accuracy is not None:
        return reported.accuracy, _clipped(reported.accuracy - reported.delta)
    # The source need not say what it compares with, so the reference of this campaign stands in.
    other = plan.arms.get(reported.versus or arm.reference or "")
    theirs = other.reported.accuracy if other and other.reported else None
    return None if theirs is None else (_clipped(theirs + reported.delta), theirs)


def _clipped(percent: float) -> float:
    return min(100.0, max(0.0, percent))


def _difference_noise(noise: RunNoise | None) -> float:
    return math.sqrt(2.0) * noise.deviation_points if noise else 0.0


def _p_value(delta_points: float, error_points: float | None) -> float | None:
    if error_points is None:
        return None
    return 2.0 * float(norm.sf(abs(delta_points) / error_points)) if error_points > 0 else float(delta_points == 0)


def _accuracies_delta(plan: Plan, reported: Reported) -> float | None:
    other = plan.arms.get(reported.versus or "")
    theirs = other.reported.accuracy if other and other.reported else None
    return None if reported.accuracy is None or theirs is None else reported.accuracy - theirs


def _repeat_delta(arm: Arm, sides: tuple[float, float] | None, noise: RunNoise | None) -> float | None:
    """Return the claimed difference with the mean of the configuration's other runs instead of its own accuracy."""
    repeat = next((each for each in noise.repeats if arm.id in each.score_of), None) if noise else None
    if repeat is None or sides is None:
        return None
    others = [accuracy for name, accuracy in repeat.score_of.items() if name != arm.id]
    return sum(others) / len(others) - sides[1]


def _judge_claim(size_points: float, item_error_points: float | None, protocol: Protocol) -> tuple[ClaimVerdict, str]:
    # The source's own repeat is asked first: it needs no accuracy and no number of bursts.
    if protocol.noise and (p_value := protocol.noise.p_value(size_points)) >= protocol.level:
        return ClaimVerdict.WITHIN_REPEAT, _describe_repeats(protocol.noise, p_value)
    if item_error_points is None:
        return ClaimVerdict.CANNOT_TELL, "the source gives no accuracy for either side"
    by_items = detectable_points(item_error_points, protocol.level)
    smallest = detectable_points(math.hypot(item_error_points, _difference_noise(protocol.noise)), protocol.level)
    if size_points > smallest:
        return ClaimVerdict.SUPPORTED, f"above the {smallest:.1f} that one run a side can tell"
    if size_points > by_items:
        above = f"above the {by_items:.1f} that sampling error allows"
        return ClaimVerdict.NOT_SUPPORTED, f"{above}, below the {smallest:.1f} with seed noise added"
    return ClaimVerdict.NOT_SUPPORTED, f"below the {by_items:.1f} that sampling error alone allows"


def _describe_repeats(noise: RunNoise, p_value: float) -> str:
    apart = [f"{wording.listed(repeat.score_of)} by {repeat.apart_points:.1f}" for repeat in noise.repeats]
    freedom = wording.counted(noise.degrees_of_freedom, "degree")
    return f"runs of one configuration differ: {wording.listed(apart)} (t, {freedom} of freedom, p {p_value:.2f})"


def misstated(claims: Sequence[AuditedClaim]) -> list[AuditedClaim]:
    """Return the claims whose difference is not that of the two reported accuracies, beyond rounding."""
    known = [(claim, claim.accuracies_delta_points) for claim in claims]
    return [
        claim
        for claim, accuracies_delta in known
        if accuracies_delta is not None and abs(accuracies_delta - claim.delta_points) > ROUNDING_POINTS + TIE
    ]
