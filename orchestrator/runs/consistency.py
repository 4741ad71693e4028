"""Whether what a run folder says agrees with itself; what does not is not believed. Pure but for `why_not_believed`.

A result is believed where its predictions say the same, and a folder where its files are of one run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.config import JobConfig
from model.train.run_folder import EpochRecord, LocationScore, Result, RunFolder
from orchestrator.runs.identity import CodeAndData, identity_hash
from orchestrator.runs.order import Order
from orchestrator.runs.predictions import SPOILT, Predictions, read_predictions
from orchestrator.runs.states import RunState
from orchestrator.wording import listed

NUM_HEX = 8
"""Of an identity, in the name of a folder."""
TOLERANCE = 1e-9
"""How far an accuracy may lie from the share of its counts: rounding."""
MAX_COUNT = 2**63
"""What no count of steps or bytes reaches, and no table holds."""


def disagreement(result: Result, predictions: Mapping[str, Predictions], config: JobConfig) -> str | None:
    """Say where a result and the predictions beside it contradict each other; None where they agree.

    Args:
        result: `result.json`; only one that is `done` has scores to hold against anything.
        predictions: capture -> what `predictions.npz` holds.
        config: names the captures that a run is scored on.
    """
    if result.state not in tuple(state for state in RunState if state.is_final):
        return f"result.json says that the run is `{result.state}`, which is no ending"
    if result.epochs < 0 or (result.best_epoch is not None and not 1 <= result.best_epoch <= result.epochs):
        return f"result.json says that epoch {result.best_epoch} of {result.epochs} was scored"
    if result.state != RunState.DONE:
        return f"result.json says that the run is {result.state}, and gives scores" if result.scores else None
    wanted = set(config.data.scored)
    for file, names in (("result.json", set(result.scores)), ("predictions.npz", set(predictions))):
        if names != wanted:
            told = listed(sorted(names)) if names else "no capture"
            return f"{file} is on {told}, scored are {listed(sorted(wanted))}"
    found = (_disagreement_on(name, result.scores[name], predictions[name]) for name in sorted(wanted))
    return next((sentence for sentence in found if sentence), None)


def _disagreement_on(capture: str, score: LocationScore, told: Predictions) -> str | None:
    bursts, num_classes = told.logits_BC.shape
    if not np.isfinite(told.logits_BC).all():
        return f"predictions.npz has logits on {capture} that are no finite numbers"
    if bursts == 0 or told.labels_B.min() < 0 or told.labels_B.max() >= num_classes:
        return f"predictions.npz has labels on {capture} outside of its {num_classes} classes"
    if len(np.unique(told.keys_B)) != bursts:
        return f"predictions.npz holds a burst of {capture} more than once"
    correct = int(told.find_correct().sum())
    if (score.bursts, score.correct) != (bursts, correct) or abs(score.accuracy - correct / bursts) > TOLERANCE:
        return (
            f"result.json says {100 * score.accuracy:.1f} % on {capture} ({score.correct:,} of {score.bursts:,} "
            f"bursts), predictions.npz says {100 * correct / bursts:.1f} % ({correct:,} of {bursts:,})"
        )
    return None


def contradiction(name: str, config: JobConfig, order: Order | None, provenance: Mapping[str, Any]) -> str | None:
    """Say where the files of a run folder are of different runs; None where they agree. What is not said is no lie.

    Args:
        name: of the folder, such as E5-s0-3466db1c.
        config: `config.json`.
        order: `order.json`; None where there is none, as beside a result that was accepted.
        provenance: `provenance.json`; empty where the run never started.
    """
    whose, _, identity = name.rpartition("-")
    if whose != f"{config.experiment}-s{config.seed}":
        return f"config.json is of {config.experiment} at seed {config.seed}"
    told = {"run": name, "seed": config.seed}
    for what, value in told.items():
        if provenance.get(what, value) != value:
            return f"provenance.json is of {what} {provenance[what]}"
    if not str(provenance.get("identity", identity)).startswith(identity):
        return f"provenance.json is of identity {str(provenance['identity'])[:NUM_HEX]}"
    return _of_order(name, identity, config, order) if order else None


def _of_order(name: str, identity: str, config: JobConfig, order: Order) -> str | None:
    if order.run != name:
        return f"order.json is of run {order.run}"
    files = {capture.path for capture in config.data.captures.values()}
    if not files <= order.captures.keys():
        return f"order.json has no hash of {listed(sorted(files - order.captures.keys()))}"
    worked_out = identity_hash(config, CodeAndData(code_tree=order.code.tree, captures=order.captures))
    if not (order.identity == worked_out and worked_out.startswith(identity)):
        said, found = order.identity[:NUM_HEX], worked_out[:NUM_HEX]
        return f"order.json says identity {said}, but what it and config.json hold is of identity {found}"
    return None


def wrong_epochs(epochs: Sequence[EpochRecord]) -> str | None:
    """Say which line of `epochs.jsonl` holds a number that cannot be; None where there is none."""
    for place, record in enumerate(epochs, 1):
        counts = (record.skipped_steps, record.peak_memory_bytes)
        if not 0 <= min(counts) <= max(counts) < MAX_COUNT or not 0 <= record.seconds < MAX_COUNT:
            return f"line {place} of epochs.jsonl holds a number that no epoch has"
        if not 0 <= record.val_accuracy <= 1:
            return f"line {place} of epochs.jsonl says a validation accuracy of {record.val_accuracy}"
    return None


def why_not_believed(folder: RunFolder) -> str | None:
    """Say why the result in a run folder is not believed; None where it is, or where there is none.

    Reads config.json, result.json and predictions.npz, and nothing else.
    """
    try:
        result = folder.read_result()
        if result is None:
            return None
        return disagreement(result, read_predictions(folder.predictions), folder.read_config())
    except SPOILT as error:
        return f"its files cannot be read: {error or type(error).__name__}"
