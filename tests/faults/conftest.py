"""Machines for faults, and the counts of the faults and losses."""

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
from tests.faults.strangers import STRANGER_DEATHS
from tests.faults.table import MARKS, add_up, table_lines
from tests.faults.users import TeamMachine, needs_users, team_folder

CAMPAIGN = Path(__file__).with_name("experiments.yaml").read_text()
SHIPPED_CODE = """\
data: {emulate: {seed: 3, packets: 8, samples: 256}}
baseline: {optim: {epochs: 40, batch_size: 20}}
"""
"""What a training with the shipped code needs besides."""
PAGE = os.environ.get("FAULTS_PAGE")
"""The page into which a soak writes its table."""
DISK_BYTES = 64 * 2**20
FAULTS = "faults: "
"""Prefix of a campaign's name in the properties of a test's report, which also come from other processes."""


def make_repository_in_use(machine: Machine) -> None:
    """Make a repository whose checkout has a staged, a changed and a new file."""
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
    """Return a study in which six runs wait; tests work on copies."""
    return make_queued(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def short_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study in which two runs wait; tests work on copies."""
    return make_queued(tmp_path_factory.mktemp("short"), "baseline")


def lend(machine: Machine) -> Iterator[Machine]:
    """Start innocent processes beside a machine, and end all processes after the test."""
    machine.add_bystanders()
    yield machine
    machine.power_off()
    machine.send_bystanders_home()
    sys.stdout.write("\n".join(machine.losses))


def copy_study(queued_study: Path, machine: Machine) -> None:
    shutil.copytree(queued_study, machine.repo, symlinks=True)


@pytest.fixture
def machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which six runs of the fake job wait."""
    machine = Machine(tmp_path)
    copy_study(queued_study, machine)
    yield from lend(machine)


@pytest.fixture
def short_machine(short_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which two runs of the fake job wait."""
    machine = Machine(tmp_path)
    copy_study(short_study, machine)
    yield from lend(machine)


@pytest.fixture
def small_machine(machine: Machine) -> Iterator[Machine]:
    """Return a machine whose results lie on a small disk of their own."""
    with contextlib.ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(small_disk(machine, DISK_BYTES))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"only root may mount a small disk: {error}")
        yield machine


@pytest.fixture
def spaced_machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine whose commands each run in a name space of their own."""
    machine = SpacedMachine(tmp_path)
    copy_study(queued_study, machine)
    yield from lend(machine)


@pytest.fixture
def team_machine(queued_study: Path) -> Iterator[Machine]:
    """Return a machine on which two users run the commands."""
    if why := needs_users():
        pytest.skip(why)
    with team_folder() as folder:
        machine = TeamMachine(folder)
        copy_study(queued_study, machine)
        machine.share()
        yield from lend(machine)


@pytest.fixture
def served_machine(queued_study: Path, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine whose queue is a PostgreSQL database behind a proxy."""
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
    """Return a study with the shipped code and emulated captures, in which two runs wait."""
    machine = Machine(tmp_path_factory.mktemp("real"))
    machine.copy_model()
    machine.write_campaign(CAMPAIGN, SHIPPED_CODE)
    make_repository_in_use(machine)
    machine.must("queue", "add", "baseline", "E5", "--seeds", "1")
    return machine.repo


@pytest.fixture
def real_machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a machine that has no study yet."""
    yield from lend(Machine(tmp_path))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, Counts], None]:
    """Return a function that has the counts of a campaign printed after all tests."""

    def keep(name: str, counts: Counts) -> None:
        request.node.user_properties.append((f"{FAULTS}{name}", dict(counts)))

    return keep


STARTED = time.monotonic()


def pytest_configure() -> None:
    """Check at the start that the page can be written at the end."""
    if PAGE is not None:
        around_marks(Path(PAGE), MARKS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the faults and the losses."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    found: dict[str, Counts] = {}
    for key, counts in (entry for report in reports for entry in report.user_properties):
        if key.startswith(FAULTS):
            found[key] = add_up([found.get(key, Counts()), Counts(counts)])
    for name, counts in found.items():
        terminalreporter.section(name.removeprefix(FAULTS))
        for what, count in counts.items():
            terminalreporter.write_line(f"{what:72} {count:6}")
    if PAGE is not None and found:
        terminalreporter.section(f"written into {PAGE}")
        sys.stdout.flush()
        lines = table_lines((*ALL, STRANGER_DEATHS), add_up(found.values()), time.monotonic() - STARTED)
        publish(lines, Path(PAGE), MARKS)
