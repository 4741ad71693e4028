"""A user's machine that dies again and again: a repository, its queue, and all processes started there.

Tests use the command line only. They look from outside: at the run folders, git, the processes and the journal that
the fake job keeps (see `fake_job/model/__main__.py`).
"""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.processes import birth_of
from orchestrator.runs.folder import SET_ASIDE, RunFolder
from tests.builders.study_harness import Study, wait_for

MAX_ROUNDS = 20
TRACEBACK = "Traceback (most recent call last)"
GOOD_STATUSES = (0, 1, 130, -signal.SIGINT, -signal.SIGKILL, -signal.SIGTERM)
REFUSED = 2
"""Exit status of a command that refuses and says what is wrong with the machine."""
COMMAND_SECONDS = 120.0
HOLD_LOCK = """\
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(3600)
"""
Counts = Counter[str]


class Machine(Study):
    """A repository with a campaign, and all processes started for it; each carries a token in its environment."""

    def __init__(self, root: Path, epoch_seconds: float = 0.01) -> None:
        self.journal, self.log, token = root / "journal", root / "work.log", secrets.token_hex(8)
        self.token = f"FAULTS_TOKEN={token}"
        faults = {"FAULTS_JOURNAL": str(self.journal), "FAULTS_EPOCH_SECONDS": str(epoch_seconds)}
        super().__init__(root, FAULTS_TOKEN=token, **faults)
        self.slots = "2"
        """Always the same number: it sets the threads of a training, and these set the last bits of its numbers."""
        self.caches = [self.cache]
        self.good_statuses: tuple[int, ...] = GOOD_STATUSES
        """How a `work` may end."""
        self.counts: Counts = Counter()
        self.losses: list[str] = []
        self.works: list[subprocess.Popen[str]] = []
        self.excused: set[int] = set()
        """Process numbers of each `work` that may refuse, since a fault took away something that it needs."""
        self.bystanders: list[subprocess.Popen[bytes]] = []
        self.finished_lines: dict[str, list[bytes]] = {}
        self.forgotten: set[str] = set()
        """Runs that may have begun anew."""
        self.may_change: set[str] = set()
        """Runs whose finished epochs may differ once from those that were there."""
        self.failed: dict[str, str] = {}
        """Failed run -> its reason."""
        self.proxy: Any = None
        """The proxy before the database's server, where the queue is kept on one."""
        self.latest = "nothing"
        """The fault that happened last."""
        self._read_log = 0

    # ---- commands

    def start(
        self, *words: str, extra: Mapping[str, str] | None = None, stdout: Any = None, stderr: Any = None
    ) -> "subprocess.Popen[str]":
        """Start a command in the process group of a bystander, which a signal to that group would hurt."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(*words),
                cwd=self.repo,
                env={**self.environment, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                text=True,
                process_group=self.bystanders[0].pid if self.bystanders else None,
            )

    def start_work(self, extra: Mapping[str, str] | None = None, **options: Any) -> "subprocess.Popen[str]":
        """Start a `work`; one with more variables, or another output, is excused if it refuses to go on."""
        self.works.append(self.start("work", "--slots", self.slots, extra=extra, **options))
        if extra or options:
            self.excused.add(self.works[-1].pid)
        return self.works[-1]

    def knockout(self, *words: str, extra: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; it must print no traceback."""
        command, environment = self.command(*words), {**self.environment, **(extra or {})}
        try:
            done = subprocess.run(
                command, cwd=self.repo, env=environment, capture_output=True, text=True, check=False,
                timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self.lose(f"`knockout {' '.join(words)}` hung for {COMMAND_SECONDS:.0f} s")
            return subprocess.CompletedProcess(command, 124, "[]", "")
        self.find_tracebacks(done.stdout + done.stderr, f"`knockout {' '.join(words)}`")
        return done

    def may_refuse(self, *words: str, extra: Mapping[str, str] | None = None) -> str:
        """Run a command that may refuse in a sentence; return what it printed."""
        done = self.knockout(*words, extra=extra)
        if done.returncode not in (0, 1, REFUSED):
            self.lose(f"`knockout {' '.join(words)}` ended with status {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout + done.stderr

    # ---- `work`

    def keep_working(self, count: int) -> None:
        """Start `work` until `count` of them live."""
        while len(self.living_works()) < count:
            self.start_work()

    def living_works(self) -> "list[subprocess.Popen[str]]":
        for work in tuple(self.works):
            if work.poll() is not None:
                self.works.remove(work)
                allowed = (*self.good_statuses, REFUSED) if work.pid in self.excused else self.good_statuses
                if work.returncode not in allowed:
                    self.lose(f"`work` ended with status {work.returncode}: {self.log_tail()}")
        return self.works

    def excuse_all(self) -> None:
        """Let every present `work` refuse to go on: a fault takes away something that all of them need."""
        self.excused.update(work.pid for work in self.works)

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:]) if self.log.exists() else ""

    def wait_while_working(self, is_so: Callable[[], Any], count: int = 2) -> Any:
        """Wait until `is_so` returns a true value, and keep `count` `work` alive meanwhile."""

        def look() -> Any:
            self.keep_working(count)
            return is_so()

        return wait_for(look, "what `work` was to bring about")

    def wait_for(self, is_so: Callable[[], Any], what: str) -> Any:
        return wait_for(is_so, f"{what}; {self.log_tail()}")

    def must_end(self, work: "subprocess.Popen[str]", seconds: float, what: str) -> None:
        """Wait `seconds` for a `work` to end by itself; one that does not is a loss, and is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            work.wait(seconds)
        if work.poll() is None:
            self.lose(f"`work` is still there {seconds:.0f} s after {what}")
            work.kill()
            work.wait()

    def finish(self) -> None:
        """Start `work` until every run is done, as a user does; retry what a kill made fail."""
        wait_for(lambda: not self.living_works(), "every `work` ends")
        for _ in range(MAX_ROUNDS):
            self.look()
            if self.failed:
                self.knockout("retry", "--failed")
            done = self.knockout("work", "--slots", self.slots)
            self.counts["rounds to the end"] += 1
            if done.returncode not in (0, 1):
                self.lose(f"the last `work` ended with status {done.returncode}: {done.stdout}{done.stderr}")
            self.look()
            if {row["state"] for row in self.rows()} == {"done"}:
                return
        raise AssertionError(f"after {MAX_ROUNDS} rounds not every run is done: {self.rows()}; {self.losses}")

    # ---- processes

    def processes(self) -> list[int]:
        """Return every living process that carries the token of this machine."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self.token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def jobs(self) -> list[int]:
        """Return the jobs that hold a folder, by their open files: the content of `job.lock` may be wrong."""
        return [pid for pid in self.processes() if any(writes(pid, "job.lock"))]

    def standbys(self) -> list[int]:
        """Return the processes that fork jobs, without the jobs."""
        servers = [pid for pid in self.processes() if b"model.standby" in command_line(pid)]
        return [pid for pid in servers if parent_of(pid) not in servers]

    def kill(self, pids: list[int], name: str = "KILL") -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[f"SIG{name}"])

    def power_off(self) -> None:
        """Kill every process of the machine at once, as a power cut does."""
        killed = set[int]()
        while pids := self.processes():
            killed.update(pids)
            self.kill(pids)
        for work in self.works:
            work.wait()
        self.works.clear()
        # A killed process loses its environment before its files are closed: wait until it is gone.
        wait_for(lambda: all(birth_of(pid) is None for pid in killed), "killed processes are gone")

    def add_bystanders(self, count: int = 4) -> None:
        """Start innocent processes of the same user; the first one leads the process group of `work`."""
        self.bystanders = [self._start_bystander(number) for number in range(count)]

    def _start_bystander(self, number: int) -> "subprocess.Popen[bytes]":
        plain = {name: value for name, value in os.environ.items() if name != "FAULTS_TOKEN"}
        alone: dict[str, Any] = {"process_group": 0} if number == 0 else {"start_new_session": True}
        return subprocess.Popen(["sleep", "3600"], env=plain, **alone)

    def hold_lock(self, lock: Path) -> "subprocess.Popen[bytes]":
        """Start an innocent program that holds a lock, as a backup program may."""
        plain = {name: value for name, value in os.environ.items() if name != "FAULTS_TOKEN"}
        program = subprocess.Popen(
            [sys.executable, "-S", "-c", HOLD_LOCK, str(lock)],
            env=plain,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert program.stdout is not None
        with program.stdout:
            program.stdout.readline()
        return program

    def send_bystanders_home(self) -> None:
        for bystander in self.bystanders:
            bystander.kill()
            bystander.wait()

    # ---- what is true

    def lose(self, what: str) -> None:
        self.losses.append(f"after {self.latest}: {what}")

    def count_lines(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def may_begin_anew(self, folder: RunFolder) -> None:
        """Allow a run to begin anew once: a fault destroyed its checkpoint, or made it doubtful."""
        self.forgotten.add(folder.path.name)
        self.may_change.add(folder.path.name)
        with self.journal.open("a") as file:
            file.write(f"doubted {folder.path.name} 0 0\n")

    def look(self) -> None:
        """Check after a fault that finished epochs are still there, and that no innocent process was hurt."""
        for folder in self.folders():
            self._compare_epochs(folder)
            self._find_failure(folder)
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(self._read_log)
                said = file.read()
            self._read_log += len(said)
            self.find_tracebacks(said.decode(errors="replace"), "`work`")
        for number, bystander in enumerate(self.bystanders):
            if bystander.poll() is not None:
                self.counts["bystanders hurt"] += 1
                self.lose(f"an innocent process ended with status {bystander.returncode}")
                self.bystanders[number] = self._start_bystander(number)

    def _compare_epochs(self, folder: RunFolder) -> None:
        before = self.finished_lines.get(folder.path.name, [])
        now = folder.epochs.read_bytes().split(b"\n")[:-1] if folder.epochs.is_file() else []
        if now[: len(before)] != before and folder.path.name in self.may_change:
            self.may_change.remove(folder.path.name)
        elif now[: len(before)] != before and not self._are_set_aside(folder, before):
            self.counts["epochs lost"] += max(1, len(before) - len(now))
            self.lose(f"{folder.path.name}: had {len(before)} finished epochs, now {len(now)}")
        self.finished_lines[folder.path.name] = now

    def _are_set_aside(self, folder: RunFolder, lines: list[bytes]) -> bool:
        """Return whether the run folder keeps these lines in a file set aside after a fault changed the capture."""
        aside = folder.epochs.with_name(folder.epochs.name + SET_ASIDE)
        if folder.path.name not in self.forgotten or not aside.is_file():
            return False
        return aside.read_bytes().split(b"\n")[: len(lines)] == lines

    def _find_failure(self, folder: RunFolder) -> None:
        """Count a failed run as a loss: no fault is the run's own doing."""
        name = folder.path.name
        try:
            content = msgspec.json.decode(folder.result.read_bytes())
        except (OSError, msgspec.DecodeError):
            self.failed.pop(name, None)
            return
        if not isinstance(content, dict) or content.get("state") not in ("failed", "too_slow"):
            self.failed.pop(name, None)
        elif self.failed.get(name) != str(content.get("reason")):
            self.failed[name] = str(content.get("reason"))
            self.counts["false failures"] += 1
            lines = self.failed[name].splitlines()
            what = " ... ".join([lines[0], lines[-1]] if len(lines) > 1 else lines)
            self.lose(f"{name} is {content['state']} ({content.get('failure')}): {what}")

    def find_tracebacks(self, said: str, whose: str) -> None:
        if count := said.count(TRACEBACK):
            self.counts["tracebacks"] += count
            self.lose(f"{whose} printed a traceback: {said[said.index(TRACEBACK) :][-1500:]}")

    def picture(self) -> dict[str, object]:
        """Return the user's checkout: each file's bytes and time, HEAD, the index, and the status that git prints."""
        ours = {".git", "results", "reports", "data"}
        files = (file for path in self.repo.iterdir() if path.name not in ours for file in [path, *path.rglob("*")])
        content: dict[str, object] = {
            str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files if file.is_file()
        }
        git_files = {name: (self.repo / ".git" / name).read_bytes() for name in ("HEAD", "index", "config")}
        status = self.git("status", "--porcelain=v2", "--branch")
        return content | git_files | {"status": status, "main": self.git("rev-parse", "main")}

    def compare(self, before: dict[str, object]) -> None:
        """Count every change in the user's checkout since `before`."""
        after = self.picture()
        changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        self.counts["changes in the user's checkout"] += len(changed)
        if changed:
            self.lose(f"changed in the user's checkout: {changed}")


def command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def parent_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()[1])
    return 0


def writes(pid: int, name: str) -> list[str]:
    """Return the files of this name that a process has open for writing."""
    found = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                path = str(link.readlink())
                flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{link.name}").read_text())
                if Path(path).name == name and flags is not None and int(flags[1], 8) & os.O_ACCMODE:
                    found.append(path)
    return found


def sleep_for(seconds: float) -> None:
    """Let a fault last for some seconds; no assertion depends on how long."""
    time.sleep(seconds)
