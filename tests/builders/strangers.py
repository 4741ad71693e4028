"""Another user of the machine, who has no rights to some files."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65_534


@contextlib.contextmanager
def denied(*paths: Path) -> Iterator[None]:
    """Run as a user who may not read these paths, but everything beside them; root becomes nobody."""
    modes = {path: path.stat().st_mode & 0o7777 for path in paths}
    for path in paths:
        path.chmod(0)
    try:
        with as_nobody():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user without rights: root becomes nobody, another user stays the same."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def open_to_all(root: Path) -> None:
    """Let everybody read and write a folder and everything in it."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
