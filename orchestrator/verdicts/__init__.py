"""What a campaign concludes: judgements, staged verdicts, confounds, claims, controls and interactions.

A plan and its records come in, findings go out. It must never know a search, a report or a command, and it opens no
file.
"""

from orchestrator import open_door

NAMES = {
    "Additivity": "interactions",
    "Arithmetic": "steps",
    "AuditedClaim": "claims",
    "COVERAGE": "controls",
    "ClaimVerdict": "claims",
    "Confirmation": "judgement",
    "Contribution": "controls",
    "ErrorStep": "steps",
    "FalseVerdicts": "controls",
    "Findings": "findings",
    "InteractionJudgement": "interactions",
    "Judgement": "judgement",
    "Judgements": "judgement",
    "LookStep": "steps",
    "MIN_SEEDS": "conclude",
    "MetricJudgement": "judgement",
    "NextRun": "next_run",
    "PERCENT": "scale",
    "POWER": "claims",
    "PoolStep": "steps",
    "Protocol": "claims",
    "ReplayedClaim": "claims",
    "ReplicateStep": "steps",
    "RunNoise": "claims",
    "Scale": "scale",
    "Scoring": "ledger",
    "SeedDecision": "staged",
    "SeedDecisionState": "staged",
    "SeedStep": "steps",
    "SeedUse": "ledger",
    "Shuffled": "controls",
    "SignificanceStep": "steps",
    "SpreadStep": "steps",
    "StagedVerdicts": "staged",
    "Verdict": "judgement",
    "WeightStep": "arithmetic",
    "comparison": "comparisons",
    "configuration": "comparisons",
    "describe_scorings": "ledger",
    "experiments_left_out": "staged",
    "family_size": "judge",
    "find_confounds": "confounds",
    "gather": "comparisons",
    "items_of": "comparisons",
    "judge_all": "findings",
    "judge_as_declared": "staged",
    "judge_staged": "staged",
    "misstated": "claims",
    "next_run": "",
    "pair_scores": "comparisons",
    "paired_detectable_points": "claims",
    "plan_to_judge": "staged",
    "runs_by_seed": "comparisons",
    "scores_by_seed": "comparisons",
    "scores_of": "comparisons",
    "smallest_step": "comparisons",
    "work_out": "steps",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
