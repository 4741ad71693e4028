"""Faults that stop everything: the disk, the queue's file, the clock, the code. The message says what to do next."""

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import places
from tests.faults.inspection import inspect

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
DISK_BYTES = 8 * 2**20


@pytest.fixture
def small_disk(machine: Any) -> Iterator[Path]:
    """Put the results on a small disk of their own."""
    with contextlib.ExitStack() as until_the_end:
        try:
            results = until_the_end.enter_context(places.small_disk(machine, DISK_BYTES))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"only root may mount a small disk: {error}")
        yield results


@pytest.fixture(autouse=True)
def counted(machine: Any, request: pytest.FixtureRequest, tell: Any) -> Iterator[None]:
    """Have the counts of a test printed after all tests."""
    yield
    name = request.node.name.removeprefix("test_").replace("_", " ")
    tell("one fault at a time, fake job", machine.counts | {name: 1})


def settle(machine: Any, before: dict[str, object]) -> None:
    """Finish every run, and check that nothing was lost."""
    machine.look()
    machine.finish()
    inspect(machine, before)
    assert not machine.losses, "\n".join(machine.losses)


def said_by(machine: Any, work: "subprocess.Popen[str]") -> str:
    """Wait until a `work` has ended by itself; return what it printed."""
    machine.wait_for(lambda: work.poll() is not None, "`work` ends by itself")
    machine.works.remove(work)
    said = str(machine.log_tail())
    assert work.returncode in (1, 2, 130), said
    assert "Traceback" not in said, said
    return said


def test_a_full_disk_stops_the_work_and_costs_nothing(machine: Any, small_disk: Path) -> None:
    before = machine.picture()
    work = machine.start_work()
    machine.wait_while_working(lambda: machine.count_lines() > 50, count=1)
    filler = places.fill(small_disk)
    assert "full" in said_by(machine, work)
    filler.unlink()
    settle(machine, before)


def test_results_that_cannot_be_written_are_told_and_cost_nothing(machine: Any, small_disk: Path) -> None:
    before = machine.picture()
    machine.wait_while_working(lambda: machine.count_lines() > 50)
    machine.power_off()
    places.mount("-o", "remount,ro", str(small_disk))
    assert "cannot be written" in said_by(machine, machine.start_work())
    places.mount("-o", "remount,rw", str(small_disk))
    settle(machine, before)


@pytest.mark.parametrize("content", [b"", b"no database", None], ids=["emptied", "overwritten", "cut in half"])
def test_a_queue_that_is_spoilt_is_made_again(machine: Any, content: bytes | None) -> None:
    before = machine.picture()
    machine.wait_while_working(lambda: machine.count_lines() > 50)
    if content is not None:
        machine.power_off()
    database = machine.repo / "results" / "knockout.db"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2] if content is None else content)
    for work in tuple(machine.works):
        machine.wait_for(lambda work=work: work.poll() is not None, "`work` ends by itself")
    machine.power_off()
    assert "Traceback" not in machine.log_tail()
    if content:
        assert "`knockout rebuild`" in machine.knockout("work").stderr
    machine.must("rebuild")
    settle(machine, before)


def test_a_queue_that_another_program_locks_is_waited_for(machine: Any) -> None:
    before = machine.picture()
    machine.wait_while_working(lambda: machine.count_lines() > 50)
    with contextlib.closing(sqlite3.connect(machine.repo / "results" / "knockout.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        # Jobs go on and end while nobody can write into the queue.
        num_results = len(machine.results())
        machine.wait_for(lambda: len(machine.results()) >= num_results + 2, "jobs end without the queue")
        other.rollback()
    settle(machine, before)


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime, to set the clock of some processes only")
def test_a_clock_that_is_set_back_changes_nothing(machine: Any) -> None:
    """Heartbeats and file times lie three days ahead, and one `work` still has that clock."""
    before, true_clock = machine.picture(), dict(machine.environment)
    # libfaketime moves monotonic time too, or Python could not sleep. So a process keeps its clock to its end.
    machine.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+3d"}
    machine.wait_while_working(lambda: machine.count_lines() > 50)
    machine.kill([machine.works[0].pid])
    machine.environment = true_clock
    machine.wait_for(lambda: len(machine.living_works()) == 1, "one `work` is gone")
    count = machine.count_lines()
    machine.wait_while_working(lambda: machine.count_lines() > count + 100)
    settle(machine, before)


def test_code_that_git_has_thrown_away_is_told_and_queued_again(machine: Any) -> None:
    """The user deletes every branch and lets git collect what nothing names."""
    for branch in machine.git("for-each-ref", "--format=%(refname:short)", "refs/heads/experiment").split():
        machine.git("branch", "-D", branch)
    machine.git("reflog", "expire", "--expire=now", "--all")
    machine.git("gc", "--quiet", "--prune=now")
    before = machine.picture()
    said = said_by(machine, machine.start_work())
    assert "is not in the repository; queue the run again with `knockout queue add`" in said
    machine.must("queue", "add")
    settle(machine, before)
