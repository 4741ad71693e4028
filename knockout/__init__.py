"""Tell Knockout what a training finds. One file, standard library alone, Python 3.8 or newer: copy it if you like.

    run = knockout.current()
    run.log(epoch, train_loss=0.3, val_loss=0.4)      # after each finished step

    if run.stop_asked():                              # then save a checkpoint, and end
        raise SystemExit(knockout.STOPPED)

    run.metric(accuracy=0.93)                         # once, of the finished training

    run.scores("test", key=names, cluster=trials, correct=correct)      # the evidence, item by item

Outside a run of Knockout all of this does nothing, so the script stays as it is.

Several processes may train together. Then only the first one tells anything: a process writes nothing if one of
`RANK_VARIABLES` is above 0 in it.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

__all__ = ["STOPPED", "Run", "current"]

STOPPED = 130
"""Exit status of a training that was asked to stop, has saved, and can go on later."""
VARIABLES = {
    "run": "KNOCKOUT_RUN",
    "folder": "KNOCKOUT_FOLDER",
    "seed": "KNOCKOUT_SEED",
    "params": "KNOCKOUT_PARAMS",
    "metrics": "KNOCKOUT_METRICS",
}
"""What this file reads: the run's mark, its folder, its seed, a JSON file of parameters, and where numbers go."""
RANK_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "HOROVOD_RANK",
)
"""How launchers number the processes of one training: torchrun, Lightning, srun, Open MPI, MPICH, PMIx, Horovod."""
REPORTED = "reported.jsonl"
"""File in the run folder for numbers, where no other is named: one JSON object a line."""
SCORES = "scores"
"""Folder in the run folder with one CSV file a split."""
CHECKPOINTS = "checkpoints"
"""Folder in the run folder that is kept between the attempts of a run."""

_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Run:
    """The run of Knockout that this process belongs to, or nothing at all, with the same functions."""

    def __init__(self, told: dict[str, str]) -> None:
        self._told = told
        self._params: dict[str, Any] | None = None
        self._is_listening = False
        self._is_asked = False

    @property
    def active(self) -> bool:
        """Whether anything that is told is written: inside a run, and in the first of its processes."""
        return self.folder is not None and not any(_rank(name) for name in RANK_VARIABLES)

    @property
    def id(self) -> str | None:
        """The name of the run; None outside a run."""
        # The mark is `device:inode:name` of the run folder.
        return self._told["run"].rsplit(":", 1)[-1] if self.folder and self._told["run"] else None

    @property
    def seed(self) -> int | None:
        """The seed of the run; None outside a run."""
        return int(self._told["seed"]) if self.folder and self._told["seed"] else None

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the run; empty outside a run.

        Raises:
            ValueError: their file cannot be read.
        """
        if self._params is None:
            self._params = _read_params(self._told["params"]) if self.folder and self._told["params"] else {}
        return self._params

    @property
    def folder(self) -> Path | None:
        """The run folder, where everything that is kept belongs; None outside a run."""
        return Path(self._told["folder"]) if self._told["folder"] else None

    @property
    def checkpoints(self) -> Path | None:
        """A folder, there already, for what the next attempt of the run continues from; None outside a run."""
        if self.folder is None:
            return None
        place = self.folder / CHECKPOINTS
        place.mkdir(parents=True, exist_ok=True)
        return place

    def log(self, step: float | None = None, /, **values: Any) -> None:
        """Tell the numbers of a finished step, such as an epoch or an evaluation.

        Args:
            step: what it counts; steps rise, and one that is told again replaces the first and all after it.
            **values: numbers by name.

        Raises:
            ValueError: a value is no number, or is named `step`.
        """
        if "step" in values:
            raise ValueError("run.log: give the step first and without a name: run.log(3, loss=0.1)")
        if self.active:
            self._append({"step": None if step is None else _number("log", "step", step), **_numbers("log", values)})

    def metric(self, **values: Any) -> None:
        """Tell numbers of the finished training; of one that is told twice, the last counts.

        Raises:
            ValueError: a value is no number, or is named `step`.
        """
        if "step" in values:
            raise ValueError("run.metric: `step` is no metric; tell a step with run.log")
        if self.active:
            self._append(_numbers("metric", values))

    def scores(self, split: str, /, *, key: Any, cluster: Any = None, stratum: Any = None, **columns: Any) -> None:
        """Tell how the training did on each item of a split: the evidence that verdicts rest on.

        The file is `scores/SPLIT.csv` in the run folder. It is written whole or not at all.

        Args:
            split: the name of the test set, which becomes the name of a file.
            key: a name for each item, the same at every seed; no two are alike.
            cluster: the sampled group of each item, such as a patient; None where items are sampled one by one.
            stratum: the fixed group of each item, such as a device.
            **columns: a number for each item: arrays, tensors or lists.

        Raises:
            ValueError: a key stands there twice, the columns differ in length, or a cell is no single value.
            OSError: the file cannot be written.
        """
        if not _SPLIT.fullmatch(split):
            raise ValueError(f"run.scores: `{split}` is no name of a file; use letters, digits, `_`, `-`")
        if not columns:
            raise ValueError("run.scores: tell at least one column of numbers, such as correct=...")
        if not self.active:
            return
        labels = {"key": key, "cluster": cluster, "stratum": stratum}
        table = {name: _cells(name, column) for name, column in {**labels, **columns}.items() if column is not None}
        _require_table(split, table)
        assert self.folder is not None
        _write_csv(self.folder / SCORES / (split + ".csv"), table)

    def stop_asked(self) -> bool:
        """Whether the run is to save and to end with `STOPPED`. From the first call on, SIGTERM only asks.

        Raises:
            RuntimeError: the first call is not in the main thread, which alone can listen for signals.
        """
        if self.folder is not None and not self._is_listening:
            if threading.current_thread() is not threading.main_thread():
                raise RuntimeError("run.stop_asked: call it once in the main thread before other threads call it")
            signal.signal(signal.SIGTERM, self._take_request)
            self._is_listening = True
        return self._is_asked

    def _take_request(self, number: int, frame: Any) -> None:
        self._is_asked = True

    def _append(self, values: dict[str, Any]) -> None:
        assert self.folder is not None
        path = Path(self._told["metrics"] or str(self.folder / REPORTED))
        line = json.dumps(values, allow_nan=False) + "\n"
        # One write for each line: other processes may append to the same file.
        with path.open("ab+", buffering=0) as file:
            file.write((_line_break(file) + line).encode())


def current() -> Run:
    """Return the run that this process belongs to; outside a run, an object that does nothing."""
    # The variables are read at each call: a forked process may get its run after this file was imported.
    return _run_of(*(os.environ.get(variable, "") for variable in VARIABLES.values()))


@functools.lru_cache(maxsize=1)
def _run_of(*values: str) -> Run:
    return Run(dict(zip(VARIABLES, values)))


def _rank(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else 0


def _read_params(path: str) -> dict[str, Any]:
    try:
        params = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: the parameters of the run cannot be read: {error}") from None
    if not isinstance(params, dict):
        raise ValueError(f"{path}: parameters are an object of JSON, found {type(params).__name__}")
    return params


def _line_break(file: Any) -> str:
    """Return a line break if the last line has none: a process that was killed may have left half a line."""
    if file.seek(0, os.SEEK_END) == 0:
        return ""
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"


def _numbers(function: str, values: dict[str, Any]) -> dict[str, float | None]:
    return {name: _number(function, name, value) for name, value in values.items()}


def _number(function: str, name: str, value: Any) -> float | None:
    """Return one number of an array, a tensor or Python; None if it is not finite, which JSON cannot say."""
    plain = _plain(value)
    while isinstance(plain, list) and len(plain) == 1:
        plain = plain[0]
    try:
        number = float(plain)
    except (TypeError, ValueError):
        raise ValueError(f"run.{function}: `{name}` is {value!r}; one number is wanted") from None
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """Return the plain Python value of what a library of arrays holds: PyTorch, NumPy, pandas, JAX, TensorFlow."""
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "numpy") and not hasattr(value, "tolist"):
        value = value.numpy()
    return value.tolist() if hasattr(value, "tolist") else value


def _cells(name: str, column: Any) -> list[Any]:
    plain = _plain(column)
    if isinstance(plain, (str, bytes)) or not hasattr(plain, "__iter__"):
        raise ValueError(f"run.scores: `{name}` is one value; one for each item is wanted")
    return [_cell(name, value) for value in plain]


def _cell(name: str, value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8")
    # A joined key, such as (trial, time), is one value; columns of numbers are not nested.
    if isinstance(plain, (list, tuple)) and name == "key":
        return "|".join(str(_cell(name, part)) for part in plain)
    if plain is not None and not isinstance(plain, (str, int, float)):
        raise ValueError(f"run.scores: `{name}` holds {value!r}; a single value for each item is wanted")
    return int(plain) if isinstance(plain, bool) else plain


def _require_table(split: str, table: dict[str, list[Any]]) -> None:
    lengths = {name: len(cells) for name, cells in table.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of `{name}`" for name, length in lengths.items())
        raise ValueError(f"run.scores: the columns of `{split}` differ in length: {told}")
    first: dict[str, int] = {}
    for row, key in enumerate(table["key"], 1):
        if first.setdefault(str(key), row) != row:
            rows = f"rows {first[str(key)]}, {row}"
            raise ValueError(f"run.scores: key `{key}` of `{split}` stands there twice ({rows}); name items apart")


def _write_csv(path: Path, table: dict[str, list[Any]]) -> None:
    """Write a table whole: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with half.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(zip(*table.values()))
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        if half.exists():
            half.unlink()
