"""Kills at random moments: no marked process is left, nothing is trained twice, no checkpointed step is lost."""

import contextlib
import os
import random
import signal
import time

import pytest

from orchestrator.supervisor.launch_file import CHECKPOINT, Resume
from orchestrator.supervisor.supervise import supervise
from tests.builders.supervised import LOG_LINES, PYTHON, LineReaders, Stranger, train, wait_until

STEPS = 150
LONGEST_SECONDS = 0.3
IN_A_SESSION = """
import os, sys
pid = os.fork()
if pid == 0:
    os.setsid()
    os.execv(sys.argv[1], sys.argv[1:])
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(status if status >= 0 else 128 - status)
"""
"""Starts a command in a session of its own, as torchrun does with its workers, and ends as it ends."""
ALONE = ()
LAUNCHED = (*PYTHON, IN_A_SESSION)


def order(stranger: Stranger, launcher: tuple[str, ...]) -> None:
    arguments = (*launcher, *train("out", STEPS, 0.02))
    resume = Resume(when="out/*.ckpt", arguments=(*arguments, CHECKPOINT))
    stranger.order(*arguments, outputs=("out",), progress=LOG_LINES, resume=resume, grace_seconds=1)


def checkpointed(stranger: Stranger) -> int:
    path = stranger.folder.outputs / "out" / "last.ckpt"
    return int(path.read_text()) if path.exists() else 0


def end(stranger: Stranger, pid: int) -> int:
    """Return the status of a supervisor; end it if its victim was a process that was ending already."""
    if not (stranger.checkout / "wait").exists():
        return stranger.wait(pid)
    try:
        return stranger.wait(pid, seconds=3)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        return stranger.wait(pid)


@pytest.mark.parametrize(("launcher", "wanted_kills"), [(ALONE, 20), (LAUNCHED, 8)], ids=["alone", "launched"])
def test_kills_at_random_moments_lose_nothing(stranger: Stranger, launcher: tuple[str, ...], wanted_kills: int) -> None:
    order(stranger, launcher)
    wait = stranger.checkout / "wait"
    wait.touch()
    chance, kills, saved = random.Random(wanted_kills), 0, []
    while not stranger.folder.result.exists():
        pid = stranger.start()
        time.sleep(chance.uniform(0, LONGEST_SECONDS))
        # The supervisor itself is the first of those that hold the lock or carry the mark.
        victims = stranger.marked() or [pid]
        if kills < wanted_kills:
            kills += 1
            number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            victim = pid if number == signal.SIGTERM else chance.choice(victims)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)
        elif wait.exists():
            wait.unlink()
        status = end(stranger, pid)
        assert status != 1, stranger.result()
        saved.append(checkpointed(stranger))
        if status != -signal.SIGKILL:
            assert stranger.marked() == []
    assert kills == wanted_kills
    assert saved == sorted(saved), "a checkpoint was lost"
    assert saved[-1] == STEPS
    steps = [row.step for row in stranger.rows()]
    assert set(steps) == {float(step) for step in range(1, STEPS + 1)}
    assert stranger.result().epochs == STEPS
    wait_until(lambda: stranger.marked() == [])
    log = stranger.log()
    assert supervise(stranger.folder.path, LineReaders()) == 0
    assert stranger.log() == log
