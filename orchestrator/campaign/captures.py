"""The files of a campaign: which are missing, how they are made, and whether its task can train on them here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.campaign.arms import Arm
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.selection import Selection, read_paths
from orchestrator.errors import DataError
from orchestrator.runs.fingerprints import Place, fingerprint_files, is_there
from orchestrator.task.ask import check_configs, prepare_data


def missing_captures(selection: Selection) -> list[Path]:
    """Return the files that do not exist, as the campaign writes their paths: those of parameters and of `task.data`.

    A dangling link, a folder, or a file that cannot be looked at does not count as missing: something is in its place.
    """
    data = (spec.path for spec in selection.campaign.task.data.values())
    places = (Place(selection.paths.root, path) for path in dict.fromkeys((*read_paths(selection), *data)))
    return [Path(str(place)) for place in places if not is_there(place)]


def make_captures(selection: Selection) -> str:
    """Have the task make the files that are missing; return a line for each, or an empty text.

    Raises:
        DataError: files are missing, and the task does not make them.
    """
    missing = missing_captures(selection)
    if not missing:
        return ""
    campaign = selection.campaign
    if campaign.task.prepare is None:
        raise DataError(f"{missing[0]}: this file is not there; correct its path in the campaign file")
    try:
        return prepare_data(campaign.task, selection.paths.root, [selection.configs.baseline])
    except DataError as error:
        raise DataError(f"profile `{campaign.profile}` is skipped: {error}") from None


def refuse_same_files(selection: Selection, hashes: Mapping[str, str]) -> None:
    """Refuse configurations that use equal files, such as copies, for what must be apart. Only hashes are compared.

    Args:
        selection: the campaign.
        hashes: path of a file -> SHA-256 of its bytes.

    Raises:
        DataError: the task refuses a configuration.
    """
    if selection.campaign.task.check is None:
        return
    # Most experiments have the data of the baseline. Each configuration is asked about once.
    params = _each_once([selection.every_arm[BASELINE], *selection.arms.values()])
    for answer in check_configs(selection.campaign.task, selection.paths.root, params, hashes=hashes):
        if answer.problem is not None:
            raise DataError(answer.problem.message)


def refuse_untrainable(selection: Selection, arms: Sequence[Arm]) -> None:
    """Ask the task about configurations before a run is queued: their files are opened, and copies are looked for.

    Raises:
        DataError: a configuration cannot be trained on this machine or on these files.
    """
    task, paths = selection.campaign.task, selection.paths
    if task.check is None:
        return
    # An arm with a patch or a ref runs other code than this checkout's, which cannot answer for it.
    asked = [arm for arm in arms if not arm.code] or [selection.every_arm[BASELINE]]
    files = dict.fromkeys(read.path for arm in asked for read in arm.reads)
    hashes = fingerprint_files(files, paths.root, paths.fingerprints)
    params = [arm.params for arm in asked]
    answers = check_configs(task, paths.root, params, deep=True, hashes=hashes, remembered=paths.bursts)
    for arm, answer in zip(asked, answers, strict=True):
        if answer.problem is not None:
            raise DataError(f"{arm.id}: {answer.problem.message}")


def _each_once(arms: Sequence[Arm]) -> list[dict[str, object]]:
    """Return the parameters of arms, each once."""
    found: list[dict[str, object]] = []
    for arm in arms:
        if arm.params not in found:
            found.append(arm.params)
    return found
