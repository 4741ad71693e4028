"""`knockout why RUN --accept`: the user accepts a result of older code for the run of the code of now."""

import getpass
import os
import platform
import shutil
from typing import Any

import msgspec

from orchestrator.api.why import Comparison, Match, match
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.errors import RunError, UsageError
from orchestrator.files import write_atomically, write_json
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import read_run
from orchestrator.runs.results import describe_holder, read_result
from orchestrator.runs.states import RunState


def accept(request: Request, word: str) -> list[str]:
    """Give the run that would be trained now the result of an older run that differs in its code alone.

    The copy names who accepted it, and the report names that user too.

    Args:
        request: the campaign file. Its profile, if it names one, takes the place of the run's own.
        word: the older run's id, or the beginning of it.

    Raises:
        UsageError: more than the code differs, there is no result to take, or the planned run has one.
        RunError: a file of the result is missing, contradicts another, or cannot be written.
        KnockoutError: as `why`.
    """
    selection = open_campaign(request.widened)
    paths = selection.paths
    found = match(selection, request, word)
    refuse_unless_code_alone(found.comparison)
    _require_believed(paths, found.past.id)
    if found.refusal is not None:
        raise UsageError(f"{found.planned.id} would be rejected, so no result can stand for it: {found.refusal}")
    target = paths.run(found.planned.id)
    if read_result(target) is not None or describe_holder(target) is not None:
        raise UsageError(f"{target.path} has its own result, or a job at work on it; there is nothing to accept")
    try:
        _copy(paths.run(found.past.id), target, found)
    except OSError as error:
        raise RunError(f"{found.past.id}: its result cannot be taken: {error}") from None
    return [
        f"{found.planned.id} takes the result of {found.past.id}; the report says that {_user_name()} accepted it",
        "`knockout report` judges with it",
    ]


def refuse_unless_code_alone(comparison: Comparison) -> None:
    """Refuse a result that a user cannot accept. Pure.

    Raises:
        UsageError: the run is the same already, is not done, or differs in more than its code.
    """
    if comparison.is_same:
        raise UsageError(f"{comparison.run} is what would be trained now, so its result is taken as it is")
    if comparison.state != RunState.DONE:
        raise UsageError(f"{comparison.run} is not done, so it has no result to accept")
    if comparison.config or comparison.data or comparison.format or comparison.code is None:
        raise UsageError(
            f"{comparison.run} differs in more than its code, see `knockout why {comparison.run}`; "
            "only a change of code can be accepted"
        )


def _require_believed(paths: Paths, run_id: str) -> None:
    """Refuse a result that contradicts itself.

    Raises:
        RunError: it does.
    """
    try:
        read_run(run_id, paths.run(run_id))
    except RunError as error:
        raise RunError(f"{run_id}: its result cannot be taken: {error}") from None


def _copy(source: RunFolder, target: RunFolder, found: Match) -> None:
    target.path.mkdir(parents=True, exist_ok=True)
    for before, after in ((source.epochs, target.epochs), (source.predictions, target.predictions)):
        shutil.copyfile(before, after)
    origin = msgspec.json.decode(source.provenance.read_bytes(), type=dict[str, Any])
    accepted = {
        "run": found.past.id,
        "code_tree": found.code_tree,
        "by": _user_name(),
        "files": found.comparison.files or (),
    }
    # The copy counts as the planned run, and keeps the hash of the code that trained it.
    # So the report can say that the code is older.
    origin |= {"run": found.planned.id, "identity": found.planned.identity, "accepted": accepted}
    for path, value in ((target.provenance, origin), (target.config, found.planned.config)):
        write_json(path, value)
    # Written last: the existence of result.json means that the run is finished.
    write_atomically(target.result, source.result.read_bytes())


def _user_name() -> str:
    try:
        name = getpass.getuser()
    except KeyError:
        # The user of a container may have no name.
        name = f"user {os.getuid()}"
    return f"{name} on {platform.node()}"
