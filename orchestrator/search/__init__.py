"""Searches for the best point of a space: Optuna suggests points, our queue trains them, Optuna gets the scores.

It writes no report, and must never know a verdict.
"""

from orchestrator import open_door

NAMES = {
    "Difference": "results",
    "Promoted": "promote",
    "SUMMARY_FORMAT": "results",
    "Score": "objective",
    "SearchOptions": "open",
    "SearchSummary": "results",
    "Searched": "results",
    "TOP_SHARE": "sampler",
    "TrialRecord": "results",
    "as_trained": "results",
    "compare": "best_of",
    "describe_score": "results",
    "loop": "",
    "name_point": "results",
    "open_search": "open",
    "pool_points": "best_of",
    "promote": "",
    "require_begun": "promote",
    "storage_file": "open",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
