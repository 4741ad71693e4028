"""The statistics: arrays in, estimates out.

It pairs the outcomes of two sides, estimates a difference with its error, corrects for many tests, and plans interim
looks. It must never know a campaign, an experiment's configuration or a run folder, and it opens no file.
"""

from orchestrator import open_door

NAMES = {
    "ADJUST": "multiplicity",
    "Aggregate": "aggregates",
    "AggregateError": "aggregates",
    "CORRECTION_NAME": "multiplicity",
    "ColumnError": "columns",
    "Contrast": "correlation",
    "Dependence": "dependence",
    "Estimate": "estimate",
    "Expression": "columns",
    "ItemMeasure": "measure",
    "MIN_POOLED": "pool",
    "Measure": "item_pairs",
    "PairedDifferences": "pairing",
    "Pool": "pool",
    "RestsOn": "pairing",
    "RunItems": "item_pairs",
    "SMALLEST_SHARE": "item_pairs",
    "SMALLEST_STEP": "item_pairs",
    "ScoreTable": "pool",
    "SeedWeights": "weights",
    "SideVariances": "weights",
    "Spread": "variance",
    "StratumStep": "strata",
    "aggregates": "",
    "by_number": "strata",
    "correlations": "correlation",
    "difference_spread": "spread",
    "equivalence_p_value": "estimate",
    "estimate_delta": "estimate",
    "find_dependence": "dependence",
    "item_differences": "dependence",
    "item_freedom": "variance",
    "item_noise": "item_pairs",
    "join_items": "item_pairs",
    "mean_spread": "weights",
    "not_worse_p_value": "estimate",
    "pair_items": "item_pairs",
    "pair_values": "pairing",
    "pool_arms": "pool",
    "rounding_variance": "variance",
    "seed_spread": "variance",
    "simultaneous_interval": "estimate",
    "sparse_variance": "variance",
    "split_error": "variance",
    "split_strata": "strata",
    "stratified_variance": "variance",
    "t_quantile": "estimate",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
