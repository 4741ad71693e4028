"""A command as a process: its session, its status, and its death with its parent."""

import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.processes import read_stat
from orchestrator.supervisor.command import Command
from orchestrator.supervisor.log import open_log
from tests.builders.supervised import PYTHON, SLEEP, wait_until


def start(folder: Path, *arguments: str) -> Command:
    with open_log(folder / "log") as log:
        return Command(arguments, folder, {"PATH": os.environ["PATH"], "NAME": "a b"}, log)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -6 $$", -6)])
def test_its_status_is_read_without_taking_it(tmp_path: Path, script: str, status: int) -> None:
    command = start(tmp_path, "sh", "-c", script)
    wait_until(lambda: command.status() is not None)
    assert (command.status(), command.status()) == (status, status)
    command.close()


def test_its_output_and_errors_go_to_the_log_and_no_shell_reads_its_arguments(tmp_path: Path) -> None:
    script = "import os, sys; print(sys.argv[1], os.environ['NAME'], os.getcwd()); sys.exit('an error')"
    command = start(tmp_path, *PYTHON, script, "$HOME; *")
    wait_until(lambda: command.status() is not None)
    command.close()
    assert (tmp_path / "log").read_text() == f"$HOME; * a b {tmp_path}\nan error\n"


def test_it_leads_a_session_and_its_whole_group_hears_signals(tmp_path: Path) -> None:
    command = start(tmp_path, "sh", "-c", "sleep 60 & echo $!; wait")
    wait_until(lambda: (tmp_path / "log").read_text().endswith("\n"))
    child = int((tmp_path / "log").read_text())
    group, session = (read_stat(command.pid) or [""] * 4)[2:4]
    assert group == session == str(command.pid)
    command.signal_group(signal.SIGTERM)
    wait_until(lambda: command.status() == -signal.SIGTERM and (read_stat(child) or ["Z"])[0] == "Z")
    command.signal_group(signal.SIGTERM)
    command.close()


def test_closing_ends_what_is_left_of_its_group(tmp_path: Path) -> None:
    command = start(tmp_path, "sh", "-c", "sleep 60 & echo $!")
    wait_until(lambda: command.status() == 0)
    child = int((tmp_path / "log").read_text())
    command.close()
    wait_until(lambda: (read_stat(child) or ["Z"])[0] == "Z")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        start(tmp_path, *PYTHON, f"import os; print(os.getpid()); {SLEEP}")
        signal.pause()
        os._exit(0)
    wait_until(lambda: "up" in ((tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""))
    child = int((tmp_path / "log").read_text().split()[0])
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: (read_stat(child) or ["Z"])[0] == "Z")


def test_a_program_that_is_not_there_is_a_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(tmp_path, "no-such-program")
