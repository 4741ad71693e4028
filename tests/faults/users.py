"""Kinds of faults: two users share a study, by a group, `umask 002` and folders with setgid."""

import contextlib
import functools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.runs.folder import RunFolder
from tests.builders.study_harness import KNOCKOUT
from tests.faults.kinds import Kinds
from tests.faults.machine import COMMAND_SECONDS, Machine, sleep_for
from tests.faults.storm import Storm

USERS = Kinds("two users share a study")
GROUP = 61_100
PEOPLE = (61_001, 61_002)
PRIVATE, SHARED = 0o077, 0o002


OPEN = """\
if [ -n "$1" ]; then
    mount --bind "$2" "$3" && mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir "$2" && mount --bind "$3" "$2" || exit 99
fi
umask "$4"; shift 4; exec "$@"
"""
"""Runs a command in mounts of its own, where the interpreter's folder is open although a folder above it is closed."""


def as_user(person: int, umask: int, aside: Path) -> list[str]:
    """Return the words before a command that run it as another user."""
    path = Path(sys.executable).resolve()
    closed_folder = next(
        (folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None
    )
    places = ["", "", ""]
    if closed_folder is not None:
        places = [str(closed_folder), str(closed_folder / path.relative_to(closed_folder).parts[0]), str(aside)]
    user = ["setpriv", f"--reuid={person}", f"--regid={GROUP}", "--clear-groups"]
    return ["unshare", "--mount", "sh", "-c", OPEN, "sh", *places, f"{umask:03o}", *user]


@functools.cache
def needs_users() -> str | None:
    """Return why this machine cannot act as two users; None if it can."""
    if os.geteuid() != 0:
        return "only root may act as two users"
    if missing := [name for name in ("unshare", "setpriv") if shutil.which(name) is None]:
        return f"needs `{missing[0]}`"
    with team_folder() as folder:
        command = [*as_user(PEOPLE[0], SHARED, folder), str(KNOCKOUT), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return None if done.returncode == 0 else f"another user cannot reach the package: {done.stderr.strip()}"


class TeamMachine(Machine):
    """A machine on which each command is run by one of two users."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.umask = SHARED
        self.person = PEOPLE[0]
        self.aside = root / "aside"
        self.aside.mkdir()
        settings = root / "gitconfig"
        settings.write_text("[safe]\n\tdirectory = *\n")
        self.git_settings = {**self.git_settings, "GIT_CONFIG_GLOBAL": str(settings)}
        self.environment |= self.git_settings
        del self.environment["MPLCONFIGDIR"]  # another user cannot write there
        self.caches = []
        for person in PEOPLE:
            home = root / f"home-{person}"
            home.mkdir()
            os.chown(home, person, GROUP)
            self.caches.append(home / "cache")

    def command(self, *words: str) -> list[str]:
        return [*as_user(self.person, self.umask, self.aside), *super().command(*words)]

    def become(self, person: int) -> None:
        """Run the next commands as this user."""
        self.person = person
        home = self.repo.parent / f"home-{person}"
        self.environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}

    def become_other(self) -> None:
        self.become(next(person for person in PEOPLE if person != self.person))

    def share(self) -> None:
        """Give the study to the first user and the group."""
        self.git("config", "core.sharedRepository", "group")
        for path in (self.repo, *self.repo.rglob("*")):
            if not path.is_symlink():
                os.chown(path, PEOPLE[0], GROUP)
                mode = path.stat().st_mode | stat.S_IRGRP | stat.S_IWGRP
                path.chmod(mode | stat.S_IXGRP | stat.S_ISGID if path.is_dir() else mode)
        self.journal.touch()
        self.journal.chmod(0o666)
        self.become(PEOPLE[0])

    def finish(self) -> None:
        """Finish every run as each user in turn, so that each removes their own left-overs."""
        self.umask = SHARED
        for person in PEOPLE:
            self.become(person)
            super().finish()


@contextlib.contextmanager
def team_folder() -> Iterator[Path]:
    """Return a folder that other users can reach; they cannot reach the folders of pytest."""
    with tempfile.TemporaryDirectory(prefix="team-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def team(storm: Storm) -> TeamMachine:
    assert isinstance(storm.machine, TeamMachine)
    return storm.machine


@USERS.kind("another user goes on", "everything of A is killed, B works on A's runs", needs=needs_users, weight=2)
def go_on_as_other(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    storm.machine.power_off()
    team(storm).become_other()
    storm.go_on()


@USERS.kind("another's `work` dead, its job alive", "SIGKILL to A's `work`, B works", needs=needs_users, weight=2)
def work_beside_orphan(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    storm.machine.kill([work.pid for work in storm.machine.works])
    team(storm).become_other()
    storm.go_on()


@USERS.kind("both users at once", "one `work` of each", needs=needs_users)
def work_together(storm: Storm) -> None:
    for _ in range(2):
        team(storm).become_other()
        storm.machine.start_work()
    storm.go_on()


@USERS.kind("another's `work` is asked to stop", "B calls `stop`, `retry`, `gc` while A works", needs=needs_users)
def ask_as_other(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    team(storm).become_other()
    storm.machine.may_refuse(*storm.random.choice((("stop",), ("retry", "--failed"), ("gc",), ("status",))))


@contextlib.contextmanager
def closed(paths: list[Path], owner: int) -> Iterator[None]:
    """Let only the owner use these files and folders."""
    before = [(path, path.lstat()) for path in paths]
    for path, found in before:
        os.chown(path, owner, GROUP)
        path.chmod(stat.S_IMODE(found.st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
    try:
        yield
    finally:
        for path, found in before:
            with contextlib.suppress(FileNotFoundError):
                path.chmod(stat.S_IMODE(found.st_mode))


@USERS.kind("another's folder is closed", "0700 for a run folder, B works on; opened later", needs=needs_users)
def close_folder(storm: Storm) -> None:
    folder: RunFolder = storm.pick_unfinished()
    owner = team(storm).person
    team(storm).become_other()
    with closed([folder.path], owner):
        storm.machine.may_refuse(
            *storm.random.choice((("status",), ("queue", "list"), ("retry", "--failed"), ("stop",)))
        )
        storm.machine.start_work()
        storm.machine.excuse_all()
        sleep_for(storm.random.uniform(1.0, 3.0))
    with contextlib.suppress(subprocess.TimeoutExpired):
        storm.machine.works[-1].wait(COMMAND_SECONDS if storm.random.random() < 0.1 else 1.0)


@USERS.kind("results that a user may not write", "the group may only read; allowed later", needs=needs_users)
def forbid_writing(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    storm.machine.power_off()
    team(storm).become_other()
    results = storm.machine.repo / "results"
    others = [path for path in (results, *results.rglob("*")) if path.stat().st_uid != team(storm).person]
    modes: dict[Path, Any] = {path: path.stat().st_mode for path in others}
    for path in others:
        path.chmod(stat.S_IMODE(modes[path]) & ~(stat.S_IWGRP | stat.S_IWOTH))
    work = storm.machine.start_work()
    storm.machine.excuse_all()
    with contextlib.suppress(subprocess.TimeoutExpired):
        work.wait(4.0)
    storm.machine.may_refuse("status")
    for path, mode in modes.items():
        with contextlib.suppress(FileNotFoundError):
            path.chmod(stat.S_IMODE(mode))


@USERS.kind("a user's umask of 077", "A works so that B cannot read it; B works; opened later", needs=needs_users)
def work_in_private(storm: Storm) -> None:
    machine = team(storm)
    machine.power_off()
    machine.umask = PRIVATE
    machine.become(machine.person)
    storm.go_on()
    machine.umask = SHARED
    machine.become_other()
    machine.start_work()
    machine.excuse_all()
    machine.may_refuse("status")
    sleep_for(storm.random.uniform(0.5, 2.0))
    machine.power_off()
    for path in ((results := machine.repo / "results"), *results.rglob("*"), *(machine.repo / ".git").rglob("*")):
        mode = path.stat().st_mode
        path.chmod(stat.S_IMODE(mode) | (0o070 if path.is_dir() else 0o060))
