"""What a search notes of a trial, in the user attributes of Optuna's storage. Nobody else reads or writes them."""

from typing import Any

import msgspec
from msgspec import Struct
from optuna.trial import FrozenTrial, Trial

from orchestrator.search.objective import Score
from orchestrator.task.knobs import Change


class TrialNote(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"pruning": "given_up"}):
    """What is noted of one trial. A field's name is its key in the storage, but for `pruning`: `given_up`.

    Databases of earlier versions have these keys, so none of them changes.
    """

    again_of: int | None = None
    """Number of the failed trial that this one tries again."""
    point: Change | None = None
    """The point of the campaign file that this trial is; None for a suggested one."""
    reason: str = ""
    """Why the trial has no score, as a sentence."""
    change: Change | None = None
    """The knobs and their values, as trained; None until the point is known."""
    sampler: str = ""
    """Name of the sampler that was asked."""
    owner: str = ""
    """The process whose search trains it, as `owner_name` writes it."""
    cleared: bool = False
    """Whether the failures were forgotten that this trial tries again."""
    pruning: str = ""
    """Why the trial is pruned, as a sentence. Its jobs may still finish an epoch."""
    score: Score | None = None
    runs: tuple[str, ...] | None = None
    """Ids of its runs, one a seed; None until they are known."""


def read_note(trial: FrozenTrial) -> TrialNote:
    """Return what is noted of a trial.

    Raises:
        ValueError: an attribute has a value of another type.
    """
    return msgspec.convert(trial.user_attrs, TrialNote)


def as_attributes(note: TrialNote) -> dict[str, Any]:
    """Return the user attributes of a note; a field with its default has none."""
    found: dict[str, Any] = msgspec.to_builtins(note)
    return found


def add_note(trial: Trial, **fields: Any) -> None:
    """Add fields of `TrialNote` to what is noted of a trial; the others stay."""
    # One write each, in the order of the fields, so `runs` comes last. A trial without `runs` has queued no run.
    # If its search dies before that write, the next one fails the trial and asks for the point again.
    for key, value in as_attributes(TrialNote(**fields)).items():
        trial.set_user_attr(key, value)


def run_ids(trial: FrozenTrial) -> tuple[str, ...]:
    """Return the ids of a trial's runs; none until they are known."""
    return read_note(trial).runs or ()
