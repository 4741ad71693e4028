"""The study's parameters as a campaign writes them, and what is known of them before any file is opened. Pure.

No torch, h5py or numpy: a campaign asks this at every command.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from model.config import Config, DataConfig, JobConfig, Params, job_of
from model.config.problems import Path, find_problem, structs_of
from model.studies.radio.flags import to_flags

REFERENCE = "#/$defs/{name}"
MANIFEST = "shards/manifest.json"
SAVE_PATH = "saved_models/{experiment}.pth"
"""File of the best model in the command by hand; whoever shows the command puts the experiment's name in."""
EMULATED = (
    "Emulated bursts: `knockout data emulate` made the captures of this report. What holds for them need not hold for "
    "a real radio. Nothing here is a measurement of one."
)


class EmulateConfig(Config, frozen=True, kw_only=True):
    """How missing captures are made."""

    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    packets: Annotated[int, Meta(ge=1, le=10**6, description="bursts a transmitter at each location")] = 100
    samples: Annotated[int, Meta(ge=64, le=10**6, description="samples a burst")] = 8192


class CampaignData(DataConfig, frozen=True, kw_only=True):
    """The captures of a campaign, their roles, and how missing ones are emulated."""

    emulate: Annotated[EmulateConfig | None, Meta(description="makes captures that are missing")] = None


class CampaignParams(Params, frozen=True, kw_only=True):
    """The parameters of one configuration, as a campaign writes them."""

    data: CampaignData


class Problem(Struct, frozen=True, kw_only=True):
    """Why a configuration is refused, and the keys that lead to the value that is the reason."""

    message: str
    at: Path = ()


class Read(Struct, frozen=True, kw_only=True):
    """A file whose content is part of a run's identity, and the keys that lead to its path."""

    at: Path
    path: str


class Answer(Struct, frozen=True, kw_only=True):
    """What is known of one configuration; with a problem, only what was known before."""

    params: dict[str, Any] = {}
    """Complete: with the defaults, and without the fields that only `prepare` needs."""
    problem: Problem | None = None
    reads: tuple[Read, ...] = ()
    splits: dict[str, str] = {}
    """Scored capture -> `judged`, `shown`, `choose` or `validate`."""
    epochs: int | None = None
    needs: tuple[str, ...] = ()
    """`gpu` for half precision, `compiler` for a compiled network."""
    chance: float | None = None
    """The accuracy of guessing, from 0 to 1."""
    shuffled: bool = False
    """Whether the training labels are shuffled."""
    sessions: dict[str, tuple[tuple[int, int], ...]] = {}
    """Scored capture -> half-open ranges of each device's packets; each range is a session of a device."""
    notes: tuple[str, ...] = ()
    """Sentences for the report."""
    command: tuple[str, ...] | None = None
    """Trains it by hand; `{experiment}` and `{seed}` stand for the name and the seed."""
    facts: dict[str, int] = {}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the parameters, with the defaults of whole sections too."""
    # msgspec writes down plain defaults alone; those of whole sections are made by a function.
    _, definitions = msgspec.json.schema_components([CampaignParams], ref_template=REFERENCE)
    for struct in _all_structs(CampaignParams):
        for field in msgspec.structs.fields(struct):
            if field.default_factory is not msgspec.NODEFAULT:
                default = msgspec.to_builtins(field.default_factory())
                definitions[struct.__name__]["properties"][field.encode_name]["default"] = default
    return {**definitions.pop(CampaignParams.__name__), "$defs": definitions}


def _all_structs(root: type[Struct]) -> Iterator[type[Struct]]:
    yield root
    for field in msgspec.structs.fields(root):
        for struct in structs_of(field.type):
            yield from _all_structs(struct)


def parse(values: object) -> CampaignParams | Problem:
    """Return typed parameters, or why they are refused."""
    problem = find_problem(values, CampaignParams)
    if problem is not None:
        message, at = problem
        return Problem(message=message, at=at)
    return msgspec.convert(values, type=CampaignParams)


def answer(params: CampaignParams, manifest: DataConfig) -> Answer:
    """Return what is known of a configuration.

    Args:
        params: the configuration.
        manifest: the data whose shards the command by hand trains on.
    """
    complete: dict[str, Any] = msgspec.to_builtins(params)
    del complete["data"]["emulate"]
    data, runtime = params.data, params.runtime
    for name, capture in data.captures.items():
        # Ranges only label scores that are there. As parameters they would ask for new trainings.
        if capture.session_ranges:
            del complete["data"]["captures"][name]["sessions"]
    scored_once = _scored_once(params)
    needs = {"gpu": runtime.precision == "fp16", "compiler": runtime.compile is not False}
    return Answer(
        params=complete,
        # Also captures without a role: they are part of the configuration, so of a run's identity.
        reads=tuple(
            Read(at=("data", "captures", name, "path"), path=capture.path) for name, capture in data.captures.items()
        ),
        splits=_roles(data),
        sessions={name: ranges for name in data.scored if (ranges := data.captures[name].session_ranges)},
        epochs=params.optim.epochs,
        needs=tuple(name for name, is_needed in needs.items() if is_needed),
        chance=1.0 / num_classes(data),
        shuffled=data.shuffled_labels,
        notes=(EMULATED, scored_once) if data.emulate is not None else (scored_once,),
        command=_command(params, manifest),
    )


def _scored_once(params: CampaignParams) -> str:
    num_averaged = params.optim.average_last
    if num_averaged == 1:
        return "Each run was scored once, after its last epoch."
    if num_averaged:
        return f"Each run was scored once, with the mean of its weights after the last {num_averaged} epochs."
    validated = _listed(params.data.validate)
    return f"Each run was scored once, at the epoch of the lowest validation loss (on {validated})."


def plain_data(data: DataConfig) -> DataConfig:
    """Return the job's part of a campaign's data."""
    return DataConfig(**{name: getattr(data, name) for name in DataConfig.__struct_fields__})


def num_classes(data: DataConfig) -> int:
    """Return the number of transmitters that are told apart."""
    return len({device for name in data.train for device in range(*data.captures[name].devices)})


def _roles(data: DataConfig) -> dict[str, str]:
    first, *others = data.report
    return {
        first: "judged",
        **dict.fromkeys(others, "shown"),
        **dict.fromkeys(data.choose, "choose"),
        **dict.fromkeys(data.confirm, "confirm"),
        **dict.fromkeys(data.validate, "validate"),
    }


def _command(params: CampaignParams, manifest: DataConfig) -> tuple[str, ...]:
    flags = to_flags(by_hand_job(params), MANIFEST, SAVE_PATH, manifest)
    # One configuration is trained at many seeds, so the seed is left to whoever shows the command.
    flags[flags.index("--seed") + 1] = "{seed}"
    return ("python", "-m", "model.studies.radio.by_hand", *flags)


def by_hand_job(params: CampaignParams) -> JobConfig:
    """Return the job of a configuration that belongs to no run yet, at seed 0."""
    sections = {name: getattr(params, name) for name in Params.__struct_fields__}
    plain = Params(**{**sections, "data": plain_data(params.data)})
    return job_of(plain, experiment="by-hand", profile="by-hand", seed=0)


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def find_same_files(data: DataConfig, hashes: Mapping[str, str]) -> str | None:
    """Say which roles name the same bursts of equal files, such as copies; None if none do.

    Args:
        data: the captures and their roles.
        hashes: path of a capture -> hash of its file; a file without one counts by its path.
    """
    used = {name: data.captures[name] for name in data.used}
    # The configuration refuses roles that name one file twice. With hashes as paths it refuses copies of a file too.
    captures = {
        name: msgspec.structs.replace(capture, path=hashes.get(capture.path, capture.path))
        for name, capture in used.items()
    }
    try:
        msgspec.structs.replace(plain_data(data), captures=captures)
    except ValueError as error:
        paths = dict.fromkeys(capture.path for capture in used.values())
        found = [hashes.get(path, path) for path in paths]
        copies = [path for path, content in zip(paths, found, strict=True) if found.count(content) > 1]
        return f"{error}; these files have the same content: {', '.join(copies)}"
    return None
