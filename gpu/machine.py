"""What a GPU machine has, and what the check makes of it: the card, packages, wheels, a git repository.

`python3 -m gpu.machine` prints names and versions.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

WHEELS = ".gpu"
"""Folder of the wheels, in the project's folder."""
QUESTION_SECONDS = 60.0
"""Longest wait for git, nvidia-smi, and the import of torch."""
ASK_TORCH = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"
MODULES = {
    "torch": "torch",
    "triton": "triton",
    "flash-linear-attention": "fla",
    "liger-kernel": "liger_kernel",
    "transformers": "transformers",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "h5py": "h5py",
    "Jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "rich": "rich",
    "psutil": "psutil",
    "pytest": "pytest",
    "hypothesis": "hypothesis",
    "msgspec": "msgspec",
    "ruamel.yaml": "ruamel.yaml",
    "GitPython": "git",
    "SQLAlchemy": "sqlalchemy",
    "greenlet": "greenlet",
    "optuna": "optuna",
    "nvidia-ml-py": "pynvml",
    "markdown-it-py": "markdown_it",
}
"""Package -> its module: what the steps import."""


def find_card_problem(variables: Mapping[str, str]) -> str | None:
    """Ask torch for a GPU, in a process of its own; return why there is none, None if there is one."""
    try:
        done = ask([sys.executable, "-c", ASK_TORCH], Path.cwd(), variables)
    except subprocess.TimeoutExpired:
        return f"the import of torch was still at work after {QUESTION_SECONDS:g} s"
    if done.returncode == 0:
        return None
    # torch is there and answers. Any other status means that it could not be imported.
    if done.returncode == 3:
        return "torch sees no CUDA GPU here"
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    return f"{sys.executable} cannot import torch ({said[-1]}); use the Python that has torch with CUDA"


def ask(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a short command and return what it said.

    Raises:
        subprocess.TimeoutExpired: it was still at work after `QUESTION_SECONDS`.
    """
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, cwd=folder, env=variables,
        stdin=subprocess.DEVNULL, timeout=QUESTION_SECONDS,
    )  # fmt: skip


def find_missing_wheels(wheels: Sequence[Path], places: Sequence[str]) -> list[Path]:
    """Return the wheels that are not installed in their version.

    Args:
        wheels: files such as `msgspec-0.22.0-cp312-cp312-manylinux_2_17_x86_64.whl`.
        places: folders where packages may be installed.
    """

    def is_installed(wheel: Path) -> bool:
        # A wheel's name begins with package and version; neither holds a dash.
        name, version, *_ = wheel.name.split("-")
        return version in {found.version for found in metadata.distributions(name=name, path=list(places))}

    return [wheel for wheel in wheels if not is_installed(wheel)]


def install_command(wheels: Sequence[Path], site: Path) -> list[str]:
    """Return pip's command line that installs wheels into a folder, without an index. Pure."""
    options = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
    return [sys.executable, "-m", "pip", "install", *options, "--target", str(site), *map(str, wheels)]


def install_wheels(root: Path) -> str | None:
    """Install the wheels of `.gpu/` that are missing; return what went wrong, None if nothing did."""
    wheels, site = sorted((root / WHEELS).glob("*.whl")), root / WHEELS / "site"
    # Only what is missing: the card is lent for minutes, and pip takes a second a wheel.
    missing = find_missing_wheels(wheels, [str(site), *sys.path])
    if not missing:
        return None
    done = subprocess.run(install_command(missing, site), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return None
    said = (done.stderr + done.stdout).strip().splitlines() or ["pip said nothing"]
    wanted = ".".join(map(str, sys.version_info[:2]))
    return (
        f"the wheels in {root / WHEELS} cannot be installed ({said[-1]}); "
        f"gather them for this Python where there is an index: `make gpu GPU_PYTHON={wanted}`"
    )


def make_repository(root: Path) -> str | None:
    """Make a git repository of a copy that is none; return a sentence if git cannot, None if there is one."""
    commit = ["git", "-c", "user.name=knockout", "-c", "user.email=knockout@localhost", "commit", "-qm", "A copy"]
    try:
        if ask(["git", "rev-parse", "HEAD"], root).returncode == 0:
            return None
        for command in (["git", "init", "-q", "."], ["git", "add", "-A"], commit):
            done = ask(command, root)
            if done.returncode != 0:
                said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
                return f"`{' '.join(command[:2])}` failed ({said[-1]}); runs use a copy of the code, without branches"
    except FileNotFoundError:
        return "git is not installed; runs use a copy of the code, without branches"
    except subprocess.TimeoutExpired as error:
        return f"git was still at work after {error.timeout:g} s; runs may fail for want of a commit"
    return None


def describe_machine() -> int:
    """Print the card, Python and versions; return 1 if a package is missing, else 0."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        print(ask(query, Path.cwd()).stdout.strip() or "nvidia-smi names no GPU")
    except (FileNotFoundError, subprocess.TimeoutExpired):
        print("nvidia-smi is not here, or does not answer")
    missing = [name for name, module in MODULES.items() if not is_there(module)]
    versions = [f"{name} {find_version(name)}" for name in MODULES if name not in missing]
    print(f"Python {sys.version.split()[0]}, {', '.join(versions)}")
    if missing:
        print(f"not installed here: {', '.join(missing)}")
        print(f"gather them where there is an index: make gpu MORE='{' '.join(missing)}'")
    return 1 if missing else 0


def is_there(module: str) -> bool:
    """Whether a module can be found; it is not imported, but the package that holds it is."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def find_version(package: str) -> str:
    """Return the version of an installed package; vendors' builds may have another name, and so none here."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    sys.exit(describe_machine())
