"""The longest tests begin first, so that no process is left alone with one at the end. Tests can be interrupted."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.answers import ask_nobody_twice

ROOT = Path(__file__).parent
LONG = (ROOT / "flows", ROOT / "faults")
"""Folders of tests that train, or that kill trainings."""

# A shell starts `make test &` with interrupts ignored, and every process that a test starts inherits this. Without
# this line, a test that interrupts a process would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests in front and keep their random order."""
    items.sort(key=lambda item: item.path.parent not in LONG)


def ran_nothing(config: pytest.Config, exitstatus: int) -> bool:
    """Whether a mark was asked for, such as `-m cuda`, and all its tests were skipped."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly or not config.option.markexpr:
        return False
    return exitstatus == 0 and bool(reporter.stats.get("skipped")) and not reporter.stats.get("passed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Skipped tests are no success of a mark: end with pytest's status for no test, and say so in the last line."""
    nothing = ran_nothing(session.config, exitstatus)
    if nothing:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
    yield
    if nothing:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        number = len(reporter.stats["skipped"])
        reporter.write_line(f"no test ran: all {number} tests of `-m {session.config.option.markexpr}` were skipped")


@pytest.fixture(scope="session", autouse=True)
def answers_here() -> Iterator[None]:
    """Answer questions to the radio study in this process. The tests of `ask` start processes of their own code."""
    with pytest.MonkeyPatch.context() as patch:
        ask_nobody_twice(patch.setattr)
        yield


@pytest.fixture
def heeded() -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP raise an interrupt, also where `nohup` started the tests and ignores SIGHUP."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
