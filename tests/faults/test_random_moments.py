"""Kills and other mishaps at random moments, again and again: every run ends once, and nothing finished is lost."""

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTS = int(os.environ.get("FAULTS_MOMENTS", "24"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
BROKEN = "raise SystemExit('the user is at work on this')\n"


class Storm:
    """A seeded choice of moments and mishaps."""

    def __init__(self, machine: Any, seed: int) -> None:
        self.machine, self.random = machine, random.Random(seed)
        self.picture = machine.picture()
        self.edited: dict[Path, str] = {}
        self.num_seeds = 2
        self.kills = {
            "kill -9 of a job": self.kill_job,
            "kill -9 of `work`": self.kill_work,
            "kill -9 of `work` and its jobs": self.kill_both,
            "kill -9 of every process": self.cut_power,
            "SIGTERM to a job": lambda: self.kill_job("TERM"),
            "SIGTERM to `work`": lambda: self.kill_work("TERM"),
        }
        self.mishaps = {
            "last line of epochs.jsonl torn": self.tear_line,
            "result.json half written": self.tear_result,
            "kill -9 of `queue add`": self.kill_queue_add,
            "branch deleted": self.delete_branch,
            "checkout edited": self.edit_checkout,
            "clock set back": self.set_clock_back,
        }

    def rage(self, moments: int) -> None:
        """Let so many kills happen, and each other mishap at least once."""
        names = [*self.kills] * (moments // len(self.kills)) + self.random.choices([*self.kills], k=moments % 6)
        names += [*self.mishaps] * max(1, moments // 30)
        self.random.shuffle(names)
        for name in names:
            self.wait_a_moment()
            (self.kills | self.mishaps)[name]()
            self.machine.counts[name] += 1
            self.machine.look()
        self.restore_checkout()

    def wait_a_moment(self) -> None:
        if self.random.random() < 0.3:
            self.machine.keep_working(2)
            time.sleep(self.random.uniform(0.0, 1.0))  # wherever it is by then
            return
        target = self.machine.count_lines() + self.random.randint(1, 60)
        self.wait(lambda: self.machine.count_lines() >= target)

    def wait(self, is_so: Callable[[], Any]) -> Any:
        """Wait until something is so, while two `work` go on and never run dry."""

        def look() -> Any:
            self.refill()
            return is_so()

        return self.machine.wait_while_working(look)

    def refill(self) -> None:
        """Queue more before everything is done."""
        folders = self.machine.folders()
        if sum(not folder.result.exists() for folder in folders) < 4:
            self.restore_checkout()
            self.num_seeds += 4
            self.machine.must("queue", "add", "--seeds", str(self.num_seeds))

    def pick_job(self) -> int:
        jobs = self.wait(self.machine.jobs)
        return int(self.random.choice(jobs).pid)

    def kill_job(self, name: str = "KILL") -> None:
        self.machine.kill([self.pick_job()], name)

    def kill_work(self, name: str = "KILL") -> None:
        self.machine.keep_working(1)
        self.machine.kill([self.random.choice(self.machine.works).pid], name)

    def kill_both(self) -> None:
        jobs = self.wait(self.machine.jobs)
        self.machine.kill([work.pid for work in self.machine.works] + [job.pid for job in jobs])

    def cut_power(self) -> None:
        self.machine.power_off()

    def pick_unfinished(self) -> Any:
        """Return a run that was under way when the power went."""

        def under_way() -> list[Any]:
            folders = self.machine.folders()
            return [folder for folder in folders if not folder.result.exists() and len(folder.read_epochs()) > 1]

        while True:
            self.wait(under_way)
            self.cut_power()
            if found := under_way():
                return self.random.choice(found)

    def tear_line(self) -> None:
        """The power went while the last line was being written: its checkpoint is there, half of the line is not."""
        folder = self.pick_unfinished()
        lines = folder.epochs.read_bytes().splitlines(keepends=True)
        kept = self.random.randrange(1, len(lines[-1]))
        folder.epochs.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
        self.machine.finished_lines[folder.path.name] = lines[:-1] and [line[:-1] for line in lines[:-1]]

    def tear_result(self) -> None:
        folder = self.pick_unfinished()
        folder.result.write_text('{"format": 1, "state": "do')

    def kill_queue_add(self) -> None:
        """Only some of its runs may have a folder, and none may be in the queue: it is asked again."""
        self.restore_checkout()
        self.num_seeds += 4
        words = ("queue", "add", "--seeds", str(self.num_seeds))
        adding = self.machine.start(*words)
        with contextlib.suppress(subprocess.TimeoutExpired):
            adding.wait(self.random.uniform(0.0, 4.0))  # wherever it is by then
        adding.kill()
        adding.wait()
        self.machine.must(*words)

    def delete_branch(self) -> None:
        branches = self.machine.git("for-each-ref", "--format=%(refname:short)", "refs/heads/experiment").split()
        if branches:
            self.machine.git("branch", "-D", self.random.choice(branches))

    def edit_checkout(self) -> None:
        """The user goes on with their own work, also with the code that jobs run."""
        self.restore_checkout()
        for name in ("model/__main__.py", "model/run_folder.py", "notes.md"):
            path = self.machine.repo / name
            self.edited[path] = path.read_text()
            path.write_text(BROKEN)
        self.picture = self.machine.picture()

    def restore_checkout(self) -> None:
        self.machine.compare(self.picture)
        for path, content in self.edited.items():
            path.write_text(content)
        self.edited.clear()
        self.picture = self.machine.picture()

    def set_clock_back(self) -> None:
        """What was written before seems to be of the future now, and a little of the past."""
        now = time.time()
        for path in (self.machine.repo / "results").rglob("*"):
            moved = now + self.random.uniform(-1e5, 1e6)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (moved, moved))


def test_nothing_is_lost_whatever_dies_at_random_moments(machine: Any, tell: Any) -> None:
    """Laws 2, 3, 4 and 6: no run is trained again, no finished epoch is lost, and the checkout is not touched."""
    started = time.monotonic()
    storm = Storm(machine, SEED)
    storm.rage(MOMENTS)
    machine.finish()
    machine.check(storm.picture)
    machine.counts["seconds"] = round(time.monotonic() - started)
    tell("faults at random moments, fake job", machine.counts)
    assert machine.losses == []
    machine.must("report")
    assert "nothing waited" in machine.must("work")
    states = {row["id"]: row["state"] for row in machine.rows()}
    machine.must("rebuild")
    assert {row["id"]: row["state"] for row in machine.rows()} == states
