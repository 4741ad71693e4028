"""What one run of a checked command was seen to do. Values alone."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from orchestrator.checks.listen import IMPORTED, MISSING, READ, WRITE
from orchestrator.checks.opened import Kind, Opened
from orchestrator.checks.sorting import Sorted
from orchestrator.reading.progress import Row

KINDS: dict[str, Kind] = {READ: "read", MISSING: "missing", WRITE: "write"}


class Heard(Struct, frozen=True, kw_only=True):
    """What the Pythons of a command told."""

    opened: tuple[Opened, ...] = ()
    packages: tuple[str, ...] = ()
    """Imported packages that are no part of Python, by their names."""
    import_seconds: float = 0.0
    """Of the process that took longest."""
    was_there: bool = True
    """Whether any Python told anything."""


def parse_heard(lines: Iterable[str]) -> Heard:
    """Read the lines of `listen`; a line that is not whole is left out."""
    opened: dict[Opened, None] = {}
    packages: dict[str, None] = {}
    seconds, was_there = 0.0, False
    for line in lines:
        kind, tab, text = line.rstrip("\n").partition("\t")
        was_there = was_there or bool(tab)
        if tab and kind in KINDS:
            opened.setdefault(Opened(KINDS[kind], text))
        # Each process tells its own imports. The longest one is what a start costs; others may wait meanwhile.
        elif tab and kind == IMPORTED:
            number, *names = text.split(" ")
            packages |= dict.fromkeys(names)
            seconds = max(seconds, float(number))
    return Heard(opened=tuple(opened), packages=tuple(packages), import_seconds=seconds, was_there=was_there)


class Growth(Struct, frozen=True):
    """How large the log was at one moment."""

    at_seconds: float
    """Since the command was started."""
    num_bytes: int


class MetricSeen(Struct, frozen=True, kw_only=True):
    """A metric of one run, or why it cannot be read."""

    value: float | None = None
    ratio: tuple[float, float] | None = None
    problem: str = ""


class ItemsSeen(Struct, frozen=True, kw_only=True):
    """The items of one split of one run, or why they cannot be read."""

    num_items: int = 0
    num_clusters: int | None = None
    num_strata: int = 0
    problem: str = ""


class TableSeen(Struct, frozen=True, kw_only=True):
    """A table or file of numbers that the run wrote, and that a campaign file may name."""

    path: str
    """As the campaign file would write it: in the checkout, or with `{run_folder}`."""
    kind: Literal["csv", "jsonl", "json", "trainer_state", "reported", "scores"]
    names: tuple[str, ...]
    """Its columns or keys."""
    content: str = ""
    """Hash of the file."""


class Observed(Struct, frozen=True, kw_only=True):
    """What one run was seen to do."""

    seed: int
    arguments: tuple[str, ...] = ()
    state: str = "done"
    """`done`, `failed`, `too_slow`, or `interrupted` for a run that was asked to stop."""
    reason: str = ""
    """What its end means, in the supervisor's words."""
    seconds: float = 0.0
    heard: Heard = Heard()
    files: Sorted = Sorted()
    written: tuple[str, ...] = ()
    """Files of its checkout that are new or changed, from its checkout."""
    lines: tuple[str, ...] = ()
    """Lines of its log, without codes of the terminal."""
    arrivals: tuple[float, ...] = ()
    """When each of these lines was in the log, in seconds since the command was started."""
    rows: tuple[Row, ...] = ()
    """Rows of progress."""
    metrics: dict[str, MetricSeen] = {}
    items: dict[str, ItemsSeen] = {}
    tables: tuple[TableSeen, ...] = ()
    resumed_from: str | None = None
    """The checkpoint that its last attempt went on from."""

    @property
    def ran(self) -> bool:
        """Whether it ended as a finished training does."""
        return self.state == "done"

    @property
    def numbers(self) -> dict[str, Any]:
        """Name -> what the run told: each metric's value, and each column of progress."""
        metrics = {name: one.value for name, one in self.metrics.items() if one.value is not None}
        # Columns stand beside metrics: a metric may be saturated while the training still differs.
        names = dict.fromkeys(name for row in self.rows for name in row.values)
        columns = {f"progress {name}": column_of(self.rows, name) for name in names}
        return metrics | columns

    @property
    def evidence(self) -> Any:
        """Everything with numbers that it told, where no metric is named yet."""
        return self.lines, {table.path: table.content for table in self.tables}


def column_of(rows: Sequence[Row], name: str) -> tuple[float | None, ...]:
    """Return the values of one name, in the order of the rows that tell it."""
    return tuple(row.values[name] for row in rows if name in row.values)


def arrivals_of(ends_bytes: Sequence[int], growth: Sequence[Growth], end_seconds: float) -> tuple[float, ...]:
    """Return when each line was in the log.

    Args:
        ends_bytes: where each line ends in the log.
        growth: sizes of the log, in their order.
        end_seconds: when the command ended; what no look saw had come by then.
    """
    return tuple(next((look.at_seconds for look in growth if look.num_bytes >= end), end_seconds) for end in ends_bytes)
