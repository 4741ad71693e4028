"""What each stratum of items adds to the error of a mean difference. Pure."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from orchestrator.stats.pairing import PairedDifferences


class StratumStep(Struct, frozen=True, kw_only=True):
    """The items of one stratum; each counts as its mean over seeds of experiment minus reference."""

    stratum: str
    num_items: int
    delta_points: float
    variance_points2: float
    """The stratum's part of the sampling variance of the mean over all items."""


def split_strata(pairs: PairedDifferences) -> tuple[StratumStep, ...]:
    """Split the variance of the mean over items by stratum; empty if no stratum has two items."""
    if pairs.rests_on == "seeds":
        return ()
    points_B = pairs.scale * pairs.difference_SB.mean(axis=0, dtype=np.float64)
    strata = {name: points_B[pairs.stratum_B == name] for name in by_number(np.unique(pairs.stratum_B).tolist())}
    freedom = sum(len(stratum) - 1 for stratum in strata.values())
    if not freedom:
        return ()
    pooled = sum(float(stratum.var()) * len(stratum) for stratum in strata.values()) / freedom
    return tuple(
        StratumStep(
            stratum=name,
            num_items=len(stratum),
            delta_points=float(stratum.mean()),
            # One item shows no variance, so its stratum takes the pooled variance of the others.
            variance_points2=(float(stratum.var(ddof=1)) if len(stratum) > 1 else pooled)
            * len(stratum)
            / pairs.num_items**2,
        )
        for name, stratum in strata.items()
    )


def by_number(names: Iterable[str]) -> list[str]:
    """Sort names of strata: numbers by their value and before all words."""
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
