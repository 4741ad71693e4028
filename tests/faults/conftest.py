"""Machines to be hurt, and the counts of what was done to them."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.page import around_marks, publish
from tests.builders.fake_study import write_captures
from tests.faults.campaigns import ALL
from tests.faults.machine import Counts, Machine
from tests.faults.namespaces import SpacedMachine
from tests.faults.places import small_disk
from tests.faults.silence import forget_queue_file, needs_server, schema_behind_proxy
from tests.faults.table import MARKS, add_up, table_lines
from tests.faults.users import TeamMachine, needs_users, team_folder

CAMPAIGN = Path(__file__).with_name("experiments.yaml").read_text()
SHIPPED_CODE = """\
data: {emulate: {seed: 3, packets: 8, samples: 256}}
baseline: {optim: {epochs: 40, batch_size: 20}}
"""
"""What else a training with the code that is shipped asks for."""
PAGE = os.environ.get("FAULTS_PAGE")
"""The page that a soak writes its table into."""
DISK_BYTES = 64 * 2**20
FAULTS = "faults: "
"""Before the name of a campaign of faults, in what a test's report carries, from another process too."""


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


def make_queued(folder: Path, *words: str) -> Path:
    """Return a new study with the fake job, after `queue add` with these words."""
    machine = Machine(folder)
    machine.copy_fake_job()
    machine.write_campaign(CAMPAIGN)
    make_repository_in_use(machine)
    write_captures(machine, "LocA", "LocD")
    machine.must("queue", "add", *words)
    return machine.repo


@pytest.fixture(scope="session")
def queued_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose runs wait; tests work on copies."""
    return make_queued(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def short_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in which two runs wait; tests work on copies."""
    return make_queued(tmp_path_factory.mktemp("short"), "baseline")


def lend(machine: Machine) -> Iterator[Machine]:
    """Have innocent processes beside a machine, and end all of it at the end."""
    machine.add_bystanders()
    yield machine
    machine.power_off()
    machine.send_bystanders_home()
    sys.stdout.write("\n".join(machine.losses))


def copy_study(queued_study: Path, machine: Machine) -> None:
    shutil.copytree(queued_study, machine.repo, symlinks=True)


@pytest.fixture
def machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which six runs of the fake job wait."""
    machine = Machine(tmp_path)
    copy_study(queued_study, machine)
    yield from lend(machine)


@pytest.fixture
def short_machine(short_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which two runs of the fake job wait."""
    machine = Machine(tmp_path)
    copy_study(short_study, machine)
    yield from lend(machine)


@pytest.fixture
def small_machine(machine: Machine) -> Iterator[Machine]:
    """The same, with its results on a small disk of their own."""
    with contextlib.ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(small_disk(machine, DISK_BYTES))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"only root may mount a small disk: {error}")
        yield machine


@pytest.fixture
def spaced_machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """The same, with every command in a name space of its own."""
    machine = SpacedMachine(tmp_path)
    copy_study(queued_study, machine)
    yield from lend(machine)


@pytest.fixture
def team_machine(queued_study: Path) -> Iterator[Machine]:
    """The same, with two users whose commands they are."""
    if why := needs_users():
        pytest.skip(why)
    with team_folder() as folder:
        machine = TeamMachine(folder)
        copy_study(queued_study, machine)
        machine.share()
        yield from lend(machine)


@pytest.fixture
def served_machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """The same, with the queue in a PostgreSQL database behind a proxy."""
    if why := needs_server():
        pytest.skip(why)
    machine = Machine(tmp_path)
    copy_study(queued_study, machine)
    forget_queue_file(machine.repo / "results")
    with schema_behind_proxy() as (url, proxy):
        machine.environment["KNOCKOUT_DATABASE"], machine.proxy = url, proxy
        machine.must("queue", "add")
        yield from lend(machine)


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
    yield from lend(Machine(tmp_path))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, Counts], None]:
    """Have the counts of a campaign printed at the end."""

    def keep(name: str, counts: Counts) -> None:
        request.node.user_properties.append((f"{FAULTS}{name}", dict(counts)))

    return keep


STARTED = time.monotonic()


def pytest_configure() -> None:
    """Look at once whether the page can be written that is written at the end."""
    if PAGE is not None:
        around_marks(Path(PAGE), MARKS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was done, and what was lost."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    told: dict[str, Counts] = {}
    for key, counts in (entry for report in reports for entry in report.user_properties):
        if key.startswith(FAULTS):
            told[key] = add_up([told.get(key, Counts()), Counts(counts)])
    for name, counts in told.items():
        terminalreporter.section(name.removeprefix(FAULTS))
        for what, count in counts.items():
            terminalreporter.write_line(f"{what:72} {count:6}")
    if PAGE is not None and told:
        terminalreporter.section(f"written into {PAGE}")
        sys.stdout.flush()
        publish(table_lines(ALL, add_up(told.values()), time.monotonic() - STARTED), Path(PAGE), MARKS)
