"""Commands that are forked with modules imported differ in nothing else from commands that start by themselves."""

import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.launch.forked import Launcher
from orchestrator.launch.supervisors import RunReaders
from orchestrator.processes import STANDBY_MARK, birth_of, run_mark
from orchestrator.runs.states import RunState
from orchestrator.supervisor.launch_file import LaunchFile, write_launch
from orchestrator.supervisor.preloaded import ROOM, is_of_one_run, server_environment, split_python
from tests.builders.supervised import LOG_LINES, Stranger, a_stranger, wait_until

PYTHON = (sys.executable, "-S")
TELLS = """
import json, multiprocessing, os, signal, sys
import helpers
told = {
    "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "name": __name__, "file": __file__,
    "imported": sorted({"wave", "colorsys"} & set(sys.modules)), "seen": dict(os.environ),
    "group": os.getpgrp() == os.getpid(), "fds": sorted(os.listdir("/proc/self/fd")),
    "main": sys.modules["__main__"].__dict__ is globals(), "stdin": sys.stdin.read(), "helper": helpers.NAME,
    "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler, "modules": len(sys.modules),
    "environ": open("/proc/self/environ", "rb").read().decode().split("\\0"),
}
print("told " + json.dumps(told))
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with a_stranger(tmp_path) as found:
        (found.checkout / "helpers.py").write_text("NAME = 'beside the script'\n")
        yield found


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


Preloader = Callable[..., LaunchFile]


@pytest.fixture
def order(stranger: Stranger, launcher: Launcher) -> Preloader:
    """Return what writes a script and the `launch.json` that has it forked."""

    def order(
        script: str, *words: str, python: tuple[str, ...] = PYTHON, modules: tuple[str, ...] = ("wave",)
    ) -> LaunchFile:
        (stranger.checkout / "train.py").write_text(textwrap.dedent(script))
        launch = LaunchFile(
            checkout=str(stranger.checkout),
            arguments=(*python, "train.py", *words),
            environment={"PYTHONUNBUFFERED": "1", "KNOCKOUT_SEED": "3"},
            progress=LOG_LINES,
            grace_seconds=1.0,
        )
        place = launcher.find_preload(modules, launch)
        assert place
        launch = LaunchFile(**{name: getattr(launch, name) for name in launch.__struct_fields__} | {"preload": place})
        write_launch(stranger.folder.launch, launch)
        return launch

    return order


def told(stranger: Stranger) -> dict[str, object]:
    (line,) = [line for line in stranger.log().splitlines() if line.startswith("told ")]
    content: dict[str, object] = json.loads(line.removeprefix("told "))
    return content


def supervise(stranger: Stranger) -> int:
    return stranger.wait(stranger.start(RunReaders()))


def test_a_script_finds_what_it_finds_when_it_starts_by_itself(stranger: Stranger, order: Preloader) -> None:
    launch = order(TELLS, "--lr=1", "-x")
    assert supervise(stranger) == 0, stranger.log()
    forked = told(stranger)
    stranger.folder.log.unlink()
    stranger.folder.result.unlink()
    write_launch(
        stranger.folder.launch,
        LaunchFile(**{name: getattr(launch, name) for name in launch.__struct_fields__} | {"preload": ""}),
    )
    assert supervise(stranger) == 0, stranger.log()
    alone = told(stranger)
    assert (forked.pop("imported"), alone.pop("imported")) == (["wave"], [])
    assert alone.pop("modules") != forked.pop("modules")
    environ = forked.pop("environ")
    assert isinstance(environ, list)
    assert f"KNOCKOUT_RUN={run_mark(stranger.folder.path)}" in environ
    assert not any(STANDBY_MARK in entry for entry in environ)
    del alone["environ"]
    assert len(str(forked.pop("fds"))) <= len(str(alone.pop("fds"))) + 10
    assert forked == alone
    assert forked["argv"] == ["train.py", "--lr=1", "-x"]


def test_a_module_is_run_as_one(stranger: Stranger, order: Preloader) -> None:
    order("print('told', __name__, __spec__.name, __import__('sys').argv[1:])", python=(*PYTHON, "-m"))
    launch = stranger.folder.launch.read_text().replace('"train.py"', '"train"')
    stranger.folder.launch.write_text(launch)
    assert supervise(stranger) == 0, stranger.log()
    assert "told __main__ train []" in stranger.log()


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("raise SystemExit(3)", "with exit status 3", ""),
        ("raise SystemExit('no such layer')", "with exit status 1", "no such layer"),
        ("1 / 0", "with exit status 1", "ZeroDivisionError"),
        ("import os; os.abort()", "by signal SIGABRT", ""),
        ("import a_module_that_is_not_there", "with exit status 1", "No module named 'a_module_that_is_not_there'"),
    ],
)
def test_an_end_is_what_it_would_be(stranger: Stranger, order: Preloader, script: str, status: str, said: str) -> None:
    order(script, modules=("a_module_that_is_not_there",))
    assert supervise(stranger) == 1
    assert f"the command ended {status}" in stranger.result().reason
    assert said in stranger.log()


def test_what_is_registered_for_the_end_is_done(stranger: Stranger, order: Preloader) -> None:
    order(
        """
        import atexit, sys, threading, time
        atexit.register(print, "at the end")
        threading.Thread(target=lambda: (time.sleep(0.1), print("of a thread"))).start()
        sys.stdout.write("no end of line")
        """
    )
    assert supervise(stranger) == 0
    assert stranger.log().splitlines()[0] == "no end of lineof a thread"
    assert "at the end" in stranger.log()


def test_what_nobody_closed_is_written_and_what_nobody_freed_is_freed(stranger: Stranger, order: Preloader) -> None:
    (stranger.checkout / "mine.py").write_text("kept = open('of-a-module.txt', 'w')\nkept.write('a module')\n")
    order(
        """
        import ctypes, sys, wave
        import mine
        class Ends:
            def __init__(self, name): self.name, self.again = name, self
            def __del__(self): print("freed", self.name)
        text = open("of-the-script.txt", "w")
        text.write("a script")
        wave.borrowed = open("of-the-server.txt", "wb")
        wave.borrowed.write(b"a server")
        alone, mine.ends = Ends("alone"), Ends("by a module")
        ctypes.CDLL(None).printf(b"of C\\n")
        def work():
            local = Ends("of a call")
            sys.exit(0)
        work()
        """
    )
    assert supervise(stranger) == 0, stranger.log()
    written = {path.name: path.read_text() for path in stranger.checkout.glob("of-*.txt")}
    assert written == {"of-a-module.txt": "a module", "of-the-script.txt": "a script", "of-the-server.txt": "a server"}
    assert sorted(line for line in stranger.log().splitlines() if line.startswith("freed")) == [
        *("freed alone", "freed by a module", "freed of a call"),
    ]
    assert "of C" in stranger.log().splitlines()


def test_the_end_clears_no_module_of_the_server(stranger: Stranger, order: Preloader) -> None:
    (stranger.checkout / "held.py").write_text(
        "class Held:\n    def __del__(self):\n        print('cleared')\nthing = Held()\n"
    )
    order("print('up')", modules=("held",), python=(sys.executable, "-S"))
    assert supervise(stranger) == 0, stranger.log()
    assert "up" in stranger.log()
    assert "cleared" not in stranger.log()


@pytest.mark.parametrize(("code", "status"), [("None", 0), ("0", 0), ("True", 1), ("-1", 255), ("256", 0)])
def test_a_number_of_an_exit_is_what_it_would_be(stranger: Stranger, order: Preloader, code: str, status: int) -> None:
    order(f"import sys; sys.exit({code})")
    supervise(stranger)
    assert f"exit status {status}" in stranger.result().reason


SLEEPS = "import time; print('up'); time.sleep(60)"


def test_it_is_asked_to_stop(stranger: Stranger, order: Preloader) -> None:
    order(SLEEPS)
    pid = stranger.start(RunReaders())
    wait_until(lambda: "up" in stranger.log())
    os.kill(pid, signal.SIGTERM)
    assert stranger.wait(pid) == 130
    assert "asked to stop; the command ended by signal SIGTERM" in stranger.log()
    assert stranger.marked() == []


def test_its_mark_finds_it_and_its_children(stranger: Stranger, order: Preloader) -> None:
    order(f"import os; os.fork() or os.setsid(); {SLEEPS}")
    pid = stranger.start(RunReaders())
    wait_until(lambda: stranger.log().count("up") == 2)
    assert len(set(stranger.marked()) - {pid}) == 2
    os.kill(pid, signal.SIGTERM)
    stranger.wait(pid)
    assert stranger.marked() == []


def test_it_ends_with_its_supervisor(stranger: Stranger, order: Preloader) -> None:
    order(SLEEPS)
    pid = stranger.start(RunReaders())
    wait_until(lambda: "up" in stranger.log())
    (command,) = set(stranger.marked()) - {pid}
    os.kill(pid, signal.SIGKILL)
    stranger.wait(pid)
    wait_until(lambda: birth_of(command) is None)


def test_it_ends_with_the_process_that_forked_it_and_the_run_can_go_on(
    stranger: Stranger, order: Preloader, launcher: Launcher
) -> None:
    order(SLEEPS)
    pid = stranger.start(RunReaders())
    wait_until(lambda: "up" in stranger.log())
    (preload,) = launcher._preloads.values()
    preload._process.kill()
    assert stranger.wait(pid) == 69
    assert stranger.folder.read_result() is None
    assert stranger.marked() == []


def test_it_goes_on_when_the_worker_leaves(stranger: Stranger, order: Preloader, launcher: Launcher) -> None:
    order("import os, time; print('up')\nwhile os.path.exists('wait'): time.sleep(0.01)")
    (stranger.checkout / "wait").touch()
    pid = stranger.start(RunReaders())
    wait_until(lambda: "up" in stranger.log())
    (preload,) = launcher._preloads.values()
    launcher.close()
    assert preload.is_alive()
    (stranger.checkout / "wait").unlink()
    assert stranger.wait(pid) == 0
    assert stranger.result().state == RunState.DONE
    wait_until(lambda: not preload.is_alive())


def test_where_nobody_answers_it_starts_by_itself(stranger: Stranger, order: Preloader, launcher: Launcher) -> None:
    order(TELLS)
    launcher.close()
    assert supervise(stranger) == 0, stranger.log()
    assert told(stranger)["imported"] == []


def test_commands_of_one_python_and_environment_share_a_process(order: Preloader, launcher: Launcher) -> None:
    launch = order(SLEEPS)
    assert launcher.find_preload(("wave",), launch) == launch.preload
    assert launcher.find_preload(("wave", "colorsys"), launch) != launch.preload
    assert launcher.find_preload(("wave",), LaunchFile(checkout="/", arguments=("sh", "-c", "x"))) == ""


def test_a_start_is_faster_than_its_imports(stranger: Stranger, order: Preloader) -> None:
    (stranger.root / "slow").mkdir()
    order("print('up')", modules=("email.mime.text",))
    supervise(stranger)
    begun = time.monotonic()
    stranger.folder.result.unlink()
    assert supervise(stranger) == 0
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("arguments", "python", "words"),
    [
        (("python", "train.py", "-u"), 1, ("train.py", "-u")),
        (("python", "-u", "-BE", "train.py"), 3, ("train.py",)),
        (("python", "-m", "pkg.train", "--lr=1"), 1, ("-m", "pkg.train", "--lr=1")),
    ],
)
def test_a_command_is_split(arguments: tuple[str, ...], python: int, words: tuple[str, ...]) -> None:
    split = split_python(arguments)
    assert split is not None
    assert (split.python, split.words) == (arguments[:python], words)


@pytest.mark.parametrize("words", [("-c", "print()"), ("-W", "error", "train.py"), ("-X", "dev", "t.py"), ("-m",), ()])
def test_what_cannot_be_forked(words: tuple[str, ...]) -> None:
    assert split_python(("python", *words)) is None


def test_what_names_a_run_is_no_part_of_the_process_that_forks() -> None:
    variables = {"KNOCKOUT_SEED": "1", "PWD": "/", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1"}
    assert server_environment(variables) == {"OMP_NUM_THREADS": "1", "KNOCKOUT_RUN": ROOM}
    assert is_of_one_run("KNOCKOUT_PARAMS")
