"""Forks Python scripts from one process that has modules imported: `python preload.py DESCRIPTOR MODULE...`.

It runs in the interpreter of the user's script: one file, the standard library alone, Python 3.8 or newer. It takes
connections from a Unix socket that listens already. Each connection is one command: a line of JSON with its words,
folder, log and environment. It answers with a line that holds the number of the process, and with another one that
holds how it ended. A connection that closes before that ends the command: its supervisor is gone. At the end of its own
input no more connections are taken, and it leaves once the last command has ended.

This process never starts a thread, because a child inherits none, and never touches a GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from pathlib import Path
from typing import Any

MARK = "KNOCKOUT_RUN"
"""The variable that marks the processes of a run. Its value here is long enough for that of any run."""
PR_SET_PDEATHSIG = 1
"""Number of the request to Linux for a signal at the parent's death (prctl(2))."""
MAX_REQUEST_BYTES = 2**22
HAS_OWN_PATH = not (sys.flags.isolated or getattr(sys.flags, "safe_path", False))
"""Whether Python puts the folder of the script, or the working folder, in front of where it looks for modules."""


class Child:
    """A command under way. Its number is kept until its supervisor has closed the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.rest = b""
        self.pid = 0
        self.has_ended = False

    def answer(self, **told: int) -> None:
        """Tell its supervisor a number."""
        # If that is gone, the closed connection says so next.
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(told).encode() + b"\n")


def serve(listener: socket.socket, source: int) -> dict[str, Any] | None:
    """Take connections until the end of `source`. Returns None there, and in each child the request that it runs."""
    children: dict[int, Child] = {}
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    is_open = True
    while is_open or children:
        waited = [wakes, *children, *([listener.fileno(), source] if is_open else [])]
        ready = select.select(waited, [], [])[0]
        if wakes in ready:
            os.read(wakes, 4096)
            tell_ends(children)
        if is_open and source in ready and not os.read(source, 4096):
            is_open = False
        if is_open and listener.fileno() in ready:
            connection = listener.accept()[0]
            children[connection.fileno()] = Child(connection)
        for number in [number for number in ready if number in children]:
            request = hear(children, number)
            if request is not None and fork(children[number]):
                leave_server(children, listener, (wakes, wake))
                return request
    return None


def tell_ends(children: dict[int, Child]) -> None:
    """Tell each supervisor whose command has ended, how. The status is read without taking it."""
    for child in children.values():
        if child.pid and not child.has_ended:
            found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                child.has_ended = True
                child.answer(status=found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)


def hear(children: dict[int, Child], number: int) -> dict[str, Any] | None:
    """Read from a connection; return its request once that is whole. A closed connection ends its command."""
    child = children[number]
    try:
        content = child.connection.recv(65536)
    except OSError:
        content = b""
    child.rest += content
    if content and len(child.rest) <= MAX_REQUEST_BYTES:
        line, found, _ = child.rest.partition(b"\n")
        if not found or child.pid:
            return None
        request: dict[str, Any] = json.loads(line)
        return request
    if child.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    child.connection.close()
    del children[number]
    return None


def fork(child: Child) -> bool:
    """Fork a command; return whether this is the new process."""
    parent = os.getpid()
    heard, told = os.pipe()
    child.pid = os.fork()
    if child.pid:
        os.close(told)
        # The pipe's end tells that the child leads its own session: a signal to its group would come too early before.
        os.read(heard, 1)
        os.close(heard)
        child.answer(pid=child.pid)
        return False
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        os._exit(69)
    os.close(heard)
    os.close(told)
    return True


def leave_server(children: dict[int, Child], listener: socket.socket, pipe: tuple[int, int]) -> None:
    """Close in a child what belongs to the server, and hear signals as any program does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    listener.close()
    for child in children.values():
        child.connection.close()
    for end in pipe:
        os.close(end)


def become(request: dict[str, Any]) -> None:
    """Take the log, the folder, the environment and the mark of a command."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((nothing, log, log)):
        os.dup2(target, number)
    os.close(log)
    os.close(nothing)
    os.chdir(request["folder"])
    write_mark(request["environment"][MARK])
    os.environ.clear()
    os.environ.update(request["environment"])


def write_mark(mark: str) -> None:
    """Write the mark where the system shows the environment that this process was started with.

    The system shows that memory and not what Python has changed since. The value there is long enough.
    """
    find = ctypes.CDLL(None).getenv
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    place, room = find(MARK.encode()), len(os.environ[MARK])
    content = os.fsencode(mark)
    if place and len(content) <= room:
        ctypes.memmove(place, content.ljust(room, b"\0"), room)


def run(words: list[str]) -> None:
    """Run a script or, after `-m`, a module, as the interpreter would."""
    if words[0] == "-m":
        sys.argv = words[1:]
        if HAS_OWN_PATH:
            sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    # Since Python 3.9 the script is named by its whole path.
    script = words[0] if sys.version_info < (3, 9) else str(Path(words[0]).absolute())
    sys.argv = words
    if HAS_OWN_PATH:
        sys.path.insert(0, str(Path(script).resolve().parent))
    code = compile(Path(script).read_bytes(), script, "exec")
    # A module of that name is what libraries look for, for instance to start workers.
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=script, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def run_to_end(words: list[str], imported: frozenset[str]) -> None:
    """Run a script, and end as the interpreter would. An error ends it in the interpreter's own way."""
    status = 0
    try:
        run(words)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        status = end.code or 0
    try:
        leave(status, imported)
    except OSError:  # the log cannot be written: the interpreter tries again, and has a status for that
        sys.exit(status)


def leave(status: int, imported: frozenset[str]) -> None:
    """End this process without clearing the modules that it was forked with: that takes longer than a start.

    It does all else that the interpreter does at its end. It waits for threads and calls what is registered. Then it
    frees the script's own objects, and writes what is left in buffers.
    """
    vars(threading)["_shutdown"]()  # it has no public name
    atexit._run_exitfuncs()
    # Twice, since what is freed may write too.
    flush_files()
    drop_modules(imported)
    flush_files()
    ctypes.CDLL(None).fflush(None)
    os._exit(status & 0xFF)


def flush_files() -> None:
    """Write what is left of the output, and of files that nobody has closed.

    Raises:
        OSError: the output cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    for thing in gc.get_objects():
        if type(thing) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            with contextlib.suppress(OSError, ValueError):
                thing.flush()


def drop_modules(imported: frozenset[str]) -> None:
    """Free the script and the modules that it imported itself, and so what only they hold."""
    own = [name for name in sys.modules if name not in imported or name == "__main__"]
    for module in map(sys.modules.pop, own):
        # After `-m`, the server's own main module has its place again.
        if isinstance(module, types.ModuleType) and module.__dict__ is not globals():
            clear_module(module)
    gc.collect()


def clear_module(module: types.ModuleType) -> None:
    """Forget the names of a module as the interpreter does: private ones first."""
    names = [name for name in module.__dict__ if name != "__builtins__"]
    for name in sorted(names, key=lambda name: not name.startswith("_")):
        module.__dict__[name] = None


def main(descriptor: int, modules: list[str]) -> None:
    """Import, and serve. Who connects before waits for the imports."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if HAS_OWN_PATH:
        # The folder of this file. Modules of the user's code differ from run to run, so none is imported here.
        del sys.path[0]
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:  # the script says so itself, in its own log
            continue
    # Nothing loaded so far becomes garbage. A collection in a child would only copy the memory that it shares.
    gc.collect()
    gc.freeze()
    request = serve(listener, sys.stdin.fileno())
    if request is not None:
        become(request)
        run_to_end(request["words"], frozenset(sys.modules))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
