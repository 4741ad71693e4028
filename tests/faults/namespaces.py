"""Kinds of faults: `work` in containers, each with numbers of processes of its own and all with one host name."""

import contextlib
import functools
import shutil
import sqlite3
import subprocess
from pathlib import Path

from tests.faults.kinds import Kinds
from tests.faults.machine import Machine, command_line, parent_of, sleep_for
from tests.faults.storm import Storm

NAMESPACES = Kinds("`work` in name spaces of its own")
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
NUM_NEIGHBOURS = 60
INIT = (
    "i=0; while [ $i -lt {count} ]; do setsid env -u FAULTS_TOKEN {marker} sleep 3600 & i=$((i + 1)); done; "
    '"$@" & child=$!; trap "kill -TERM $child" TERM; trap "kill -INT $child" INT; '
    "wait $child; status=$?; while kill -0 $child 2>/dev/null; do wait $child; status=$?; done; exit $status"
)
"""Process 1 of a container: it starts innocent neighbours, whose numbers jobs have elsewhere, then the command."""


@functools.cache
def needs_namespaces() -> str | None:
    """Return why there are no name spaces here; None if there are."""
    if shutil.which("unshare") is None:
        return "needs `unshare`"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"name spaces are not allowed here: {done.stderr.strip()}"


class SpacedMachine(Machine):
    """A machine whose commands each run in a name space of their own, so a wrong number hurts nobody outside."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.marker = self.token.replace("TOKEN", "NEIGHBOUR")
        # The shell is process 1; it turns the signal that ended its child into a status.
        self.good_statuses += tuple(128 - status for status in self.good_statuses if status < 0)
        self.neighbours: dict[int, int] = {}
        """Innocent process in a container -> that container's process 1."""

    def command(self, *words: str) -> list[str]:
        count = NUM_NEIGHBOURS if words[0] == "work" and self.counts.total() % 2 else 0
        script = INIT.format(count=count, marker=self.marker)
        return [*UNSHARE, "sh", "-c", script, "sh", *super().command(*words)]

    def workers(self) -> list[int]:
        """Return the processes that are a `work`, not those around it."""
        return [pid for pid in self.processes() if b"python" in (line := command_line(pid)) and b"\0work\0" in line]

    def first_processes(self) -> list[int]:
        """Return the processes that are number 1 of a container."""
        return [pid for pid in self.processes() if command_line(pid).startswith(b"sh\0-c\0")]

    def look(self) -> None:
        super().look()
        for pid, first in tuple(self.neighbours.items()):
            if self.marker.encode() not in environment_of(pid):
                del self.neighbours[pid]
                if command_line(first):
                    self.counts["bystanders hurt"] += 1
                    self.lose("an innocent process in a container was ended")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self.marker.encode() in environment_of(int(entry.name)):
                self.neighbours[int(entry.name)] = parent_of(int(entry.name))

    def finish(self) -> None:
        """Let the leases of dead containers expire, then finish every run."""
        self.power_off()
        self.pass_lease()
        super().finish()

    def pass_lease(self) -> None:
        """Make every heartbeat an hour older; every worker must be dead."""
        with contextlib.closing(sqlite3.connect(self.repo / "results" / "knockout.db")) as queue, queue:
            queue.execute("UPDATE workers SET heartbeat = heartbeat - 3600")


def environment_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def spaced(storm: Storm) -> SpacedMachine:
    assert isinstance(storm.machine, SpacedMachine)
    return storm.machine


@NAMESPACES.kind("kill -9 of `work` in a container", "another container works on", needs=needs_namespaces, weight=2)
def kill_work(storm: Storm) -> None:
    storm.machine.kill([storm.random.choice(storm.wait(spaced(storm).workers))])
    storm.go_on()


@NAMESPACES.kind("kill -9 of a container", "its process 1, and the kernel ends all in it", needs=needs_namespaces)
def kill_container(storm: Storm) -> None:
    storm.machine.kill([storm.random.choice(storm.wait(spaced(storm).first_processes))])


@NAMESPACES.kind("SIGTERM to `work` in a container", "its jobs finish their epoch", needs=needs_namespaces)
def end_work(storm: Storm) -> None:
    storm.machine.kill([storm.random.choice(storm.wait(spaced(storm).workers))], "TERM")


@NAMESPACES.kind("kill -9 of a job in a container", "SIGKILL from outside", needs=needs_namespaces)
def kill_job(storm: Storm) -> None:
    storm.machine.kill([storm.pick_job()])


@NAMESPACES.kind("a container stopped for a while", "SIGSTOP to all of its `work` and jobs", needs=needs_namespaces)
def stop_container(storm: Storm) -> None:
    worker = storm.random.choice(storm.wait(spaced(storm).workers))
    space = space_of(worker)
    inside = [pid for pid in storm.machine.processes() if space_of(pid) == space]
    storm.machine.kill(inside, "STOP")
    sleep_for(storm.random.uniform(0.5, 2.0))
    storm.machine.kill(inside, "CONT")


def space_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    return ""


@NAMESPACES.kind("a command in another container", "`status`, `stop` and others", needs=needs_namespaces)
def ask_from_elsewhere(storm: Storm) -> None:
    storm.machine.may_refuse(*storm.random.choice((("status",), ("stop",), ("retry", "--failed"), ("gc",))))
