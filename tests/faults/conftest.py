"""A user's machine that dies again and again: a repository, its queue, and everything that may go wrong with them.

Only the command line is used. What is true afterwards is read from outside: from the run folders, from git, from the
processes of the machine, and from the journal that the fake job keeps (see `fake_job/model/__main__.py`).
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.run_folder import EpochRecord, Holder, RunFolder
from tests.study_harness import KNOCKOUT, ROOT, Study, wait_for

FRONT_DOOR = ("__init__.py", "config", "run_folder.py", "own_code.py", "standby.py")
"""What the fake job keeps of `model/`."""
CAMPAIGN = Path(__file__).with_name("experiments.yaml").read_text()
SHIPPED_CODE = """\
data: {emulate: {seed: 3, packets: 8, samples: 256}}
baseline: {optim: {epochs: 40, batch_size: 20}}
"""
"""What else a training with the code that is shipped asks for."""
MAX_ROUNDS = 20
QUEUED_BY_ADD = (".config.json.", ".order.json.")
Counts = Counter[str]


class Machine(Study):
    """A repository with a campaign, and all processes that ever came of it, which carry a token."""

    def __init__(self, root: Path) -> None:
        self.journal, token = root / "journal", secrets.token_hex(8)
        self.token = f"FAULTS_TOKEN={token}"
        faults = {"FAULTS_JOURNAL": str(self.journal), "FAULTS_EPOCH_SECONDS": "0.01"}
        super().__init__(root, FAULTS_TOKEN=token, **faults)
        self.slots = "2"
        """Always as many: they decide on the threads of a training, and those on the last bits of its numbers."""
        self.counts: Counts = Counter()
        self.losses: list[str] = []
        self.works: list[subprocess.Popen[str]] = []
        self.finished_lines: dict[str, list[bytes]] = {}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [str(KNOCKOUT), *words]
        with (self.repo.parent / "work.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.repo, env=self.environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )

    def start_work(self) -> "subprocess.Popen[str]":
        self.works.append(self.start("work", "--slots", self.slots))
        return self.works[-1]

    def keep_working(self, count: int) -> None:
        """Have so many `work` at once."""
        while len(self.living_works()) < count:
            self.start_work()

    def living_works(self) -> "list[subprocess.Popen[str]]":
        for work in tuple(self.works):
            if work.poll() is not None:
                self.works.remove(work)
                if work.returncode not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM):
                    self.lose(f"`work` ended with status {work.returncode}: {self.log_tail()}")
        return self.works

    def log_tail(self) -> str:
        log = self.repo.parent / "work.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else ""

    def lose(self, what: str) -> None:
        self.losses.append(what)

    def finish(self) -> None:
        """Do what a user does until every run is done: go on, and try again what a kill made fail."""
        wait_for(lambda: not self.living_works(), "every `work` ends")
        for _ in range(MAX_ROUNDS):
            self.knockout("retry", "--failed")
            done = self.knockout("work", "--slots", self.slots)
            self.counts["rounds to the end"] += 1
            if done.returncode not in (0, 1):
                self.lose(f"the last `work` ended with status {done.returncode}: {done.stdout}{done.stderr}")
            if {row["state"] for row in self.rows()} == {"done"}:
                return
        raise AssertionError(f"after {MAX_ROUNDS} rounds not every run is done: {self.rows()}")

    def processes(self) -> list[int]:
        """Return every process that came of this machine."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self.token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def jobs(self) -> list[Holder]:
        """Return the jobs that hold a folder."""
        return [holder for folder in self.folders() if folder.lock.exists() and (holder := folder.holder())]

    def count_lines(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait_while_working(self, is_so: Callable[[], Any], count: int = 2) -> Any:
        """Wait until something is so, with so many `work` going on; one that ends is started again."""

        def look() -> Any:
            self.keep_working(count)
            return is_so()

        return wait_for(look, "what two `work` were to bring about")

    def wait_for(self, is_so: Callable[[], Any], what: str) -> Any:
        return wait_for(is_so, f"{what}; {self.log_tail()}")

    def kill(self, pids: list[int], name: str = "KILL") -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[f"SIG{name}"])

    def power_off(self) -> None:
        """End everything at once, as when the power goes."""
        while pids := self.processes():
            self.kill(pids)
        for work in self.works:
            work.wait()
        self.works.clear()

    def look(self) -> None:
        """Whatever has just happened: what was finished before must still be there, to the byte."""
        for folder in self.folders():
            before = self.finished_lines.get(folder.path.name, [])
            now = folder.epochs.read_bytes().split(b"\n")[:-1] if folder.epochs.exists() else []
            if now[: len(before)] != before:
                self.counts["epochs lost"] += max(1, len(before) - len(now))
                self.lose(f"{folder.path.name}: had {len(before)} finished epochs, now {len(now)}")
            self.finished_lines[folder.path.name] = now

    def picture(self) -> dict[str, object]:
        """The user's checkout: every file to the byte, HEAD, the index, and what git says of it."""
        ours = {".git", "results", "reports"}
        files = (file for path in self.repo.iterdir() if path.name not in ours for file in [path, *path.rglob("*")])
        content: dict[str, object] = {
            str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files if file.is_file()
        }
        git_files = {name: (self.repo / ".git" / name).read_bytes() for name in ("HEAD", "index", "config")}
        status = self.git("status", "--porcelain=v2", "--branch")
        return content | git_files | {"status": status, "main": self.git("rev-parse", "main")}

    def compare(self, before: dict[str, object]) -> None:
        """The user's checkout must be what it was."""
        after = self.picture()
        changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        self.counts["changes in the user's checkout"] += len(changed)
        if changed:
            self.lose(f"changed in the user's checkout: {changed}")

    def check(self, before: dict[str, object]) -> None:
        """Compare what is there after the last `work` with what must be; every difference is a loss."""
        self.look()
        if self.journal.exists():
            self.check_journal()
        states = {row["id"]: row["state"] for row in self.rows()}
        for folder in self.folders():
            self._check_folder(folder, states.get(folder.path.name))
        self.compare(before)
        left = {
            "processes": wait_until_empty(self.processes),
            "worktrees": self.git("worktree", "list").splitlines()[1:],
            "folders in the cache": [str(path) for path in self.cache.glob("knockout/*/*")],
        }
        for what, found in left.items():
            self.counts[f"{what} left behind"] += len(found)
            if found:
                self.lose(f"{what}: {found}")
        self.counts["runs"] += len(states)
        for what in ("epochs lost", "epochs trained twice", "half-written files left behind"):
            self.counts[what] += 0
        self.counts["losses of any kind"] += len(self.losses)

    def _check_folder(self, folder: RunFolder, state: str | None) -> None:
        name, result, epochs = folder.path.name, folder.read_result(), folder.read_epochs()
        if result is None or result.state != "done" or state != result.state:
            self.lose(f"{name}: the queue says {state}, its folder says {result}")
        config = folder.read_config()
        if [epoch.epoch for epoch in epochs] != list(range(1, config.optim.epochs + 1)):
            self.lose(f"{name}: its epochs are {[epoch.epoch for epoch in epochs]}")
        # A `queue add` that was killed leaves its own: nobody can tell whether another one is writing.
        if left := [path.name for path in folder.path.glob(".*") if not path.name.startswith(QUEUED_BY_ADD)]:
            self.counts["half-written files left behind"] += len(left)
            self.lose(f"{name}: {left}")
        if self.journal.exists():
            self._check_numbers(name, config.seed, epochs)
        told = Counter(re.findall(r"^epoch (\d+):", folder.log.read_text(), re.MULTILINE))
        if twice := [epoch for epoch, times in told.items() if times > 1]:
            self.counts["epochs trained twice"] += len(twice)
            self.lose(f"{name}: its log tells of epochs {twice} more than once")
        self.counts["epochs finished"] += len(epochs)

    def _check_numbers(self, name: str, seed: int, epochs: list[EpochRecord]) -> None:
        digest = str(seed)
        for epoch in epochs:
            digest = hashlib.sha256(digest.encode()).hexdigest()
            if epoch.train_loss != int(digest[:8], 16) / 2**32:
                self.lose(f"{name}: epoch {epoch.epoch} has other numbers than a run that was never stopped")

    def check_journal(self) -> None:
        """Hold against each job's journal that no finished epoch was trained again, and that each run ended once."""
        finished: Counts = Counter()
        ended: set[str] = set()
        worker: dict[str, list[str]] = {}
        for kind, run, pid, number in map(str.split, self.journal.read_text().splitlines()):
            if kind in ("saved", "recorded"):
                finished[run] = max(finished[run], int(number))
            if kind == "trained" and int(number) <= finished[run]:
                self.counts["epochs trained twice"] += 1
                self.lose(f"{run}: epoch {number} was finished and trained again")
            if run in ended:
                self.lose(f"{run}: {kind} after its end")
            if kind == "ended":
                ended.add(run)
            if pid in (pids := worker.setdefault(run, [])) and pids[-1] != pid:
                self.lose(f"{run}: two jobs at once, {pids} and {pid}")
            if pid not in pids:
                pids.append(pid)


def wait_until_empty(look: Callable[[], list[Any]]) -> list[Any]:
    """Wait until nothing is left, and return what is."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not look(), "nothing is left")
    return look()


def copy_fake_job(repo: Path) -> None:
    for name in FRONT_DOOR:
        source, target = ROOT / "model" / name, repo / "model" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    fake = ROOT / "tests" / "faults" / "fake_job"
    shutil.copytree(fake, repo, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def make_repository_in_use(machine: Machine) -> None:
    """Make a repository whose checkout is in everyday disorder: staged, changed, and new."""
    repo = machine.repo
    (repo / "notes.md").write_text("as committed\n")
    (repo / "plan.md").write_text("as committed\n")
    machine.make_repository()
    (repo / "notes.md").write_text("staged\n")
    machine.git("add", "notes.md")
    (repo / "plan.md").write_text("changed\n")
    (repo / "idea.txt").write_text("half an idea\n")


@pytest.fixture(scope="session")
def queued_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose runs wait; tests work on copies."""
    machine = Machine(tmp_path_factory.mktemp("template"))
    copy_fake_job(machine.repo)
    machine.write_campaign(CAMPAIGN)
    make_repository_in_use(machine)
    (machine.repo / "data").mkdir()
    for name in ("LocA", "LocD"):
        (machine.repo / "data" / f"{name}.h5").write_bytes(name.encode())
    machine.must("queue", "add")
    return machine.repo


@pytest.fixture
def machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which six runs of the fake job wait."""
    machine = Machine(tmp_path)
    shutil.copytree(queued_study, machine.repo, symlinks=True)
    yield machine
    machine.power_off()


@pytest.fixture(scope="session")
def real_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose two runs wait, with the code that is shipped and emulated captures."""
    machine = Machine(tmp_path_factory.mktemp("real"))
    machine.copy_model()
    machine.write_campaign(CAMPAIGN, SHIPPED_CODE)
    make_repository_in_use(machine)
    machine.must("queue", "add", "baseline", "E5", "--seeds", "1")
    return machine.repo


@pytest.fixture
def real_machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without a study yet."""
    machine = Machine(tmp_path)
    yield machine
    machine.power_off()


FAULTS = "faults: "
"""Before the name of a campaign of faults, in what a test's report carries, from another process too."""


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, Counts], None]:
    """Have the counts of a campaign printed at the end."""

    def keep(name: str, counts: Counts) -> None:
        request.node.user_properties.append((f"{FAULTS}{name}", dict(counts)))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was done, and what was lost."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    totals: dict[str, Counts] = {}
    for key, counts in (entry for report in reports for entry in report.user_properties):
        if key.startswith(FAULTS):
            totals.setdefault(key.removeprefix(FAULTS), Counter()).update(counts)
    for name, counts in totals.items():
        terminalreporter.section(name)
        for what, count in counts.items():
            terminalreporter.write_line(f"{what:48} {count:6}")
