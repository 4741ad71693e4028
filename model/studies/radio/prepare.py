"""Make the captures that a campaign emulates and that are missing. No torch."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from model.config import CapturePlace, variables_of
from model.studies.radio.data import Emulation, NotWrittenError, make_captures
from model.studies.radio.params import CampaignData, EmulateConfig


class NotPreparedError(Exception):
    """Captures are missing and cannot be made; the text is a sentence."""


def prepare(configs: Sequence[CampaignData], root: Path, tell: Callable[[str], object]) -> None:
    """Make missing captures, and tell a line for each.

    Args:
        configs: the captures of each configuration, and how they are emulated.
        root: paths of captures are relative to it.
        tell: takes the lines.

    Raises:
        NotPreparedError: captures are missing and the campaign does not say how to emulate them, or cannot be written.
    """
    for data in configs:
        missing = missing_captures(data, root)
        if missing and data.emulate is None:
            raise NotPreparedError(explain_missing(missing[0]))
        # A variable may hold a secret, so messages name the folder as the campaign writes it.
        # Opened folder -> the folder as the campaign writes it, without the values of variables.
        written = {Path(place).parent: Path(str(place)).parent for place in missing}
        for folder in sorted(written):
            _emulate(folder, data.emulate or EmulateConfig(), written[folder], tell)


def missing_captures(data: CampaignData, root: Path) -> list[CapturePlace]:
    """Return the captures that do not exist.

    A dangling link, a folder, or a file that cannot be looked at does not count as missing: something is in its place.
    """
    paths = dict.fromkeys(capture.path for capture in data.captures.values())
    return [place for place in (CapturePlace(root, path) for path in paths) if _is_free(Path(place))]


def _is_free(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        # It may exist; the error of reading it says why it cannot be read.
        return False
    return False


def _emulate(folder: Path, emulate: EmulateConfig, written: Path, tell: Callable[[str], object]) -> None:
    emulation = Emulation(seed=emulate.seed, num_packets=emulate.packets, num_samples=emulate.samples)
    try:
        make_captures(folder, emulation, keep=True, tell=lambda line: tell(line.replace(str(folder), str(written))))
    except NotWrittenError as error:
        raise NotPreparedError(str(error).replace(str(folder), str(written))) from None


def explain_missing(place: CapturePlace) -> str:
    """Say what to do about a capture that does not exist."""
    names = variables_of(place.path)
    unset = [name for name in names if not os.environ.get(name)]
    if unset:
        name = unset[0]
        return (
            f"where its captures are is for the variable {name} to say, and it is not set; run again with {name}=PATH"
        )
    if names:
        return f"its capture {place} is not there; correct the variable {names[0]}, or `path` under `data.captures`"
    return f"its capture {place} is not there; correct `path` under `data.captures`"
