"""Names and numbers that several parts of a campaign file share."""

from typing import Annotated, Literal

from msgspec import Meta

from orchestrator.closed import Config
from orchestrator.runs.identity import ID_PATTERN, MAX_ID_LENGTH

BASELINE = "baseline"
INTERACTION, ABLATION, AA = "interaction", "ablation", "aa"
"""The groups of generated arms."""
CONTROLS, CAMPAIGN = "controls", "campaign"
"""Families of comparisons beside the groups: all controls, and everything else of a campaign."""

Where = tuple[str, ...]
"""Path of a key in the campaign file, e.g. `("experiments", "E5", "change")`."""

ExperimentId = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH)]
TRIAL_LETTERS = 6
"""What the name of a search is followed by in the id of a trial's arm: `-t0123`."""
SearchId = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH - TRIAL_LETTERS)]
TAG = "tag:"
"""Before the name of a group, where experiments are named."""
Named = Annotated[
    str, Meta(pattern=rf"^({TAG}.+|{ID_PATTERN[1:-1]})$", description="an experiment, or `tag:` and a group of them")
]
Control = Literal["aa", "shuffled_labels"]
"""What is run to test the protocol, not an idea: the baseline against itself, or training on labels without meaning."""
SHUFFLED_LABELS = "data.shuffled_labels"
"""The knob of the control of that name."""
AA_SEED_STEP = 10_000
"""How far the seeds of an A/A arm lie from those of the one before."""

MAX_SEEDS = 10_000
"""Most seeds of a campaign: far more than any verdict needs."""
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
NumSeeds = Annotated[int, Meta(ge=1, le=MAX_SEEDS)]
Seeds = NumSeeds | Annotated[tuple[Seed, ...], Meta(min_length=1, max_length=MAX_SEEDS)]
"""How many seeds (0, 1, ...), or which."""

Word = Annotated[str, Meta(min_length=1)]


class Reported(Config, frozen=True, kw_only=True):
    """What the source claims. Percent and percentage points on LocD."""

    accuracy: Annotated[float, Meta(ge=0, le=100)] | None = None
    delta: float | None = None
    versus: Annotated[str | None, Meta(description="what the delta was taken against, as the source says")] = None
    bursts: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="how many bursts its run was scored on; the baseline's holds for all that do not say"),
    ] = None
    outcome: Annotated[str | None, Meta(description="e.g. too_slow, where there is no score")] = None
    note: str | None = None
