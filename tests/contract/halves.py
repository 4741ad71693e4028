"""The two halves that share a run folder, each with code of its own for the same files."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from msgspec import structs

from model import process as model_process
from model.train import job_lock as model_lock
from model.train import run_folder as model_folder
from orchestrator import processes as orchestrator_process
from orchestrator.runs import folder as orchestrator_folder
from orchestrator.runs import job_lock as orchestrator_lock

EPOCH: dict[str, Any] = {
    "epoch": 1,
    "seconds": 0.5,
    "cpu_seconds": 0.9,
    "data_seconds": 0.1,
    "train_loss": 1.0,
    "val_loss": 1.1,
    "val_accuracy": 0.5,
    "learning_rate": 1e-3,
    "grad_norm": 2.0,
    "skipped_steps": 0,
    "bursts_per_second": 100.0,
    "peak_memory_bytes": 2**20,
}
RESULT: dict[str, Any] = {"state": "done", "reason": "all epochs trained", "best_epoch": 2, "epochs": 3}
SCORE: dict[str, Any] = {"bursts": 4, "correct": 3, "accuracy": 0.75, "loss": None}


@dataclass(frozen=True)
class Half:
    """The modules of one half."""

    folder: ModuleType
    lock: ModuleType
    process: ModuleType

    def record(self, epoch: int = 1, **changes: object) -> Any:
        """Return an epoch as this half's type."""
        return self.folder.EpochRecord(**{**EPOCH, "epoch": epoch, **changes})

    def result(self, **changes: object) -> Any:
        """Return a result as this half's type."""
        scores = {"report": self.folder.LocationScore(**SCORE)}
        return self.folder.Result(**{**RESULT, "scores": scores, **changes})


MODEL = Half(model_folder, model_lock, model_process)
ORCHESTRATOR = Half(orchestrator_folder, orchestrator_lock, orchestrator_process)


def fields(struct: Any) -> dict[str, Any]:
    """Return the fields of a record of either half, so that records of both can be compared."""
    found = structs.asdict(struct)
    return {name: value for name, value in found.items() if name in (*EPOCH, *RESULT, *SCORE, "format", "failure")}
