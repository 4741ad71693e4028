"""One process with everything imported, which forks a job for each request: a start costs milliseconds, not seconds.

`python -m model.standby` reads requests from its standard input, a JSON object a line, and answers on its standard
output: the number of the process that it forked, and later how that process ended. At the end of its input it leaves;
jobs under way go on by themselves.

CUDA is never touched before a fork, since no child could use it then; and nothing runs on several threads, since no
thread lives on in a child.
"""

import gc
import os
import select
import sys
from collections.abc import Iterator
from typing import NoReturn

import msgspec
import torch
from msgspec import Struct

from model.__main__ import main as do_job
from model.endings import status_of
from model.train.own_code import require_own_code


class Request(Struct, frozen=True, kw_only=True):
    """Start a job: the words of `python -m model`, where, and with which log and variables."""

    words: tuple[str, ...]
    folder: str
    log: str
    environment: dict[str, str]


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job was forked, or has ended with a status, negative for a signal."""

    pid: int
    status: int | None = None


def warm_up() -> None:
    """Import what a training would import only when it begins."""
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)
    torch.use_deterministic_algorithms(mode=torch.are_deterministic_algorithms_enabled())
    # What is here now never becomes garbage: a collection in a child would only copy the memory that it shares.
    gc.collect()
    gc.freeze()


def serve(source: int, answers: int) -> None:
    """Fork a job for each request that comes in at `source`, until its end; both are file descriptors.

    A child has a descriptor too, which becomes readable when it has ended: nobody has to look again and again.
    """
    children: dict[int, int] = {}
    lines = _Lines(source)
    while not lines.is_at_end:
        ready = select.select([source, *children], [], [])[0]
        for line in lines.read() if source in ready else ():
            pid = fork_job(msgspec.json.decode(line, type=Request))
            children[os.pidfd_open(pid)] = pid
            _say(answers, Answer(pid=pid))
        for ended in children.keys() & set(ready):
            os.close(ended)
            pid, status = os.waitpid(children.pop(ended), 0)
            _say(answers, Answer(pid=pid, status=os.waitstatus_to_exitcode(status)))


def fork_job(request: Request) -> int:
    """Fork a job; when its number is returned it has a session, so that it can be signalled with all it starts."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(told)
        become_job(request)
    os.close(told)
    os.read(heard, 1)  # ends when the child has closed its side
    os.close(heard)
    return pid


def become_job(request: Request) -> NoReturn:
    """Do a job in this process, as if it had been started by itself: own log, own folder, own variables."""
    status = 1
    try:
        # As any file that a program makes: the umask and the folder say who may read and write it.
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(target, number)
        os.chdir(request.folder)
        os.environ.update(request.environment)
        status = do_job(list(request.words))
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException as error:
        status = status_of(error) or status
        # Nobody is above to print it; the log is where a job's death is looked for.
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # whatever happens: a child must never go on as a second standby process


class _Lines:
    """Whole lines from a file descriptor."""

    def __init__(self, source: int) -> None:
        self.source, self.rest, self.is_at_end = source, b"", False

    def read(self) -> Iterator[bytes]:
        """Yield the lines that have come; it waits for something to come."""
        content = os.read(self.source, 65536)
        self.is_at_end = not content
        *lines, self.rest = (self.rest + content).split(b"\n")
        yield from lines


def _say(answers: int, answer: Answer) -> None:
    os.write(answers, msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    require_own_code()
    warm_up()
    serve(sys.stdin.fileno(), sys.stdout.fileno())
