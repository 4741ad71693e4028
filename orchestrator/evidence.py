"""What the runs of a campaign left on disk, read into values. Reads run folders and nothing else."""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from model.config import JobConfig
from model.run_folder import EpochRecord, Result, RunFolder
from orchestrator.errors import RunError
from orchestrator.layout import Layout

UNREADABLE = (OSError, EOFError, ValueError, KeyError, msgspec.DecodeError, zipfile.BadZipFile, zlib.error)
"""What reading a missing, cut or spoilt file raises."""


@dataclass(frozen=True)
class Bursts:
    """How one run did on the bursts of one capture; the arrays go together, one entry a burst."""

    keys: NDArray[np.str_]
    """What names the burst in its capture: device and packet."""
    devices: NDArray[np.int64]
    correct: NDArray[np.bool_]


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run, as its folder tells it."""

    id: str
    experiment: str
    seed: int
    config: JobConfig
    provenance: dict[str, Any]
    epochs: tuple[EpochRecord, ...]
    result: Result | None
    bursts: dict[str, Bursts]
    """Capture -> its bursts; empty unless the run was scored."""


def read_run(run_id: str, folder: RunFolder) -> RunRecord:
    """Read a run folder.

    Raises:
        RunError: a file of it is missing or broken.
    """
    try:
        config = folder.read_config()
        provenance = _read_provenance(folder)
        epochs = tuple(folder.read_epochs())
        bursts = _read_bursts(folder)
        result = folder.read_result()
    except UNREADABLE as error:
        raise RunError(f"{folder.path}: this run folder cannot be read: {error}; delete it to train it again") from None
    return RunRecord(
        id=run_id,
        experiment=config.experiment,
        seed=config.seed,
        config=config,
        provenance=provenance,
        epochs=epochs,
        result=result,
        bursts=bursts,
    )


def _read_provenance(folder: RunFolder) -> dict[str, Any]:
    """Read where a run came from; one that only waits, or was rejected, has not been started and has none."""
    if not folder.provenance.exists() and not folder.epochs.exists():
        return {}
    return msgspec.json.decode(folder.provenance.read_bytes(), type=dict[str, Any])


def _read_bursts(folder: RunFolder) -> dict[str, Bursts]:
    if not folder.predictions.exists():
        return {}
    # Opened here, since np.load leaves a broken archive open.
    with folder.predictions.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        captures = dict.fromkeys(name.rpartition("/")[0] for name in arrays.files)
        return {
            capture: Bursts(
                keys=arrays[f"{capture}/key"],
                devices=arrays[f"{capture}/device"],
                correct=arrays[f"{capture}/logits"].argmax(axis=1) == arrays[f"{capture}/label"],
            )
            for capture in captures
        }


def read_runs(layout: Layout, run_ids: Iterable[str]) -> dict[str, RunRecord]:
    """Read the folders of those runs that have one."""
    folders = ((run_id, layout.run(run_id)) for run_id in run_ids)
    return {run_id: read_run(run_id, folder) for run_id, folder in folders if folder.config.exists()}
