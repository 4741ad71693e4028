"""Gather the wheels that a GPU machine without a network needs: `python3 -m gpu.gather`, which `make gpu` calls.

They go to `.gpu/`, in the versions of constraints.txt. On a machine with a GPU the check runs at once.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu import check
from gpu.machine import WHEELS, find_card_problem

ROOT = Path(__file__).resolve().parents[1]
GATHERED = (
    "flash-linear-attention",
    "fla-core",
    "einops",
    "liger-kernel",
    "msgspec",
    "ruamel.yaml",
    "GitPython",
    "gitdb",
    "smmap",
    "SQLAlchemy",
    "greenlet",
    "optuna",
    "alembic",
    "Mako",
    "colorlog",
    "nvidia-ml-py",
    "markdown-it-py",
    "pytest-randomly",
)
"""Packages that a machine for trainings often lacks, with what they need."""
EXPECTED = (
    "torch",
    "triton",
    "transformers",
    "numpy",
    "scipy",
    "pandas",
    "h5py",
    "Jinja2",
    "matplotlib",
    "rich",
    "psutil",
    "pytest",
    "hypothesis",
)
"""Packages that the GPU machine has already; torch must be its own, built for its driver."""
GLIBC_MINORS = (28, 27, 24, 17)
"""Wheels for these versions of glibc 2, and older ones, run on any Linux of these years."""
PYTHON = re.compile(r"3\.\d+")
LEAVE_OUT = (".venv", "results", "reports")
"""Folders of this machine that the other one has no use for."""


@dataclass(frozen=True)
class Target:
    """The machine that the wheels are for: a Linux with glibc 2.28 or newer."""

    python: str
    """Its Python, such as 3.12."""
    machine: str
    """Its processor, such as x86_64."""

    def platforms(self) -> list[str]:
        """Return the names that pip has for it. Pure."""
        named = [f"manylinux_2_{minor}_{self.machine}" for minor in GLIBC_MINORS]
        return [*named, f"manylinux2014_{self.machine}"]


def normalize(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> dict[str, str]:
    """Read constraints: name, normalized, -> `name==version`. Pure."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {normalize(line.partition("==")[0]): line for line in lines if "==" in line}


def pin(names: Sequence[str], pins: Mapping[str, str]) -> list[str]:
    """Return the packages in their pinned versions, each once; what is not pinned comes in its newest version. Pure."""
    return list({normalize(name): pins.get(normalize(name), name) for name in names}.values())


def download_command(requirements: Sequence[str], target: Target, folder: Path) -> list[str]:
    """Return pip's command line that fetches wheels for another machine. Pure."""
    # Every platform that the machine takes, since pip knows only that of this machine by itself.
    platforms = [word for name in target.platforms() for word in ("--platform", name)]
    return [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
        *("--python-version", target.python, "--implementation", "cp", *platforms),
        *("--dest", str(folder), *requirements),
    ]


def gather(root: Path, target: Target, more: Sequence[str]) -> str | None:
    """Fetch the wheels into `.gpu/`, in place of earlier ones; return why they cannot be fetched, None if they are.

    Args:
        root: the project's folder.
        target: the machine that they are for.
        more: packages besides `GATHERED`.
    """
    requirements = pin([*GATHERED, *more], read_pins((root / "constraints.txt").read_text()))
    folder = root / WHEELS
    folder.mkdir(exist_ok=True)
    # Old wheels stay until all new ones are there.
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = download_command(requirements, target, Path(fresh))
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            return (
                f"pip cannot fetch the wheels for Python {target.python} on {target.machine}: {find_error(done.stderr)}"
            )
        for wheel in folder.glob("*.whl"):
            wheel.unlink()
        for wheel in Path(fresh).glob("*.whl"):
            wheel.rename(folder / wheel.name)
    return None


def find_error(printed: str) -> str:
    """Return the line of pip's output that names the package it did not find; its last line if none does. Pure."""
    lines = printed.strip().splitlines() or ["pip said nothing"]
    return next((line for line in lines if "No matching distribution" in line), lines[-1])


def describe_wheels(wheels: Sequence[Path], target: Target) -> str:
    """Return a sentence on what was gathered."""
    megabytes = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    return f"{len(wheels)} wheels in {WHEELS}/ for Python {target.python} on {target.machine}, {megabytes:.0f} MB"


def describe_next_steps() -> str:
    """Say what to copy to the GPU machine, and what to run there. Pure."""
    left_out = " ".join(f"--exclude=/{name}" for name in LEAVE_OUT)
    return (
        f"There is no GPU for torch here. Copy this folder, with {WHEELS}/, to the GPU machine. For example:\n"
        f"  rsync -a {left_out} ./ SERVER:knockout/\n"
        f"The GPU machine must have: {', '.join(EXPECTED)}. Run there, in the copy:\n"
        "  python3 -m gpu.check\n"
        "It takes about ten minutes. Its logs and a summary are in gpu-out/ then."
    )


def parse_python(text: str) -> str:
    """Read a version of Python such as 3.12.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not PYTHON.fullmatch(text):
        raise argparse.ArgumentTypeError(f"`{text}` is no version of Python; write it as 3.12")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status: 1 if the wheels cannot be fetched, else the check's, or 0."""
    parser = argparse.ArgumentParser(prog="python3 -m gpu.gather", description=__doc__.partition("\n")[0])
    own = "{}.{}".format(*sys.version_info)
    parser.add_argument("more", nargs="*", metavar="PACKAGE", help="a package that the GPU machine lacks besides")
    parser.add_argument("--python", type=parse_python, default=own, help="the GPU machine's Python (%(default)s)")
    parser.add_argument("--machine", default="x86_64", help="the GPU machine's processor (%(default)s)")
    options = parser.parse_args(arguments)
    target = Target(options.python, options.machine)
    if problem := gather(ROOT, target, options.more):
        print(problem, file=sys.stderr)
        return 1
    print(describe_wheels(sorted((ROOT / WHEELS).glob("*.whl")), target))
    if find_card_problem(os.environ) is None:
        return check.main([])
    print(describe_next_steps())
    return 0


if __name__ == "__main__":
    sys.exit(main())
