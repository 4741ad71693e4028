"""What must be true of a machine after its last `work`; each difference is a loss."""

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from orchestrator.runs.folder import SET_ASIDE, EpochRecord, RunConfig, RunFolder
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
"""Counts of each campaign that must be 0."""


def inspect(machine: Machine, before: dict[str, object]) -> None:
    """Count every difference between the machine and what must be true of it."""
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
        "folders in the cache": [
            str(path) for cache in machine.caches for path in cache.glob("knockout/*/*") if path.is_dir()
        ],
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
    if [epoch.epoch for epoch in epochs] != list(range(1, config.params["optim"]["epochs"] + 1)):
        machine.lose(f"{name}: its epochs are {[epoch.epoch for epoch in epochs]}")
    # A killed `queue add` leaves its temporary files: another `queue add` may be writing them, so nobody removes them.
    if left := [path.name for path in folder.path.glob(".*") if not path.name.startswith(QUEUED_BY_ADD)]:
        machine.counts["leftovers"] += len(left)
        machine.lose(f"{name}: {left}")
    if machine.journal.exists():
        _check_numbers(machine, name, config, epochs)
    times_of = Counter(re.findall(r"^epoch (\d+):", folder.log.read_text(), re.MULTILINE))
    twice = [epoch for epoch, times in times_of.items() if times > 1]
    if twice and name not in machine.forgotten:
        machine.counts["epochs trained twice"] += len(twice)
        machine.lose(f"{name}: its log has epochs {twice} more than once")
    machine.counts["epochs finished"] += len(epochs)


def _check_numbers(machine: Machine, name: str, config: RunConfig, epochs: list[EpochRecord]) -> None:
    """Compare the epochs with the numbers that the fake job must compute from the captures named by the run."""
    paths = sorted({capture["path"] for capture in config.params["data"]["captures"].values()})
    captures = b"".join((machine.repo / path).read_bytes() for path in paths)
    digest = hashlib.sha256(str(config.seed).encode() + captures).hexdigest()
    for epoch in epochs:
        digest = hashlib.sha256(digest.encode()).hexdigest()
        if epoch.train_loss != int(digest[:8], 16) / 2**32:
            machine.lose(f"{name}: epoch {epoch.epoch} has other numbers than a run that was never stopped")
            return


def check_journal(machine: Machine) -> None:
    """Check in the journal that no finished epoch was trained again, and that each run ended once.

    A run begins anew by right after a fault destroyed its checkpoint. It also does once where its epochs were set
    aside since a fault changed its capture: the set-aside file in the run folder proves that.
    """
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
    """Wait until `look` returns nothing, and return what it still returns after the longest wait."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not look(), "nothing is left")
    return look()
