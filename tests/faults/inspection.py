"""What must be true of a machine after its last `work`: every difference is a loss."""

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from model.config import JobConfig
from model.train.run_folder import SET_ASIDE, EpochRecord, RunFolder
from tests.builders.study_harness import wait_for
from tests.faults.machine import Counts, Machine

QUEUED_BY_ADD = (".config.json.", ".order.json.")
TOTALS = (
    "epochs lost",
    "epochs trained twice",
    "false failures",
    "bystanders hurt",
    "leftovers",
    "tracebacks",
    "changes in the user's checkout",
)
"""What is counted of each campaign; all must be 0."""


def inspect(machine: Machine, before: dict[str, object]) -> None:
    """Compare what is there with what must be."""
    machine.look()
    if machine.journal.exists():
        check_journal(machine)
    states = {row["id"]: row["state"] for row in machine.rows()}
    for folder in machine.folders():
        _check_folder(machine, folder, states.get(folder.path.name))
    machine.compare(before)
    left = {
        "processes": wait_until_empty(machine.processes),
        "worktrees": machine.git("worktree", "list").splitlines()[1:],
        "folders in the cache": [str(path) for cache in machine.caches for path in cache.glob("knockout/*/*")],
    }
    for what, found in left.items():
        if found:
            machine.counts["leftovers"] += len(found)
            machine.lose(f"{what}: {found}")
    machine.counts["runs"] += len(states)
    for what in TOTALS:
        machine.counts[what] += 0
    machine.counts["losses of any kind"] += len(machine.losses)


def _check_folder(machine: Machine, folder: RunFolder, state: str | None) -> None:
    name, result, epochs = folder.path.name, folder.read_result(), folder.read_epochs()
    if result is None or result.state != "done" or state != result.state:
        machine.lose(f"{name}: the queue says {state}, its folder says {result}")
    config = folder.read_config()
    if [epoch.epoch for epoch in epochs] != list(range(1, config.optim.epochs + 1)):
        machine.lose(f"{name}: its epochs are {[epoch.epoch for epoch in epochs]}")
    # A `queue add` that was killed leaves its own: nobody can tell whether another one is writing.
    if left := [path.name for path in folder.path.glob(".*") if not path.name.startswith(QUEUED_BY_ADD)]:
        machine.counts["leftovers"] += len(left)
        machine.lose(f"{name}: {left}")
    if machine.journal.exists():
        _check_numbers(machine, name, config, epochs)
    told = Counter(re.findall(r"^epoch (\d+):", folder.log.read_text(), re.MULTILINE))
    twice = [epoch for epoch, times in told.items() if times > 1]
    if twice and name not in machine.forgotten:
        machine.counts["epochs trained twice"] += len(twice)
        machine.lose(f"{name}: its log tells of epochs {twice} more than once")
    machine.counts["epochs finished"] += len(epochs)


def _check_numbers(machine: Machine, name: str, config: JobConfig, epochs: list[EpochRecord]) -> None:
    """Compute anew what the fake job must have come to on the captures that the run is named by."""
    paths = sorted({capture.path for capture in config.data.captures.values()})
    captures = b"".join((machine.repo / path).read_bytes() for path in paths)
    digest = hashlib.sha256(str(config.seed).encode() + captures).hexdigest()
    for epoch in epochs:
        digest = hashlib.sha256(digest.encode()).hexdigest()
        if epoch.train_loss != int(digest[:8], 16) / 2**32:
            machine.lose(f"{name}: epoch {epoch.epoch} has other numbers than a run that was never stopped")
            return


def check_journal(machine: Machine) -> None:
    """Hold against each job's journal that no finished epoch was trained again, and that each run ended once."""
    finished: Counts = Counter()
    ended: set[str] = set()
    doubted: set[str] = set()
    scored_again = {folder.path.name for folder in machine.folders() if any(folder.path.glob("result.json.*"))}
    began_anew = {
        folder.path.name
        for folder in machine.folders()
        if folder.path.name in machine.forgotten and any(folder.path.glob(f"epochs.jsonl{SET_ASIDE}"))
    }
    workers: dict[str, list[str]] = {}
    for kind, run, pid, number in map(str.split, machine.journal.read_text().splitlines()):
        if kind == "doubted":
            doubted.add(run)
            continue
        if (kind, number) == ("trained", "1") and (run in doubted or (finished[run] and run in began_anew)):
            (doubted if run in doubted else began_anew).remove(run)
            ended.discard(run)
            finished[run] = 0
        if kind in ("saved", "recorded"):
            finished[run] = max(finished[run], int(number))
        if kind == "trained" and int(number) <= finished[run]:
            machine.counts["epochs trained twice"] += 1
            machine.lose(f"{run}: epoch {number} was finished and trained again")
        if run in ended and not (kind in ("ending", "ended") and run in scored_again):
            machine.lose(f"{run}: {kind} after its end")
        if kind == "ended":
            ended.add(run)
        if pid in (pids := workers.setdefault(run, [])) and pids[-1] != pid:
            machine.lose(f"{run}: two jobs at once, {pids} and {pid}")
        if pid not in pids:
            pids.append(pid)


def wait_until_empty(look: Callable[[], list[Any]]) -> list[Any]:
    """Wait until nothing is left, and return what is."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not look(), "nothing is left")
    return look()
