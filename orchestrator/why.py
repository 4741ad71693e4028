"""Why a run is, or is not, the one that the plan would train now: the parts of two identities, compared. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from model.config import COSMETIC
from orchestrator.campaign.plan import PlannedRun
from orchestrator.runs.identity import IDENTITY_FORMAT, CodeAndData
from orchestrator.runs.states import RunState
from orchestrator.task.knobs import leaves

NUM_HEX = 12
"""Of a hash, in a sentence."""


class PastRun(Struct, frozen=True, kw_only=True):
    """What a run folder says its numbers came from."""

    id: str
    config: dict[str, Any]
    """`config.json` as it was written, maybe by another version."""
    identity: str
    code_tree: str
    captures: dict[str, str]
    """Path of a capture file -> SHA-256 of its bytes."""
    commit: str | None
    state: str | None
    """How the run ended; None while it has no result."""


class Change(Struct, frozen=True, kw_only=True):
    """A value on both sides; a side that does not have it does not have the field."""

    before: Any | UnsetType = UNSET
    after: Any | UnsetType = UNSET


class Comparison(Struct, frozen=True, kw_only=True):
    """A run folder beside what the plan would train for the same experiment and seed."""

    run: str
    planned: str
    is_same: bool
    state: str | None
    seed: int
    campaign_seeds: tuple[int, ...]
    config: dict[str, Change]
    """Dotted knob -> its values."""
    data: dict[str, Change]
    """Capture -> hashes of its file."""
    code: Change | None
    """Hashes of `model/`, where they differ."""
    files: tuple[str, ...] | None
    """Files under `model/` that differ; None where nobody can say."""
    format: Change | None
    """Version of the configuration; or, without `before`, of the identity, since a run folder does not say its own."""

    def sentences(self) -> list[str]:
        """Say it to a person."""
        if self.is_same:
            return [f"{self.run}: the same: {self._use()}"]
        lines = [f"{self.run}: not what `knockout run` would train now, which is {self.planned}"]
        lines += [f"config: {knob}: {_show(change)}" for knob, change in self.config.items()]
        lines += [f"data: {capture}: {_show_hash(change)}" for capture, change in self.data.items()]
        if self.code is not None:
            lines += [f"code: model/ has another hash: {_show_hash(self.code)}", *self._file_lines()]
        if self.format is not None:
            how = "the identity is hashed in another way" if self.format.before is UNSET else _show(self.format)
            lines.append(f"format: {how}: it was written by another version of Knockout")
        if len(lines) == 1:
            lines.append(f"identity: the same, but the plan counts it as {self.planned}, whose configuration it shares")
        return lines

    def _use(self) -> str:
        seeds = "" if self.seed in self.campaign_seeds else f" --seeds {self.seed}-{self.seed}"
        if self.state is None:
            return f"`knockout run{seeds}` goes on with it, since it has no result yet"
        again = f", and `knockout run{seeds} --retry` trains it again" if self.state == RunState.FAILED else ""
        return f"`knockout run{seeds}` takes this result{again}"

    def _file_lines(self) -> list[str]:
        if self.files is None:
            return ["  its commit is not in this repository, so nobody can say which files differ"]
        return [f"  {file}" for file in self.files]


def compare(
    past: PastRun,
    planned: PlannedRun,
    inputs: CodeAndData,
    campaign_seeds: tuple[int, ...],
    files: tuple[str, ...] | None,
) -> Comparison:
    """Compare a run folder with the run that is planned in its place.

    Args:
        past: the run folder.
        planned: what the plan has for the same experiment and seed.
        inputs: code and captures as they are now.
        campaign_seeds: the seeds of the campaign file.
        files: files under `model/` that differ from the run's commit; None where it is not known.
    """
    new = msgspec.json.decode(msgspec.json.encode(planned.config))
    before, after = (_without_names(config) for config in (past.config, new))
    config = _changes(before, after)
    data = _changes(_hashes(past.config, past.captures), _hashes(new, inputs.captures))
    code = _changes({"code": past.code_tree}, {"code": inputs.code_tree}).get("code")
    written = config.pop("format", None)
    is_same = planned.id == past.id
    if written is None and past.identity != planned.identity and not (config or data or code):
        written = Change(after=IDENTITY_FORMAT)
    return Comparison(
        run=past.id,
        planned=planned.id,
        is_same=is_same,
        state=past.state,
        seed=planned.seed,
        campaign_seeds=campaign_seeds,
        config=config,
        data=data,
        code=code,
        files=files,
        format=written,
    )


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out the knobs that a number may depend on: not what names a run, nor where captures lie."""
    captures = {
        name: {key: value for key, value in capture.items() if key != "path"}
        for name, capture in config["data"]["captures"].items()
    }
    knobs = leaves({**config, "data": config["data"] | {"captures": captures}})
    return {knob: value for knob, value in knobs if knob not in (*COSMETIC, "seed")}


def _hashes(config: Mapping[str, Any], captures: Mapping[str, str]) -> dict[str, str | None]:
    return {name: captures.get(capture["path"]) for name, capture in config["data"]["captures"].items()}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    return {
        name: Change(before=before.get(name, UNSET), after=after.get(name, UNSET))
        for name in dict.fromkeys((*before, *after))
        if before.get(name, UNSET) != after.get(name, UNSET)
    }


def _show(change: Change) -> str:
    before, after = ("absent" if value is UNSET else json.dumps(value) for value in (change.before, change.after))
    return f"{before} -> {after}"


def _show_hash(change: Change) -> str:
    before, after = (str(value)[:NUM_HEX] if value else "absent" for value in (change.before, change.after))
    return f"{before} -> {after}"
