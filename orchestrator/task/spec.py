"""What a campaign file says of its task: how one training is started, what it reads and what it writes. Frozen, closed.

`parse_task` takes the plain values of the file. Everything unknown is refused with its path. Pure.
"""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, structs

from orchestrator.closed import Config
from orchestrator.errors import SpecError
from orchestrator.task.spelling import FORMS, Flags, Form, Spelling, StyleName, TemplateStyle
from orchestrator.task.typed import Where, convert, kind_of, mapping, section
from orchestrator.wording import did_you_mean

N = TypeVar("N", bound=str)
Word = Annotated[str, Meta(min_length=1)]
Command = Annotated[tuple[str, ...], Meta(min_length=1)]
SignalName = Literal["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"]
GRACE_SECONDS = 30.0
"""Seconds between the request to stop and the end of all processes: torchrun allows its workers as many."""


PROGRESS_FILES = ("csv", "jsonl", "tensorboard", "trainer_state")
"""The sources of progress that are files or folders."""


class DataSpec(Config, frozen=True, kw_only=True):
    """A file, folder or glob that a run reads; a relative path is linked into the run's checkout."""

    path: Word
    fingerprint: Annotated[
        Literal["content", "names"], Meta(description="names: only names and sizes of files are compared")
    ] = "content"


class ResampledSpec(Config, frozen=True, kw_only=True):
    """Says that the test split is drawn anew with each seed."""

    test_share: Annotated[float, Meta(gt=0, lt=1, description="share of the data that is tested on")]


class ItemsSpec(Config, frozen=True, kw_only=True):
    """A table with one row for each item of a split."""

    file: Annotated[str, Meta(min_length=1, description="`.csv`, `.tsv`, `.jsonl`, `.npz` or `.parquet`")]
    key: Annotated[Word | Command, Meta(description="the column or columns that name an item")]
    cluster: Annotated[str, Meta(description="column of the sampled group, e.g. patient")] = ""
    stratum: Annotated[str, Meta(description="column of the fixed group, e.g. device")] = ""
    resampled: ResampledSpec | None = None
    reader: Annotated[
        Literal["table", "predictions"],
        Meta(description="predictions: key, device, label and logits, as the built-in studies write them"),
    ] = "table"
    sessions: Annotated[
        tuple[tuple[int, int], ...],
        Meta(description="reader predictions: half-open ranges of a device's bursts; each is a cluster"),
    ] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that name an item together."""
        return (self.key,) if isinstance(self.key, str) else self.key


class ProgressSpec(Config, frozen=True, kw_only=True):
    """Where the rows of progress come from: exactly one of the first five."""

    stdout: Annotated[
        str | tuple[str, ...],
        Meta(description="one or more patterns: literal text with numbers (`loss {loss}`), `regex:...`, `preset:NAME`"),
    ] = ()
    csv: str = ""
    jsonl: str = ""
    tensorboard: str = ""
    trainer_state: str = ""
    step: Annotated[str, Meta(description="the column that counts steps")] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        sources = ("stdout", *PROGRESS_FILES)
        given = [name for name in sources if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"progress has one source ({', '.join(sources)}), found {' and '.join(given) or 'none'}")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of log lines; empty for other sources."""
        return (self.stdout,) if isinstance(self.stdout, str) else self.stdout


class DevicesSpec(Config, frozen=True, kw_only=True):
    """What one run occupies; None takes what a worker's slot has."""

    gpus: Annotated[int, Meta(ge=0)] | None = None
    cpus: Annotated[int, Meta(ge=1)] | None = None


class ResumeSpec(Config, frozen=True, kw_only=True):
    """How a stopped run goes on. Without it, a stopped run starts over."""

    when: Annotated[str, Meta(min_length=1, description="path or glob of the checkpoint; the newest match counts")]
    arguments: Annotated[tuple[str, ...], Meta(description="what `{resume}` stands for, if a checkpoint is there")] = ()
    signal: Annotated[SignalName, Meta(description="asks the command to save and end")] = "SIGTERM"
    grace_seconds: Annotated[float, Meta(ge=0)] = GRACE_SECONDS
    exact: Annotated[
        bool,
        Meta(description="false: a resumed run ends with other numbers, as `check --resume` measured; it is marked"),
    ] = True


class EnvSpec(Config, frozen=True, kw_only=True):
    """The environment of a command, beside that of its worker."""

    values: dict[str, str] = {}
    keep: Annotated[tuple[str, ...], Meta(description="patterns of variables that are else hidden: SLURM_*")] = ()


class LabelsSpec(Config, frozen=True, kw_only=True):
    """What a report calls the parts of a task's evidence."""

    item: str = "item"
    stratum: str = "stratum"
    cluster: str = "cluster"
    split: str = "split"


class TaskSpec(Config, frozen=True, kw_only=True):
    """One kind of training. The fields are the keys of the section `task`."""

    command: Annotated[Command, Meta(description="an argument list with templates; never a shell")]
    code: Annotated[tuple[Word, ...], Meta(min_length=1, description="git pathspecs of what a run executes")]
    style: Annotated[StyleName | TemplateStyle, Meta(description="how `{params}` spells parameters")] = "argparse"
    forms: Annotated[dict[str, Form], Meta(description="parameter -> how its boolean or its list is spelled")] = {}
    reads: Annotated[
        tuple[Literal["seed", "params"], ...],
        Meta(description="what the script takes by itself, by `import knockout` or $KNOCKOUT_SEED"),
    ] = ()
    data: dict[str, DataSpec] = {}
    outputs: Annotated[
        tuple[Word, ...], Meta(description="what it writes in its checkout; kept in the run folder")
    ] = ()
    progress: ProgressSpec | None = None
    epoch: Annotated[str, Meta(description="the column of progress that counts epochs")] = ""
    items: Annotated[dict[str, ItemsSpec], Meta(description="split -> its table")] = {}
    env: EnvSpec = EnvSpec()
    files: Annotated[
        dict[str, Literal["merge", "write"]],
        Meta(description="file of the checkout that gets the parameters -> whether its other keys stay"),
    ] = {}
    devices: DevicesSpec = DevicesSpec()
    resume: ResumeSpec | None = None
    preload: Annotated[tuple[Word, ...], Meta(description="modules that runs find imported")] = ()
    cosmetic: Annotated[tuple[Word, ...], Meta(description="parameters that change no number")] = ()
    shares_checkout: Annotated[
        bool, Meta(description="runs of one code may share a checkout: they write nothing there")
    ] = False
    schema: Annotated[
        str | Command | dict[str, Any] | None,
        Meta(description="ranges of parameters: a JSON Schema file, a command that prints one, or written here"),
    ] = None
    check: Annotated[Command | None, Meta(description="a command that resolves and checks configurations")] = None
    prepare: Annotated[Command | None, Meta(description="a command that makes data that are missing")] = None
    supervised: Annotated[
        bool, Meta(description="false: the command itself holds job.lock and writes epochs.jsonl and result.json")
    ] = True
    standby: Annotated[Command | None, Meta(description="a command that forks such jobs on request")] = None
    probe: Annotated[
        Command | None, Meta(description="a command that times a run in turns with its reference, as `model.probe`")
    ] = None
    controls: Annotated[
        dict[str, dict[str, Any]], Meta(description="control, such as shuffled_labels -> the change that makes it")
    ] = {}
    labels: LabelsSpec = LabelsSpec()

    @property
    def progress_name(self) -> str:
        """What one row of progress is called: an epoch where the task calls it so, else a step."""
        if not self.supervised or self.epoch:
            return "epoch"
        spec = self.progress or ProgressSpec(stdout="-")
        counts_epochs = spec.step == "epoch" or any("{epoch}" in pattern for pattern in spec.patterns)
        return "epoch" if counts_epochs else "step"

    @property
    def spelling(self) -> Spelling:
        """How parameters become arguments."""
        return Spelling(self.style, self.forms)


COMMANDS = ("command", "schema", "check", "prepare", "standby", "probe")
FROM = "from"
"""The key that names a file with the rest of the section."""
_WHOLE = (FROM, "style", "schema", "progress")
"""Sections of which one form excludes another, so that one replaces the other as a whole."""


def parse_task(values: object, where: Where = ("task",)) -> TaskSpec:
    """Check the types of the section `task`; `check_task` then checks what it says.

    Args:
        values: the section as plain values; a task that is written elsewhere lies below it already.
        where: path of the section in the campaign file.

    Raises:
        SpecError: a key is unknown, missing or of another type; `where` is its path.
    """
    found = section(values, TaskSpec.__struct_fields__, where)
    for name in COMMANDS:
        if name in found:
            _refuse_no_list(name, found[name], (*where, name))
    # msgspec names no key of a mapping in its messages, so each entry is converted by itself.
    data = _named(found.pop("data", {}), _data, (*where, "data"))
    items = _named(found.pop("items", {}), lambda one, place: convert(one, ItemsSpec, place), (*where, "items"))
    forms = _named(found.pop("forms", {}), _form, (*where, "forms"))
    files = _named(found.pop("files", {}), _file, (*where, "files"))
    env = _env(found.pop("env", {}), (*where, "env"))
    task = convert(found, TaskSpec, where)
    return structs.replace(task, data=data, items=items, forms=forms, files=files, env=env)


def _refuse_no_list(name: str, value: object, where: Where) -> None:
    if isinstance(value, str) and name != "schema":
        words = ", ".join(f'"{word}"' if set(word) & set("{},[]:#&*'\"= ") else word for word in _words(value))
        raise SpecError(f"a command is a list of words, and no shell ever reads it; write [{words}]", where)
    for index, word in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(word, str):
            raise SpecError(
                f'each word of a command is a text, found {kind_of(word)}; write "{word}" with quotes',
                (*where, f"[{index}]"),
            )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        # A quote without its partner.
        return command.split()


def _named(values: object, parse: Any, where: Where) -> dict[str, Any]:
    return {name: parse(one, (*where, name)) for name, one in mapping(values, where).items()}


def _data(value: object, where: Where) -> DataSpec:
    return convert({"path": value} if isinstance(value, str) else value, DataSpec, where)


def _form(value: object, where: Where) -> Form:
    return convert(value, Flags, where) if isinstance(value, Mapping) else _one_of(value, FORMS, where)


def _file(value: object, where: Where) -> Literal["merge", "write"]:
    return _one_of(value, ("merge", "write"), where)


def _one_of(value: object, names: tuple[N, ...], where: Where) -> N:
    if value not in names:
        raise SpecError(f"there is no `{value}` here{did_you_mean(str(value), map(str, names))}", where)
    return names[names.index(value)]


def _env(values: object, where: Where) -> EnvSpec:
    found = mapping(values, where)
    # `keep` is no variable: it stands beside them, as a list.
    keep = found.pop("keep", [])
    texts = {name: _env_text(value, (*where, name)) for name, value in found.items()}
    return convert({"values": texts, "keep": keep}, EnvSpec, where)


def _env_text(value: object, where: Where) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SpecError(f"a variable is a text or a number, found {kind_of(value)}; write the text in quotes", where)
    return str(value)


def written_elsewhere(values: object, where: Where = ("task",)) -> str | None:
    """Return the path of the file that `from` names; None where the section is written in place.

    Raises:
        SpecError: the section, or its `from`, is of another type.
    """
    path = mapping(values, where).get(FROM)
    if path is not None and (not isinstance(path, str) or not path):
        raise SpecError(f"`from` is the path of a file with the task, found {kind_of(path)}", (*where, FROM))
    return path


def lay_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a campaign's own keys on top of a task that is written elsewhere.

    Sections are merged key by key; everything else of the base, also a list, is replaced.

    Args:
        base: plain values of the file that `from` names.
        own: plain values of the campaign file; its `from` is left out.
    """
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        # Two sources in one section would exclude each other.
        if isinstance(below, Mapping) and isinstance(value, Mapping) and key not in _WHOLE:
            merged[key] = lay_over(below, value)
        elif key != FROM or not isinstance(value, str):
            merged[key] = value
    return merged
