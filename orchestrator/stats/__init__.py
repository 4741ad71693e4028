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
    "Estimate": "estimate",
    "Expression": "columns",
    "ItemMeasure": "measure",
    "Look": "looks",
    "MIN_POOLED": "variance",
    "Measure": "item_pairs",
    "PairedDifferences": "pairing",
    "Progress": "looks",
    "Resolve": "needed",
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
    "fewest_to_decide": "needed",
    "fit_prior": "variance",
    "items_to_resolve": "needed",
    "join_items": "item_pairs",
    "not_worse_p_value": "estimate",
    "pair_items": "item_pairs",
    "pair_values": "pairing",
    "pool_spreads": "variance",
    "replay": "looks",
    "range_to_decide": "needed",
    "rounding_variance": "variance",
    "seed_spread": "variance",
    "seeds_to_resolve": "needed",
    "share_out": "looks",
    "simultaneous_interval": "estimate",
    "split_strata": "strata",
    "t_quantile": "estimate",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
