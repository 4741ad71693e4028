"""Run folders, read into values. Nothing else on the disk is read."""

import contextlib
import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.errors import RunError, describe_system_error
from orchestrator.files import SMALL_BYTES, read_plain, require_plain
from orchestrator.runs.consistency import find_contradiction, find_disagreement, find_wrong_epoch, order_of
from orchestrator.runs.folder import EpochRecord, Result, RunFolder
from orchestrator.runs.paths import Paths
from orchestrator.runs.predictions import SPOILT, read_predictions
from orchestrator.runs.scores import Measures, ReadScores, Score, read_kept
from orchestrator.runs.states import RunState
from orchestrator.wording import one_line

MAX_WORDS = 500
"""Most characters of a reason in a sentence."""
LINES_BYTES = 2**28
"""Most bytes of `epochs.jsonl` that are read; a million epochs need fewer."""


class _Accepted(Struct, frozen=True, kw_only=True):
    """The part of `provenance.json` about a result that was accepted from a run of older code."""

    run: str
    code_tree: str
    by: str
    files: tuple[str, ...] = ()


class _Origin(Struct, frozen=True, kw_only=True):
    """The fields of `provenance.json` that are read; one of an older version may lack some."""

    run: str | None = None
    seed: int | None = None
    identity: str | None = None
    branch: str | None = None
    commit: str | None = None
    base_commit: str | None = None
    code_tree: str | None = None
    code_changes: tuple[str, ...] | None = None
    code_differs_beyond: tuple[str, ...] | None = None
    files: dict[str, str] | None = None
    data: dict[str, str] | None = None
    environment: dict[str, str | None] | None = None
    device: str | None = None
    host: str | None = None
    accepted: _Accepted | None = None


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run, as read from its folder."""

    id: str
    experiment: str
    seed: int
    params: dict[str, Any]
    """Every parameter, nested."""
    provenance: dict[str, Any]
    epochs: tuple[EpochRecord, ...]
    result: Result | None
    command: tuple[str, ...] = ()
    """The words that its supervisor started; paths inside the campaign's folder and the checkout are relative."""
    is_resumed: bool = False
    """Whether its last attempt went on from a checkpoint whose task says that this changes its numbers."""
    scores: dict[str, Score] = {}
    """Metric -> what was read of it; empty if the run is not done."""
    unread: dict[str, str] = {}
    """Metric that a finished run does not tell -> a sentence."""


Records = Mapping[str, RunRecord]
"""Run id -> its record."""


@dataclass(frozen=True)
class Evidence:
    """Runs that could be read and are believed, and runs that could not."""

    records: dict[str, RunRecord]
    refused: dict[str, RunError]
    """Run id -> why its folder cannot be read, or is not believed."""


class NotBelievedError(RunError):
    """The files of a run folder are spoilt, or contradict each other.

    Attributes:
        what: the sentence without the advice.
        is_result_alone: whether only the result and its predictions are doubtful, so that the run can go on from its
            checkpoint.
    """

    def __init__(self, what: str, *, is_result_alone: bool = False) -> None:
        super().__init__(f"{what}; delete it to train it again")
        self.what = what
        self.is_result_alone = is_result_alone


def read_run(run_id: str, folder: RunFolder, measures: Measures | None = None) -> RunRecord:
    """Read a run folder.

    Args:
        run_id: the name that the folder has.
        folder: of the run.
        measures: the metrics to read; None reads none of them.

    Raises:
        RunError: a file of it is missing or broken.
        NotBelievedError: its files contradict each other.
    """
    try:
        # Sizes first: a huge or endless file must be refused before it is read into memory.
        require_sizes(folder)
        config = folder.read_config()
        order, provenance = order_of(folder), _read_provenance(folder)
        epochs = tuple(folder.read_epochs())
        result = folder.read_result()
    except SPOILT as error:
        raise _refuse(folder, error) from None
    if why := find_contradiction(run_id, config, order, provenance) or find_wrong_epoch(epochs):
        raise NotBelievedError(f"{folder.path}: this run is not believed: {one_line(why, MAX_WORDS)}")
    try:
        predictions = read_predictions(folder.predictions)
    except SPOILT as error:
        raise _refuse(folder, error, is_result_alone=True) from None
    # From here only the result is in doubt: the run can go on from its checkpoint and be scored again.
    if result is not None and (why := find_disagreement(result, predictions, order)):
        what = f"{folder.path}: this run is not believed: {one_line(why, MAX_WORDS)}"
        raise NotBelievedError(what, is_result_alone=True)
    is_done = result is not None and result.state == RunState.DONE
    found = read_kept(folder, config.seed, measures, predictions) if measures and is_done else ReadScores()
    return RunRecord(
        id=run_id,
        experiment=config.experiment,
        seed=config.seed,
        params=config.params,
        provenance=provenance,
        epochs=epochs,
        result=result,
        command=read_command(folder),
        is_resumed=measures is not None and not measures.resumes_exactly and read_is_resumed(folder),
        scores=found.scores,
        unread=found.unread,
    )


class _Launch(Struct, frozen=True):
    """The part of `launch.json` that is read."""

    arguments: tuple[str, ...] = ()
    checkout: str = ""


def read_command(folder: RunFolder) -> tuple[str, ...]:
    """Return the words that a supervisor started; none for a job that holds its own folder, or if nobody can say.

    The same results lie elsewhere on another machine, so paths in the campaign's folder and in the checkout lose these.
    """
    try:
        launch = msgspec.json.decode(read_plain(folder.launch, SMALL_BYTES), type=_Launch)
    except SPOILT:
        return ()
    # The campaign's folder holds `results/runs/<run>`.
    root = folder.path.absolute().parents[2]
    places = [f"{place}{os.sep}" for place in (launch.checkout, str(root), str(root.resolve())) if place]
    return tuple(
        functools.reduce(lambda word, place: word.replace(place, ""), places, word) for word in launch.arguments
    )


class _Attempt(Struct, frozen=True):
    """The part of a line of `attempts.jsonl` that is read."""

    checkpoint: str | None = None


def read_is_resumed(folder: RunFolder) -> bool:
    """Return whether the last attempt of a supervised run went on from a checkpoint; a torn line does not count."""
    try:
        lines = folder.attempts.read_bytes().splitlines()
    except FileNotFoundError:
        return False
    for line in reversed(lines):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(line, type=_Attempt).checkpoint is not None
    return False


def require_sizes(folder: RunFolder) -> None:
    """Refuse a run folder in which a file is no plain file, or is too large.

    Raises:
        OSError: a file cannot be looked at.
        ValueError: a file is a pipe or a device, or too large.
    """
    limits = dict.fromkeys((folder.config, folder.order, folder.provenance, folder.result), SMALL_BYTES)
    for path, limit_bytes in (limits | {folder.epochs: LINES_BYTES}).items():
        with contextlib.suppress(FileNotFoundError):
            require_plain(path, limit_bytes)


def _refuse(folder: RunFolder, error: BaseException, *, is_result_alone: bool = False) -> RunError:
    """Return the error for a folder that cannot be read.

    A refusal of the system may pass, and says nothing about the files; any other error makes the run doubtful.
    """
    what = f"{folder.path}: this run folder cannot be read"
    if isinstance(error, PermissionError):
        return RunError(f"{what}: {describe_system_error(error)}; its owner can give you the right to read it")
    if isinstance(error, MemoryError):
        return RunError(f"{what}: there is too little memory; free some and try again")
    # A missing file is no passing trouble: it says that the folder is not whole.
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | IsADirectoryError):
        return RunError(f"{what}: {describe_system_error(error)}; try again once that has passed")
    why = one_line(str(error) or type(error).__name__, MAX_WORDS)
    return NotBelievedError(f"{what}: {why}", is_result_alone=is_result_alone)


def _read_provenance(folder: RunFolder) -> dict[str, Any]:
    """Read `provenance.json`; empty for a run that was never started, because it waits or was rejected."""
    if not folder.provenance.exists() and not folder.epochs.exists():
        return {}
    content = folder.provenance.read_bytes()
    msgspec.json.decode(content, type=_Origin)
    return msgspec.json.decode(content, type=dict[str, Any])


def read_runs(paths: Paths, run_ids: Iterable[str], measures: Measures | None = None) -> Evidence:
    """Read the folders of those runs that have one. A refused folder does not affect the others.

    Args:
        paths: where the folders lie.
        run_ids: the runs.
        measures: the metrics to read of those that are done; None reads none of them.
    """
    records: dict[str, RunRecord] = {}
    refused: dict[str, RunError] = {}
    for run_id in run_ids:
        folder = paths.run(run_id)
        try:
            # A folder without a configuration is no run.
            folder.config.stat()
            records[run_id] = read_run(run_id, folder, measures)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused[run_id] = _refuse(folder, error)
        except RunError as error:
            refused[run_id] = error
    return Evidence(records, refused)
