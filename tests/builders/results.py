"""Runs that are done, with predictions that agree with their result."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.runs.folder import LocationScore, Result, RunFolder

NUM_BURSTS = 10
Flags = NDArray[np.bool_]


def write_done(folder: RunFolder, correct: int | None = None, *, epochs: int = 1, reason: str = "it is done") -> Result:
    """Write a result and predictions of ten bursts for each capture that the run is scored on.

    The first `correct` bursts are recognised. Without `correct`, five bursts are; each run has other ones.
    """
    right_B = np.arange(NUM_BURSTS) < correct if correct is not None else _some(folder.path.name)
    return write_scored(folder, dict.fromkeys(scored_captures(folder), right_B), epochs=epochs, reason=reason)


def scored_captures(folder: RunFolder) -> list[str]:
    """Return the captures that a run of the radio study is scored on."""
    data = folder.read_config().params["data"]
    return list(dict.fromkeys((*data["validate"], *data.get("choose", ()), *data["report"])))


def write_scored(
    folder: RunFolder, right: Mapping[str, Flags], *, epochs: int = 1, reason: str = "it is done"
) -> Result:
    """Write a result and predictions; `right` says for each capture which of its bursts are recognised."""
    arrays = {f"{capture}/{name}": values for capture, flags in right.items() for name, values in _arrays(flags)}
    np.savez(folder.predictions, allow_pickle=False, **arrays)
    scores = {
        capture: LocationScore(bursts=len(flags), correct=int(flags.sum()), accuracy=float(flags.mean()), loss=1.0)
        for capture, flags in right.items()
    }
    result = Result(state="done", reason=reason, best_epoch=epochs, epochs=epochs, scores=scores)
    folder.write_result(result)
    return result


def _arrays(right_B: Flags) -> list[tuple[str, NDArray[Any]]]:
    num_items = len(right_B)
    labels_B = np.arange(num_items)
    logits_BC = np.zeros((num_items, num_items + 1), dtype=np.float32)
    logits_BC[labels_B, np.where(right_B, labels_B, num_items)] = 1.0
    keys_B = np.array([f"{label:02d}/0" for label in labels_B])
    return [("key", keys_B), ("device", labels_B), ("label", labels_B), ("logits", logits_BC)]


def _some(name: str) -> Flags:
    """Choose five of ten bursts by a name."""
    chosen = np.random.default_rng(zlib.crc32(name.encode())).permutation(NUM_BURSTS)
    return chosen < NUM_BURSTS // 2
