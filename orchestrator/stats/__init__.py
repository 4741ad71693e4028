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
    "Cell": "looks",
    "ColumnError": "columns",
    "Dependence": "dependence",
    "Estimate": "estimate",
    "Expression": "columns",
    "ItemMeasure": "measure",
    "Look": "looks",
    "MIN_POOLED": "variance",
    "Measure": "item_pairs",
    "PairedDifferences": "pairing",
    "Progress": "looks",
    "Resolve": "estimate",
    "RestsOn": "pairing",
    "RunItems": "item_pairs",
    "SMALLEST_SHARE": "item_pairs",
    "SMALLEST_STEP": "item_pairs",
    "Spread": "variance",
    "StratumStep": "strata",
    "aggregates": "",
    "arm_spreads": "variance",
    "by_number": "strata",
    "difference_spread": "variance",
    "equivalence_p_value": "estimate",
    "estimate_delta": "estimate",
    "fewest_to_decide": "estimate",
    "find_dependence": "dependence",
    "fit_prior": "variance",
    "item_differences": "dependence",
    "items_to_resolve": "estimate",
    "join_items": "item_pairs",
    "not_worse_p_value": "estimate",
    "pair_items": "item_pairs",
    "pair_values": "pairing",
    "pool_spreads": "variance",
    "replay": "looks",
    "rounding_variance": "variance",
    "seed_spread": "variance",
    "seeds_to_resolve": "estimate",
    "share_out": "looks",
    "split_strata": "strata",
    "t_quantile": "estimate",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
