"""A stranger's script as the code of a task; names and hashes of code, worked out anew from what lies on the disk."""

import hashlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.code.sources import find_code
from orchestrator.code.steps import BranchContent, CodeStep
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
CODE = ("train.py", "lib", ":!lib/docs")
FILES = {
    "train.py": "import lib.net\n",
    "run.sh": "echo done\n",
    "lib/net.py": "width = 1\n",
    "lib/docs/notes.md": "no code\n",
    "conf/base.yaml": "lr: 1\n",
}


def blob_of(content: bytes, length: int = 40) -> str:
    """Return git's name of a content."""
    make = hashlib.sha1 if length == 40 else hashlib.sha256
    return make(f"blob {len(content)}\0".encode() + content).hexdigest()


def hash_code_folder(folder: Path, length: int = 40) -> str:
    """Return the hash of the code in `model/` of a folder: of a line `BLOB PATH` for each file, sorted by path."""
    paths = (path for path in (folder / "model").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    blobs = {path.relative_to(folder).as_posix(): blob_of(path.read_bytes(), length) for path in paths}
    return hashlib.sha256(os.fsencode("".join(f"{blobs[path]} {path}\n" for path in sorted(blobs)))).hexdigest()


def content(steps: tuple[CodeStep, ...] = ()) -> BranchContent:
    """Return what the branch of the experiment `E5` is made of."""
    return BranchContent(experiment="E5", steps=steps, message="E5", spec=b"{}")


def ordered(paths: Paths, *steps: CodeStep) -> OrderedCode:
    """Return the script's code as it is queued."""
    return find_code(paths, snapshot=False, code=CODE).commit(content(steps), NOW)


def without_git(paths: Paths, folder: Path) -> Paths:
    """Return the paths of a copy of a campaign's folder outside any repository."""
    copy = shutil.copytree(paths.root, folder / "plain", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return Paths(copy)
