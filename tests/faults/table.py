"""The table of a soak: each kind of fault, how and how often it was made, and what was lost."""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.faults.inspection import TOTALS
from tests.faults.kinds import Kind, Kinds
from tests.faults.machine import Counts
from tests.faults.storm import KIND, SEED

MARKS = ("<!-- begin: written by make soak -->", "<!-- end: written by make soak -->")
ALSO = ("runs", "epochs finished")


def add_up(several: Iterable[Counts]) -> Counts:
    total: Counts = Counter()
    for counts in several:
        total.update(counts)
    return total


def table_lines(campaigns: Iterable[Kinds], counts: Counts, seconds: float) -> Iterator[str]:
    """Yield the table line by line."""
    num_faults = sum(count for name, count in counts.items() if name.startswith(KIND))
    yield f"{num_faults} faults, seed {SEED}, {platform.system()} {platform.machine()}, {seconds / 60:.0f} minutes."
    yield ""
    yield "| what must be 0 | found |"
    yield "| --- | --- |"
    for what in (*TOTALS, "losses of any kind"):
        yield f"| {what} | {counts[what]} |"
    for campaign in campaigns:
        yield ""
        yield f"**{campaign.title[0].upper()}{campaign.title[1:]}**"
        yield ""
        yield "| kind of fault | how it is made | times |"
        yield "| --- | --- | --- |"
        for kind in campaign.by_name.values():
            how = kind.how.replace("|", "\\|")
            yield f"| {kind.name} | {how} | {_times(kind, counts)} |"
    yield ""
    yield ", ".join(f"{what}: {counts[what]}" for what in ALSO) + "."


def _times(kind: Kind, counts: Counts) -> str:
    if count := counts[f"{KIND}{kind.name}"]:
        return str(count)
    return kind.needs() or "0"
