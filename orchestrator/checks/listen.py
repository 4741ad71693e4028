"""Runs in the Python of a checked command, 3.8 or newer: writes down which files are opened and what is imported.

A copy of it, `sitecustomize.py`, is in a folder of its own on PYTHONPATH. So every Python that the command starts loads
it. This file imports the standard library alone, and nothing of Knockout.

Each line of the file that it writes is one letter, a tab, and a text:

- `r`: the path of a file or folder that is read.
- `m`: the same, but nothing is there.
- `w`: the path of a file that is opened to write.
- `i`: seconds of all imports, and the names of the imported packages that are no part of Python, each after a blank.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import time
from _thread import get_ident
from typing import Any

VARIABLE = "KNOCKOUT_OPENED"
"""Environment variable with the path of the file that takes the lines."""
NAME = "sitecustomize"
"""The module that Python imports by itself when it starts."""
READ, MISSING, WRITE, IMPORTED = "r", "m", "w", "i"
FOLDER_EVENTS = ("os.listdir", "os.scandir")
GAP_SECONDS = 2.0
"""Longest time between two imports that belong together; what takes longer is work of the script."""
PACKAGES = ("site-packages", "dist-packages")
"""Folders of packages that are installed."""
WRITES = os.O_WRONLY | os.O_RDWR


class Listener:
    """Hears of every opened file and every import of one process."""

    def __init__(self, target: str) -> None:
        self.target = target
        # What lies in Python's own folders is no data, and hundreds of such files are opened at each start.
        own = (sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__))
        self.own_folders = tuple({os.path.join(os.path.abspath(folder), "") for folder in own})
        self.seen: set[str] = set()
        self.busy: set[int] = set()
        self.import_seconds = 0.0
        self.last_import = time.monotonic()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one event of the interpreter."""
        if event == "import":
            self.count_import()
            return
        # Looking at a path, and writing a line, are events too.
        if (event != "open" and event not in FOLDER_EVENTS) or get_ident() in self.busy:
            return
        self.busy.add(get_ident())
        try:
            self.take(event, arguments)
        except (OSError, ValueError, TypeError):  # an error here would be raised in the script
            return
        finally:
            self.busy.discard(get_ident())

    def count_import(self) -> None:
        """Add the time since the import before."""
        now = time.monotonic()
        gap, self.last_import = now - self.last_import, now
        if gap <= GAP_SECONDS:
            self.import_seconds += gap

    def take(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Write down what is opened."""
        path = arguments[0]
        # A number is a file that is open already; nothing stands for the working folder.
        if isinstance(path, int) or path is None:
            return
        whole = os.path.abspath(os.fsdecode(path))
        if whole.startswith(self.own_folders):
            return
        if event == "open" and is_write(arguments[1], arguments[2]):
            self.write(WRITE, whole)
        else:
            self.write(READ if os.path.exists(whole) else MISSING, whole)

    def write(self, kind: str, text: str) -> None:
        """Add a line, once."""
        line = kind + "\t" + text
        if line in self.seen or "\n" in text or "\0" in text:
            return
        self.seen.add(line)
        # Opened for each line: a script may close every file that it did not open.
        descriptor = os.open(self.target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, os.fsencode(line + "\n"))
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Add the line about imports, at the end of the process."""
        names = sorted({name.partition(".")[0] for name, module in list(sys.modules.items()) if is_installed(module)})
        self.write(IMPORTED, " ".join([f"{self.import_seconds:.3f}", *names]))


def is_write(mode: object, flags: object) -> bool:
    """Whether a file is opened to write, by the mode of `open` or the flags of `os.open`."""
    by_mode = isinstance(mode, str) and any(sign in mode for sign in "wax+")
    return by_mode or (isinstance(flags, int) and bool(flags & WRITES))


def is_installed(module: object) -> bool:
    """Whether a module belongs to a package that is installed, and not to Python or to the script."""
    path = getattr(module, "__file__", None)
    return isinstance(path, str) and any(folder in path.split(os.sep) for folder in PACKAGES)


def import_next() -> None:
    """Import the `sitecustomize` that this one hides, if there is one."""
    own, mine = os.path.dirname(os.path.abspath(__file__)), sys.modules.pop(NAME, None)
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != own]
    try:
        importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            raise
        # Python expects the module that it imports to be there afterwards.
        if mine is not None:
            sys.modules[NAME] = mine


def main() -> None:
    """Listen from now on."""
    target = os.environ.get(VARIABLE)
    if target:
        listener = Listener(target)
        sys.addaudithook(listener.hear)
        atexit.register(listener.finish)
    import_next()


if __name__ == NAME:
    main()
