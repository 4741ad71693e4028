"""Processes of strangers' scripts die at random moments: every run ends once, from its checkpoint, and nothing is left.

`FAULTS_STRANGER_MOMENTS` says how many moments there are, half of them for each script.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import DISK_BYTES, lend, make_repository_in_use
from tests.faults.machine import Machine
from tests.faults.places import fill, small_disk
from tests.faults.storm import KIND, SEED
from tests.faults.strangers import (
    STEPS,
    STRANGER_DEATHS,
    STYLES,
    StrangerMachine,
    StrangerStorm,
    kill_worker,
    lost_steps,
)

MOMENTS = int(os.environ.get("FAULTS_STRANGER_MOMENTS", "8"))
MUST_BE_0 = ("finished runs trained twice", "checkpointed steps lost", "leftovers", "false failures", "tracebacks")


@pytest.fixture(params=STYLES)
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which the runs of a stranger's script wait; its user's checkout is in disorder."""
    machine = StrangerMachine(tmp_path, request.param)
    make_repository_in_use(machine)
    machine.must("queue", "add", "--seeds", "1")
    yield from lend(machine)


def test_nothing_is_lost_when_processes_of_a_script_are_killed(stranger: StrangerMachine, tell: Any) -> None:
    """Laws 2, 3, 4 and 6 for a script that Knockout has never seen."""
    started, storm = time.monotonic(), StrangerStorm(stranger, SEED, num_works=1)
    # Only torchrun has workers.
    possible = [one for one in STRANGER_DEATHS.possible() if stranger.style == "torchrun" or one.make != kill_worker]
    for kind in storm.draw(possible, MOMENTS // len(STYLES)):
        storm.wait_a_moment()
        storm.strike(kind)
    storm.settle_strangers()
    stranger.counts["seconds"] = round(time.monotonic() - started)
    for what in MUST_BE_0:
        stranger.counts[what] += 0
    tell(STRANGER_DEATHS.title, stranger.counts)
    assert stranger.losses == []
    assert stranger.counts["attempts"] > len(stranger.folders())
    assert sum(count for name, count in stranger.counts.items() if name.startswith(KIND)) == MOMENTS // len(STYLES)
    assert "nothing waited" in stranger.must("work")


def test_a_full_disk_is_told_and_the_script_goes_on_once_there_is_room(tmp_path: Path) -> None:
    machine = StrangerMachine(tmp_path, "globals")
    make_repository_in_use(machine)
    machine.must("queue", "add", "baseline", "--seeds", "1")
    with contextlib.ExitStack() as until_the_end:
        try:
            disk = until_the_end.enter_context(small_disk(machine, DISK_BYTES))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"only root may mount a small disk: {error}")
        (folder,) = machine.folders()
        work = machine.start_work()
        machine.wait_for(lambda: folder.log.exists() and b"step 5: " in folder.log.read_bytes(), "a script trains")
        filler = fill(disk)
        work.wait(timeout=120)
        assert "disk is full" in machine.log_tail()
        assert folder.read_result() is None
        filler.unlink()
        machine.works.clear()
        machine.finish()
        assert [record.step for record in folder.read_epochs()] == list(STEPS["globals"])
        assert machine.losses == []


@pytest.mark.parametrize(
    ("parts", "is_told_again", "lost"),
    [
        ([b"step 0: loss 3\nstep 5: loss 2\n", b"", b"step 5: loss 2\nstep 10: loss 1\n"], True, 0),
        ([b"step 0: loss 3\nstep 5: loss 2\n", b"step 0: loss 3\nstep 5: loss 2\n"], True, 5),
        ([b"step 1: loss 3\nstep 2: loss 2\n", b"step 3: loss 2\n"], False, 0),
        ([b"step 1: loss 3\nstep 2: loss 2\n", b"step 4: loss 2\n"], False, 0),
        ([b"step 1: loss 3\nstep 2: loss 2\n", b"step 2: loss 2\n"], False, 1),
    ],
)
def test_steps_that_were_saved_and_trained_again_are_counted(
    parts: list[bytes], is_told_again: bool, lost: int
) -> None:
    assert lost_steps(parts, is_told_again=is_told_again) == lost
