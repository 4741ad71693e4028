"""Contradictions between the files of a run folder. Only `why_not_believed` reads files; the rest is pure.

A result is believed if its predictions give the same scores. A folder is believed if its files are of one run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.errors import RunError
from orchestrator.runs.folder import EpochRecord, LocationScore, Result, RunConfig, RunFolder
from orchestrator.runs.identity import identity_hash
from orchestrator.runs.order import Order, read_order
from orchestrator.runs.predictions import SPOILT, Predictions, read_predictions
from orchestrator.runs.states import RunState
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import listed

NUM_HEX = 8
"""Digits of an identity in the name of a run folder."""
TOLERANCE = 1e-9
"""Largest difference, by rounding, between an accuracy and the share that its counts give."""
MAX_COUNT = 2**63
"""Counts of steps, bytes or seconds are below this; a table could not hold a larger one."""


def find_disagreement(result: Result, predictions: Mapping[str, Predictions], order: Order | None) -> str | None:
    """Return a sentence if a result contradicts its predictions; None if they agree.

    Args:
        result: `result.json`; only a result that is `done` has scores to compare.
        predictions: capture -> content of `predictions.npz`.
        order: its task names the splits on which a run is scored; None if nobody says it, as beside an accepted result.
    """
    if result.state not in tuple(state for state in RunState if state.is_final):
        return f"result.json says that the run is `{result.state}`, which is no ending"
    if result.epochs < 0 or (result.best_epoch is not None and not 1 <= result.best_epoch <= result.epochs):
        return f"result.json says that epoch {result.best_epoch} of {result.epochs} was scored"
    if result.state != RunState.DONE:
        return f"result.json says that the run is {result.state}, and gives scores" if result.scores else None
    wanted = scored_splits(order.task) if order else {*result.scores, *predictions}
    for file, names in (("result.json", set(result.scores)), ("predictions.npz", set(predictions))):
        if names != wanted:
            found = listed(sorted(names)) if names else "no capture"
            return f"{file} is on {found}, scored are {listed(sorted(wanted))}"
    sentences = (_find_capture_disagreement(name, result.scores[name], predictions[name]) for name in sorted(wanted))
    return next((sentence for sentence in sentences if sentence), None)


def scored_splits(task: TaskSpec) -> set[str]:
    """Return the splits whose items a job writes into `predictions.npz`."""
    return {split for split, items in task.items.items() if items.reader == "predictions"}


def _find_capture_disagreement(capture: str, score: LocationScore, stored: Predictions) -> str | None:
    bursts, num_classes = stored.logits_BC.shape
    if not np.isfinite(stored.logits_BC).all():
        return f"predictions.npz has logits on {capture} that are no finite numbers"
    if bursts == 0 or stored.labels_B.min() < 0 or stored.labels_B.max() >= num_classes:
        return f"predictions.npz has labels on {capture} outside of its {num_classes} classes"
    # A burst that counts twice would make the paired tests too sure of their difference.
    if len(np.unique(stored.keys_B)) != bursts:
        return f"predictions.npz holds a burst of {capture} more than once"
    # The logits alone give the accuracy, so a result that somebody edited by hand contradicts them.
    correct = int(stored.find_correct().sum())
    if (score.bursts, score.correct) != (bursts, correct) or abs(score.accuracy - correct / bursts) > TOLERANCE:
        return (
            f"result.json says {100 * score.accuracy:.1f} % on {capture} ({score.correct:,} of {score.bursts:,} "
            f"bursts), predictions.npz says {100 * correct / bursts:.1f} % ({correct:,} of {bursts:,})"
        )
    return None


def find_contradiction(name: str, config: RunConfig, order: Order | None, provenance: Mapping[str, Any]) -> str | None:
    """Return a sentence if the files of a run folder are of different runs; None if they agree.

    A missing field is no contradiction.

    Args:
        name: of the folder, such as E5-s0-3466db1c.
        config: `config.json`.
        order: `order.json`; None if there is none, as beside an accepted result.
        provenance: `provenance.json`; empty if the run never started.
    """
    owner, _, identity = name.rpartition("-")
    if owner != f"{config.experiment}-s{config.seed}":
        return f"config.json is of {config.experiment} at seed {config.seed}"
    for what, value in {"run": name, "seed": config.seed}.items():
        if provenance.get(what, value) != value:
            return f"provenance.json is of {what} {provenance[what]}"
    # The folder's name holds only the first digits of the identity.
    if not str(provenance.get("identity", identity)).startswith(identity):
        return f"provenance.json is of identity {str(provenance['identity'])[:NUM_HEX]}"
    return _find_order_contradiction(name, identity, config, order) if order else None


def _find_order_contradiction(name: str, identity: str, config: RunConfig, order: Order) -> str | None:
    if order.run != name:
        return f"order.json is of run {order.run}"
    # The identity is worked out anew: an edited config.json or order.json no longer gives the same one.
    worked_out = identity_hash(order.task, config.params, config.seed, order.inputs)
    if not (order.identity == worked_out and worked_out.startswith(identity)):
        said, found = order.identity[:NUM_HEX], worked_out[:NUM_HEX]
        return f"order.json says identity {said}, but what it and config.json hold is of identity {found}"
    return None


def find_wrong_epoch(epochs: Sequence[EpochRecord]) -> str | None:
    """Return a sentence about the first line of `epochs.jsonl` with an impossible number; None if there is none."""
    for place, record in enumerate(epochs, 1):
        counts = (record.skipped_steps, record.peak_memory_bytes)
        if not 0 <= min(counts) <= max(counts) < MAX_COUNT or not 0 <= record.seconds < MAX_COUNT:
            return f"line {place} of epochs.jsonl holds a number that no epoch has"
        if not 0 <= record.val_accuracy <= 1:
            return f"line {place} of epochs.jsonl says a validation accuracy of {record.val_accuracy}"
    return None


def why_not_believed(folder: RunFolder) -> str | None:
    """Say why the result in a run folder is not believed; None if it is, or if there is no result.

    It reads config.json, order.json, result.json and predictions.npz, and no other file.
    """
    try:
        result = folder.read_result()
        if result is None:
            return None
        folder.read_config()
        return find_disagreement(result, read_predictions(folder.predictions), order_of(folder))
    except SPOILT as error:
        return f"its files cannot be read: {error or type(error).__name__}"


def order_of(folder: RunFolder) -> Order | None:
    """Read the order of a run; None if there is none that can be read, as beside an accepted result."""
    try:
        return read_order(folder)
    except RunError:
        return None
