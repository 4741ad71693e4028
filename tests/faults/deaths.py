"""Kinds of faults: processes die, stop or are asked to end; the user does other things beside them."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable

from tests.faults.kinds import Kinds
from tests.faults.machine import sleep_for
from tests.faults.storm import Storm

DEATHS = Kinds("anything dies at a random moment")
BROKEN = "raise SystemExit('the user is at work on this')\n"
END_SECONDS = 30.0
"""Longest wait for a `work` that was interrupted twice; after the second interrupt it must end at once."""
kind = DEATHS.kind


@kind("kill -9 of a job", "SIGKILL to a process that holds a run folder", weight=5)
def kill_job(storm: Storm) -> None:
    storm.machine.kill([storm.pick_job()])


@kind("SIGTERM to a job", "as a cluster does before it takes a machine away", weight=5)
def end_job(storm: Storm) -> None:
    storm.machine.kill([storm.pick_job()], "TERM")


@kind("kill -9 of `work`", "its jobs go on, for a moment or to their end", weight=5)
def kill_work(storm: Storm) -> None:
    storm.machine.kill([storm.pick_work().pid])


@kind("SIGTERM to `work`", "its jobs finish their epoch", weight=5)
def end_work(storm: Storm) -> None:
    storm.machine.kill([storm.pick_work().pid], "TERM")


@kind("kill -9 of `work` and its jobs", "the parents first", weight=5)
def kill_both(storm: Storm) -> None:
    jobs = storm.wait(storm.machine.jobs)
    storm.machine.kill([work.pid for work in storm.machine.works] + jobs)


@kind("kill -9 of every process", "as when the power fails; the disk keeps what was written", weight=5)
def cut_power(storm: Storm) -> None:
    storm.machine.power_off()


@kind("kill -9 of a standby", "SIGKILL to the process that forks jobs, which live on without it", weight=3)
def kill_standby(storm: Storm) -> None:
    storm.machine.kill([storm.random.choice(storm.wait(storm.machine.standbys))])


def stopped(storm: Storm, find: Callable[[], list[int]]) -> int:
    pid = int(storm.random.choice(storm.wait(find)))
    storm.machine.kill([pid], "STOP")
    return pid


@kind("a standby stopped for a while", "SIGSTOP, later SIGCONT, to the process that forks jobs", weight=2)
def stop_standby(storm: Storm) -> None:
    pid = stopped(storm, storm.machine.standbys)
    sleep_for(storm.random.uniform(0.1, 2.0))
    storm.machine.kill([pid], "CONT")


@kind("a job stopped for a while", "SIGSTOP, later SIGCONT, to a process that holds a run folder", weight=2)
def stop_job(storm: Storm) -> None:
    pid = stopped(storm, storm.machine.jobs)
    sleep_for(storm.random.uniform(0.1, 2.0))
    storm.machine.kill([pid], "CONT")


@kind("`work` stopped for a while", "SIGSTOP, later SIGCONT, as Ctrl-Z and `fg` do", weight=2)
def stop_work(storm: Storm) -> None:
    pid = stopped(storm, lambda: [work.pid for work in storm.machine.living_works()])
    sleep_for(storm.random.uniform(0.1, 2.0))
    storm.machine.kill([pid], "CONT")


@kind("`work` interrupted while its standby is stopped", "SIGSTOP to the standby, two SIGINT to `work`: it must end")
def interrupt_over_stopped_standby(storm: Storm) -> None:
    standbys = storm.wait(storm.machine.standbys)
    storm.machine.kill(standbys, "STOP")
    work = storm.pick_work()
    for _ in range(2):
        storm.machine.kill([work.pid], "INT")
        sleep_for(storm.random.uniform(0.0, 1.0))
    storm.machine.must_end(work, END_SECONDS, "the second interrupt, with its standby stopped")
    storm.machine.kill(standbys, storm.random.choice(("CONT", "KILL")))


@kind("`work` killed while its standby is stopped", "SIGSTOP to the standby, SIGKILL to `work`, then SIGCONT")
def kill_over_stopped_standby(storm: Storm) -> None:
    standbys = storm.wait(storm.machine.standbys)
    storm.machine.kill(standbys, "STOP")
    storm.machine.kill([storm.pick_work().pid])
    storm.go_on(storm.random.randint(1, 20))
    storm.machine.kill(standbys, "CONT")


@kind("kill -9 of `queue add`", "at a random moment; later the same command runs again")
def kill_queue_add(storm: Storm) -> None:
    """At the kill, some of its runs may have a folder while none is in the queue."""
    storm.restore_checkout()
    storm.num_seeds += 4
    words = ("queue", "add", "--seeds", str(storm.num_seeds))
    adding = storm.machine.start(*words)
    with contextlib.suppress(subprocess.TimeoutExpired):
        adding.wait(storm.random.uniform(0.0, 4.0))  # wherever it is by then
    adding.kill()
    adding.wait()
    storm.machine.must(*words)


@kind("branch deleted", "`git branch -D` of an experiment whose runs wait")
def delete_branch(storm: Storm) -> None:
    branches = storm.machine.git("for-each-ref", "--format=%(refname:short)", "refs/heads/experiment").split()
    if branches:
        storm.machine.git("branch", "-D", storm.random.choice(branches))


@kind("checkout edited", "the user breaks the code that jobs run, and repairs it later")
def edit_checkout(storm: Storm) -> None:
    storm.restore_checkout()
    for name in ("model/__main__.py", "model/train/run_folder.py", "notes.md"):
        path = storm.machine.repo / name
        storm.edited[path] = path.read_text()
        path.write_text(BROKEN)
    storm.picture = storm.machine.picture()


@kind("clock set back", "every file time lies in the future, or a little in the past")
def set_clock_back(storm: Storm) -> None:
    now = time.time()
    for path in (storm.machine.repo / "results").rglob("*"):
        moved = now + storm.random.uniform(-1e5, 1e6)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (moved, moved))


@kind("other commands beside it", "`status`, `queue list`, `stop`, `gc`, `rebuild`, `git gc` while runs go on")
def ask_beside(storm: Storm) -> None:
    words = storm.random.choice(
        (("status",), ("queue", "list"), ("stop",), ("gc",), ("rebuild",), ("retry", "--failed"), ("git", "gc"))
    )
    if words[0] == "git":
        storm.machine.git("gc", "--quiet")
    else:
        storm.machine.may_refuse(*words)
