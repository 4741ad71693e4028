"""Runs commands as runs: `python -m orchestrator.launch.supervisors RUN_FOLDER`.

Without a folder it is a standby: it reads requests from its standard input, one JSON object a line, and forks a
supervisor for each. It answers on its standard output with the number of the forked process, and later with its exit
status. It ends at the end of its input; supervisors under way go on without it. The protocol is that of the standby of
jobs (see `forked`). A supervisor so needs no imports, which take most of the time of its start.
"""

import gc
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import Struct

from orchestrator.reading.live import read_table
from orchestrator.reading.presets import build_reader
from orchestrator.reading.progress import LogFollower, Row
from orchestrator.supervisor.launch_file import Progress, ProgressFile
from orchestrator.supervisor.supervise import supervise

BROKEN = 70
"""Exit status of a supervisor that has a bug; the worker then settles the run by it (EX_SOFTWARE)."""
BLOCK_BYTES = 2**16


class RunReaders:
    """What the patterns and tables of a task mean."""

    def follow_log(self, progress: Progress, attempt: int) -> LogFollower:
        """Return what reads the log of one attempt."""
        return LogFollower([build_reader(text) for text in progress.patterns], attempt, progress.step or None)

    def read_table(self, source: ProgressFile, path: Path) -> Sequence[Row]:
        """Return the rows of a file that may still be written."""
        return read_table(source.kind, path, source.step)


class Request(Struct, frozen=True, kw_only=True):
    """A supervisor to start: its run folder, where it works, its log and further variables."""

    words: tuple[str]
    folder: str
    log: str
    environment: dict[str, str] = {}


def run(path: Path) -> int:
    """Run the command of a run folder's `launch.json`; return the exit status, which `supervise` explains."""
    # The command works in another folder, so a relative path would mean another place there.
    return supervise(path.absolute(), RunReaders())


def serve(source: int, answers: int) -> None:
    """Fork a supervisor for each request from `source`, until its end; both are file descriptors."""
    children: dict[int, int] = {}
    rest = b""
    while True:
        ready = select.select([source, *children], [], [])[0]
        if source in ready:
            content = os.read(source, BLOCK_BYTES)
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                pid = fork(msgspec.json.decode(line, type=Request))
                children[os.pidfd_open(pid)] = pid
                _say(answers, {"pid": pid})
            if not content:
                return
        for ended in children.keys() & set(ready):
            os.close(ended)
            pid, status = os.waitpid(children.pop(ended), 0)
            _say(answers, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def fork(request: Request) -> int:
    """Fork a supervisor and return its number, once it leads its own session: a signal then reaches it alone."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(told)
        os.close(heard)
        become_supervisor(request)
    os.close(told)
    # The pipe's end tells that `setsid` is done. Without it a signal to the new group could come too early.
    os.read(heard, 1)
    os.close(heard)
    return pid


def become_supervisor(request: Request) -> NoReturn:
    """Run a command in this forked process."""
    status = BROKEN
    try:
        # The supervisor has the log as its own output: a sentence without a result must stand where people look.
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(target, number)
        os.chdir(request.folder)
        os.environ.update(request.environment)
        status = run(Path(request.words[0]))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # a child must never go on as a second standby


def _say(answers: int, answer: Mapping[str, int]) -> None:
    os.write(answers, msgspec.json.encode(answer) + b"\n")


def main(words: Sequence[str]) -> int:
    """Supervise one run, or serve requests if no folder is named; return the exit status."""
    if words:
        return run(Path(words[0]))
    # A signal to the terminal's group ends no supervisor: its worker asks it to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    # Nothing loaded so far becomes garbage. A collection in a child would only copy the memory that it shares.
    gc.freeze()
    serve(sys.stdin.fileno(), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
