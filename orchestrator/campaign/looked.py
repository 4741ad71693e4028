"""Notes on which runs verdicts were shown, so that looking again at more seeds does not pass unnoticed.

The results folder has one file, with a line each time a verdict is shown on other runs than before. The file only tells
what somebody saw: without it, nothing was seen, and no verdict is another one.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from orchestrator.campaign.spec import Campaign
from orchestrator.files import UNREADABLE, read_plain
from orchestrator.runs.paths import Paths


class Showing(Struct, frozen=True, kw_only=True):
    """The runs on which verdicts were shown at one time."""

    campaign: str
    profile: str
    runs: dict[str, tuple[str, ...]]
    """Experiment -> its runs that its verdict rested on, one a seed."""


def numbers_of_seeds(showings: Sequence[Showing], experiment: str, runs: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of seeds at which an experiment's verdict was shown, these runs included, rising. Pure.

    A verdict on none of these runs was of another configuration, of other code or of fresh seeds. It does not count.
    """
    seen = (showing.runs.get(experiment, ()) for showing in showings)
    return tuple(sorted({len(runs), *(len(before) for before in seen if set(before) & set(runs))}))


def find_unseen(showings: Sequence[Showing], runs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Keep the experiments whose verdict was never shown on exactly these runs. Pure."""
    seen = {(name, frozenset(before)) for showing in showings for name, before in showing.runs.items()}
    return {name: tuple(own) for name, own in runs.items() if (name, frozenset(own)) not in seen}


def look_again(paths: Paths, campaign: Campaign, runs: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Note that verdicts are shown on these runs, and return each one's numbers of seeds so far, rising.

    A file that cannot be read or written is no error: what it would add is a caution.

    Args:
        paths: of the campaign.
        campaign: of the verdicts, at its profile.
        runs: experiment -> the runs that its verdict rests on, one a seed.
    """
    showings = [one for one in _read(paths) if (one.campaign, one.profile) == (campaign.name, campaign.profile)]
    if unseen := find_unseen(showings, runs):
        _append(paths, Showing(campaign=campaign.name, profile=campaign.profile, runs=unseen))
    return {name: numbers_of_seeds(showings, name, own) for name, own in runs.items()}


def _read(paths: Paths) -> Iterator[Showing]:
    try:
        lines = read_plain(paths.looks).splitlines()
    except UNREADABLE:
        return
    for line in lines:
        # A line that a crash has cut must not hide the others.
        with contextlib.suppress(*UNREADABLE):
            yield msgspec.json.decode(line, type=Showing)


def _append(paths: Paths, showing: Showing) -> None:
    # One write at the end of the file: the lines of two commands at once never mix. A pipe is not waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        paths.looks.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(paths.looks, flags, 0o666)
        try:
            os.write(descriptor, msgspec.json.encode(showing) + b"\n")
        finally:
            os.close(descriptor)
