"""Which bursts are trained, validated, chosen or reported on."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from os.path import normpath
from pathlib import Path
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from model.config.base import Config, require_finite

MAX_RANGE = 10_000_000
"""Most devices of a capture, and most rows of a device."""


_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def expand_path(path: str, variables: Mapping[str, str]) -> str:
    """Replace variables in a path, as in `${RTL433}` or `${RTL433:-data/file.h5}`; an unset variable stays as written.

    A variable may hold a secret. So its value is used only in the call that opens the file, and never in a message.
    """

    def value(found: re.Match[str]) -> str:
        default = found[0] if found["default"] is None else found["default"]
        return variables.get(found["name"]) or default

    return _VARIABLE.sub(value, path)


def variables_of(path: str) -> tuple[str, ...]:
    """Name the variables in a path."""
    return tuple(found["name"] for found in _VARIABLE.finditer(path))


def locate_capture(folder: Path, path: str) -> Path:
    """Return the path of a capture, with this process's values of variables."""
    return folder / expand_path(path, os.environ)


@dataclass(frozen=True)
class CapturePlace:
    """A capture's place: `str(place)` is the path as the campaign writes it, `Path(place)` is the file to open.

    Attributes:
        folder: the folder that the path is relative to.
        path: as the campaign writes it, with the names of variables.
    """

    folder: Path
    path: str

    def __str__(self) -> str:
        return str(self.folder / self.path)

    def __fspath__(self) -> str:
        return str(locate_capture(self.folder, self.path))


Place = Path | CapturePlace
"""A capture file: `str` gives the text for a message, `Path` the file to open."""


Ranges = Annotated[tuple[tuple[int, int], ...], Meta(min_length=1)]
"""Half-open ranges of each device's packets, in increasing order."""


class CaptureConfig(Config, frozen=True, kw_only=True):
    """A part of a capture file: half-open ranges over 0-based devices and over each device's rows."""

    path: Annotated[
        str, Meta(min_length=1, description="relative to the campaign file; ${VARIABLE} in it is looked up")
    ]
    devices: tuple[int, int]
    packets: tuple[int, int]
    # Unset instead of null: an undeclared session adds no parameter, so runs keep their identity.
    sessions: Annotated[
        Annotated[str, Meta(min_length=1)] | Ranges | UnsetType,
        Meta(description="recording sessions: ranges of each device's packets, or the data set with one a burst"),
    ] = UNSET

    def __post_init__(self) -> None:
        for name in ("devices", "packets"):
            start, stop = getattr(self, name)
            if not 0 <= start < stop:
                raise ValueError(f"{name} [{start}, {stop}] is empty; a range is [first, last + 1], counted from 0")
            if stop > MAX_RANGE:
                raise ValueError(f"{name} [{start}, {stop}] ends beyond {MAX_RANGE:,}, which no capture holds")

        if self.devices[1] - self.devices[0] > MAX_DEVICES:
            raise ValueError(f"devices [{self.devices[0]}, {self.devices[1]}] are more than {MAX_DEVICES}; name fewer")
        if self.session_ranges:
            _check_sessions(self.session_ranges, self.packets)

    @property
    def session_ranges(self) -> tuple[tuple[int, int], ...]:
        """The sessions that are declared as ranges of packets; empty if there are none."""
        return self.sessions if isinstance(self.sessions, tuple) else ()

    def overlaps(self, other: "CaptureConfig") -> bool:
        """Whether both name a common burst of one file."""
        ours, theirs = (normpath(expand_path(side.path, os.environ)) for side in (self, other))
        return ours == theirs and all(
            max(a[0], b[0]) < min(a[1], b[1]) for a, b in ((self.devices, other.devices), (self.packets, other.packets))
        )


def _check_sessions(ranges: tuple[tuple[int, int], ...], packets: tuple[int, int]) -> None:
    """Refuse sessions that are empty, overlap, or leave out a packet that is taken.

    Raises:
        ValueError: names the range or the packets, and what to write.
    """
    for start, stop in ranges:
        if not 0 <= start < stop:
            raise ValueError(f"sessions has the range [{start}, {stop}], which is empty; write [first, last + 1]")
    for before, after in pairwise(ranges):
        if after[0] < before[1]:
            raise ValueError(
                f"sessions [{before[0]}, {before[1]}] and [{after[0]}, {after[1]}] overlap or are out of order; "
                "a packet lies in one session, and ranges increase"
            )
    # The end of the last covered range so far: what lies between it and the next range has no session.
    covered = packets[0]
    for start, stop in ranges:
        if start > covered:
            break
        covered = max(covered, stop)
    if covered < packets[1]:
        end = min([packets[1], *(start for start, _ in ranges if start > covered)])
        raise ValueError(
            f"sessions leaves out packets [{covered}, {end}] of [{packets[0]}, {packets[1]}]; "
            "give every packet that is taken a session"
        )


HELD_OUT = (
    ("report", ("train", "validate", "choose")),
    ("validate", ("train",)),
    ("choose", ("train", "validate")),
    ("confirm", ("train", "validate", "choose", "report")),
)
"""Role -> the roles that must not share a burst with it."""
ONCE = ("train", "validate", "choose", "confirm")
"""Roles that must not name a burst twice."""
MAX_DEVICES = 100_000
"""Most devices of a capture: each is a class."""

Captures = Annotated[tuple[str, ...], Meta(min_length=1)]


class DataConfig(Config, frozen=True, kw_only=True):
    """The bursts of each role. Reported bursts are never trained, validated or chosen on."""

    layout: Annotated[
        Literal["rffi-hdf5", "shards"],
        Meta(description="HDF5 as in the RFFI data sets, or shards made by `knockout data shard`"),
    ] = "rffi-hdf5"
    captures: dict[str, CaptureConfig]
    train: Captures
    validate: Captures
    choose: Annotated[tuple[str, ...], Meta(description="scored for searches")] = ()
    report: Annotated[tuple[str, ...], Meta(min_length=1, description="scored once a run; the first one is judged")]
    confirm: Annotated[
        tuple[str, ...], Meta(max_length=1, description="scored once a run, read by confirmations on fresh seeds alone")
    ] = ()
    samples: Annotated[int, Meta(ge=1, description="leading samples of each burst that are used")] = 8192
    sample_rate_hz: Annotated[float, Meta(gt=0, description="used where the file does not state its own")] = 1e6
    shuffled_labels: Annotated[
        bool, Meta(description="control: training labels are shuffled, so scores must fall to chance")
    ] = False

    def __post_init__(self) -> None:
        require_finite(self)
        for role in ("train", "validate", "choose", "report", "confirm"):
            for name in getattr(self, role):
                if name not in self.captures:
                    raise ValueError(f"`{role}` names the capture `{name}`; there are {', '.join(self.captures)}")
        if self.layout == "shards":
            self._require_ranges()
        self._require_each_once()
        self._require_held_out()

    def _require_ranges(self) -> None:
        for name, capture in self.captures.items():
            if isinstance(capture.sessions, str):
                raise ValueError(
                    f"`sessions: {capture.sessions}` of `{name}` names a data set, and shards have none; "
                    "write ranges of packets, or use layout rffi-hdf5"
                )

    def _require_each_once(self) -> None:
        for role in ONCE:
            # Two names may cut one file into ranges that overlap, so the names alone prove nothing.
            for first, second in combinations(getattr(self, role), 2):
                if self.captures[first].overlaps(self.captures[second]):
                    raise ValueError(f"`{role}` names bursts twice: `{first}` and `{second}` share some")

    def _require_held_out(self) -> None:
        for held_out, others in HELD_OUT:
            for role in others:
                for name in getattr(self, held_out):
                    for other in getattr(self, role):
                        if self.captures[name].overlaps(self.captures[other]):
                            raise ValueError(
                                f"`{held_out}: {name}` and `{role}: {other}` share bursts; "
                                f"what is used to {held_out} must be unseen"
                            )

    @property
    def scored(self) -> tuple[str, ...]:
        """The captures scored at the end of a run."""
        return tuple(dict.fromkeys((*self.validate, *self.choose, *self.report, *self.confirm)))

    @property
    def used(self) -> tuple[str, ...]:
        """The captures that any role names."""
        return tuple(dict.fromkeys((*self.train, *self.scored)))
