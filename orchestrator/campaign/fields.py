"""Names and limits that several parts of a campaign file share."""

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
"""Letters that the id of a trial adds to the name of its search: `-t0123`."""
SearchId = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH - TRIAL_LETTERS)]
TAG = "tag:"
"""Put before a group, it names all experiments of the group: `tag:loss`."""
Named = Annotated[
    str, Meta(pattern=rf"^({TAG}.+|{ID_PATTERN[1:-1]})$", description="an experiment, or `tag:` and a group of them")
]
Control = Literal["aa", "shuffled_labels"]
"""A test of the protocol, not of an idea: the baseline against itself, or training on meaningless labels."""
AA_SEED_STEP = 10_000
"""Distance between the seeds of one A/A arm and the next."""

MAX_SEEDS = 10_000
"""Most seeds of a campaign: far more than any verdict needs."""
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
NumSeeds = Annotated[int, Meta(ge=1, le=MAX_SEEDS)]
Seeds = NumSeeds | Annotated[tuple[Seed, ...], Meta(min_length=1, max_length=MAX_SEEDS)]
"""A number of seeds (3 means 0, 1, 2), or a list of seeds."""

Word = Annotated[str, Meta(min_length=1)]


class Reported(Config, frozen=True, kw_only=True):
    """What the source claims, on LocD: accuracy in percent, delta in percentage points."""

    accuracy: Annotated[float, Meta(ge=0, le=100)] | None = None
    delta: float | None = None
    versus: Annotated[str | None, Meta(description="what the source took the delta against")] = None
    bursts: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="number of bursts that its run was scored on; by default that of the baseline"),
    ] = None
    outcome: Annotated[str | None, Meta(description="e.g. too_slow, if there is no score")] = None
    note: str | None = None
