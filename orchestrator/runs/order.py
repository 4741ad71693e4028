"""`order.json`: everything that is needed to start a run later, after the campaign file and the code have changed."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from orchestrator.closed import Config, Positive
from orchestrator.errors import RunError
from orchestrator.files import UNREADABLE, read_plain, write_json
from orchestrator.runs.folder import RunConfig, RunFolder, old_format
from orchestrator.runs.identity import CodeAndData
from orchestrator.task.spec import TaskSpec

ORDER_FORMAT = 2
AGAIN = "queue the run again with `knockout queue add`"
DEFAULT_CODE = ("model",)
"""Git pathspecs of the code of the built-in studies."""


class OrderedCode(Struct, frozen=True, kw_only=True):
    """The code with which a run was queued."""

    tree: str
    """Hash of the task's code."""
    pathspecs: tuple[str, ...] = DEFAULT_CODE
    """Which files are the task's code; relative to the campaign's folder."""
    commit: str | None = None
    """None outside a repository: then `tree` names a copy."""
    branch: str | None = None
    base_commit: str | None = None
    changes: tuple[str, ...] = ()
    """Files that the patches and refs of its stack change, as `model/x.py (+3 -1)`."""
    differs_beyond: tuple[str, ...] = ()
    """Files that differ because a ref forked from an older reference."""
    is_own: bool = False
    """Whether it differs from the code in the campaign's folder; then it is checked before it runs."""


class GuardSpec(Config, frozen=True, kw_only=True):
    """When a training is stopped before its end."""

    epoch_seconds: Annotated[float | None, Meta(description="stop as too_slow above this many seconds an epoch")] = None
    relative_to_reference: Annotated[
        float | None, Meta(description="stop as too_slow above this many times the reference, timed in turn with it")
    ] = None
    warmup_epochs: Annotated[int, Meta(ge=0, description="first epochs that count for no limit of time")] = 1
    slow_epochs: Annotated[int, Meta(ge=1, description="epochs in a row that must be slow")] = 2
    smoke_epoch_seconds: Annotated[
        Positive | None, Meta(description="stop as too_slow if the smoke phase took more seconds an epoch")
    ] = None
    smoke_epochs: Annotated[int, Meta(ge=1, description="first epochs that are the smoke phase")] = 3
    wall_seconds: Annotated[
        Positive | None, Meta(description="stop as too_slow once the epochs after warm-up took more seconds together")
    ] = None
    divergence_factor: Annotated[
        Annotated[float, Meta(gt=1)] | None,
        Meta(description="stop as diverged above this many times the lowest training loss so far"),
    ] = None
    divergence_epochs: Annotated[int, Meta(ge=1, description="epochs in a row that must have diverged")] = 3
    memory_bytes: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="stop as out_of_memory once a job has held more bytes")
    ] = None
    run_seconds: Annotated[
        Positive | None, Meta(description="stop as too_slow once the whole run has taken more seconds by the clock")
    ] = None
    rerun: Annotated[
        Literal["resumed"] | None,
        Meta(description="`resumed`: a stopped run starts over where `task.resume` says `exact: false`"),
    ] = None
    watch: Annotated[
        str, Meta(description="the number that must stay finite and not diverge; `train_loss` or `loss` if not said")
    ] = ""
    hang_seconds: Annotated[
        Positive | None,
        Meta(description="stop as hung after so many seconds without an epoch or a line in the log; null: never"),
    ] = 3600.0
    hang_grace_seconds: Annotated[
        float, Meta(ge=0, description="seconds a hung job has to end by itself once asked, before it is killed")
    ] = 30.0

    @property
    def clock_limits(self) -> tuple[str, ...]:
        """Names of the limits by the clock that are on. Only the run's own seconds decide, not a comparison."""
        names = ("epoch_seconds", "smoke_epoch_seconds", "wall_seconds", "run_seconds")
        return tuple(name for name in names if getattr(self, name) is not None)

    def why_alone(self) -> str | None:
        """Say why a run with these guards must have a GPU to itself; None if it may share one."""
        if not self.clock_limits:
            return None
        names = " and ".join(f"`{name}`" for name in self.clock_limits)
        limits = f"{names} {'are limits' if len(self.clock_limits) > 1 else 'is a limit'} by the clock"
        return f"jobs on one GPU slow each other, and {limits}, so a run would be stopped for its neighbour"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoke_epoch_seconds is not None and self.smoke_epochs <= self.warmup_epochs:
            raise ValueError(
                f"smoke_epochs {self.smoke_epochs} leaves nothing to measure after {self.warmup_epochs} of warm-up "
                "(warmup_epochs); give the smoke phase more epochs"
            )


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run as it was queued, beside its `config.json`."""

    format: int = ORDER_FORMAT
    run: str
    identity: str
    queued: str
    """Time in UTC; runs queued earlier come first."""
    code: OrderedCode
    files: dict[str, str]
    """Path of a file that its parameters name, as the campaign writes it -> SHA-256 of its bytes."""
    data: dict[str, str] = {}
    """Name of the task's data -> fingerprint."""
    guards: GuardSpec
    references: tuple[str, ...] = ()
    """Runs against which this one is timed; the first with enough epochs counts."""
    task: TaskSpec
    root: str = ""
    """Folder of the campaign file. A worker fills it in, since a shared folder has another path on each machine."""
    num_epochs: int | None = None
    """Epochs that the training has at most; None where nobody knows."""
    needs: tuple[str, ...] = ()
    """What it needs of a machine: some of `gpu` and `compiler`."""

    @property
    def inputs(self) -> CodeAndData:
        """The code and the data that the run was queued with."""
        return CodeAndData(code_tree=self.code.tree, files=self.files, data=self.data)


class _Versioned(Struct, frozen=True):
    format: int = 1


class Terms(Struct, frozen=True, kw_only=True):
    """What several runs are to be trained with."""

    code: OrderedCode
    files: dict[str, str]
    """Path of a file that the parameters name -> SHA-256 of its bytes."""
    data: dict[str, str] = {}
    """Name of the task's data -> fingerprint."""
    guards: GuardSpec
    references: tuple[str, ...] = ()
    """Runs whose epochs measure how fast these may be expected to be."""
    task: TaskSpec
    root: str = ""
    """Folder of the campaign file. A worker fills it in, since a shared folder has another path on each machine."""
    num_epochs: int | None = None
    """Epochs that the training has at most; None where nobody knows."""
    needs: tuple[str, ...] = ()
    """What it needs of a machine: some of `gpu` and `compiler`."""

    def order(self, run: str, identity: str, queued: str) -> Order:
        """Return the order of one run; `queued` is its place in the queue."""
        return Order(run=run, identity=identity, queued=queued, **structs.asdict(self))


def queue_place(now: datetime, number: int) -> str:
    """Return a run's place in the queue as text that sorts: the time in UTC, then its number among those of that time.

    Args:
        now: when it is queued, with a time zone.
        number: its place among the runs that are queued together, from 0.
    """
    # UTC and six digits: local time jumps back in autumn, and as text 10 would come before 9.
    return f"{now.astimezone(UTC).isoformat(timespec='microseconds')}/{number:06d}"


def write_order(folder: RunFolder, order: Order) -> None:
    """Write `order.json`."""
    write_json(folder.order, order)


def read_order(folder: RunFolder) -> Order:
    """Read `order.json`.

    Raises:
        RunError: it is missing or broken, or another version wrote it.
    """
    try:
        content = read_plain(folder.order)
        version = msgspec.json.decode(content, type=_Versioned).format
        if version != ORDER_FORMAT:
            raise RunError(f"{folder.order}: this is format {version}, wanted is {ORDER_FORMAT}; {old_format(folder)}")
        return msgspec.json.decode(content, type=Order)
    except FileNotFoundError:
        raise RunError(f"{folder.order}: there is no such file; {AGAIN}") from None
    except UNREADABLE as error:
        raise RunError(f"{folder.order}: cannot be read: {error}; {AGAIN}") from None


def place_run(folder: RunFolder, config: RunConfig, order: Order) -> None:
    """Write the folder of a run that will wait in the queue; a configuration that is there stays."""
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.config.exists():
        # Two experiments may share one run. Its configuration names the experiment of the folder, whoever queues it.
        name = folder.path.name.rpartition("-")[0].removesuffix(f"-s{config.seed}")
        write_json(folder.config, structs.replace(config, experiment=name or config.experiment))
    write_order(folder, order)
