"""Builds `refusals.c`, and says by which variables a process loads it."""

import atexit
import functools
import shutil
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("refusals.c")


@functools.cache
def library() -> Path | str:
    """Return the library, built once for this process; or why it cannot be had."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "needs a C compiler"
    if not Path("/proc/self/fd").exists():
        return "needs Linux"
    built = Path(tempfile.mkdtemp(prefix="refusals-")) / "refusals.so"
    built.parent.chmod(0o755)
    atexit.register(shutil.rmtree, built.parent, ignore_errors=True)
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(built), str(SOURCE), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return built if done.returncode == 0 else f"{SOURCE.name} cannot be built: {done.stderr.splitlines()[:1]}"


def needs_library() -> str | None:
    """Say why calls cannot be made to fail here; None if they can."""
    found = library()
    return found if isinstance(found, str) else None


@dataclass
class Refusal:
    """Which calls on which files fail with which error, from when, how often and how long."""

    calls: str
    number: int
    path: str
    first: int = 1
    count: int = 1
    seconds: float = 30.0
    chance: int = 1000
    """Of the calls that may fail, in thousandths."""

    def __post_init__(self) -> None:
        self._counter = Path(tempfile.mkstemp(prefix="refused-", dir=Path(str(library())).parent)[1])
        self._counter.write_bytes(bytes(16))
        self._counter.chmod(0o666)
        self._until = time.monotonic() + self.seconds

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command that meets it."""
        return {
            "LD_PRELOAD": str(library()),
            "REFUSE_CALLS": self.calls,
            "REFUSE_ERRNO": str(self.number),
            "REFUSE_PATH": self.path,
            "REFUSE_FIRST": str(self.first),
            "REFUSE_COUNT": str(self.count),
            "REFUSE_CHANCE": str(self.chance),
            "REFUSE_SEED": str(self.first),
            "REFUSE_UNTIL": str(round(self._until)),
            "REFUSE_COUNTER": str(self._counter),
        }

    @property
    def is_over(self) -> bool:
        """Whether as many calls failed as were to, or its time is up."""
        return self.num_refused >= self.count or time.monotonic() >= self._until

    @property
    def num_refused(self) -> int:
        """How many calls failed."""
        return int(struct.unpack("<QQ", self._counter.read_bytes())[1])
