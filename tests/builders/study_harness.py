"""A user's study: a folder with a small campaign, in most tests a git repository, and the command line in it.

`BASE` is the campaign. A test writes its own part as YAML, which is laid over `BASE`.
"""

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from ruamel.yaml import YAML

from orchestrator.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
KNOCKOUT = Path(sys.executable).parent / "knockout"
BASE = """\
campaign: tiny
title: Does focal loss help?
question: Tell ten emulated transmitters apart.
margin: 5.0
seeds: 2
data:
  emulate: {seed: 3, packets: 8, samples: 256}
  captures:
    LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 6]}
    LocA-val: {path: data/LocA.h5, devices: [0, 10], packets: [6, 8]}
    LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 8]}
  train: [LocA]
  validate: [LocA-val]
  report: [LocD]
  samples: 256
profiles:
  quick: {}
baseline:
  model: {dim: 16, depth: 1, num_heads: 2, head_dim: 8, mlp_multiple: 8}
  optim: {epochs: 2, batch_size: 20, learning_rate: 1e-3}
  runtime: {precision: fp32, compile: false}
experiments:
  E5:
    title: Focal loss
    group: optimisation
    hypothesis: Hard pairs need the gradient.
    change: {loss.kind: focal, loss.gamma: 2.0}
"""
IGNORED = "/data/\n/results\n/reports/\n__pycache__/\n"
NO_GIT_SETTINGS = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
POLL_SECONDS = 0.03
"""Time between two looks: one at all processes of a machine costs some milliseconds."""
FAKE_JOB = Path(__file__).with_name("fake_job")
FRONT_DOOR = (
    "__init__.py", "config", "endings.py", "files.py", "process.py", "standby.py", "train/__init__.py",
    "train/job_lock.py", "train/own_code.py", "train/run_folder.py", "studies/__init__.py",
    "studies/radio/__init__.py", "studies/radio/flags.py", "studies/radio/params.py", "studies/radio/task.py",
    "studies/radio/task.yaml",
)  # fmt: skip
"""What the fake job keeps of `model/`."""
FONTS = Path(matplotlib.get_cachedir())
"""Where matplotlib keeps its list of the machine's fonts."""
NO_BYTE_CODE = shutil.ignore_patterns("__pycache__")
WAIT_SECONDS = 300.0
"""Longest wait for something that must happen: a machine with other work is slow. Nothing is known by waiting alone."""


def wait_for(is_so: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Wait until `is_so` returns a true value, and return that value."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(POLL_SECONDS)
    return found


def merge(base: Any, over: Any) -> Any:
    """Lay `over` on `base`: mappings are merged key by key, any other value is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: merge(base.get(key), value) for key, value in over.items()}


class Study:
    """A study in a folder, with a cache beside it, and the commands that its user runs there."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.repo, self.cache = folder / "study", folder / "cache"
        self.git_settings = dict(NO_GIT_SETTINGS)
        quiet = {**self.git_settings, "XDG_CACHE_HOME": str(self.cache), "COLUMNS": "200"}
        # To list the machine's fonts takes seconds: one list serves all studies.
        quiet["MPLCONFIGDIR"] = str(FONTS)
        self.environment = {**os.environ, **quiet, **environment}
        self.environment.pop("KNOCKOUT_DATABASE", None)

    def write_campaign(self, *pieces: str) -> None:
        """Write a campaign made of pieces of YAML; each piece is laid over the earlier ones."""
        self.repo.mkdir(exist_ok=True)
        text = io.StringIO()
        YAML().dump(functools.reduce(merge, map(YAML(typ="safe").load, pieces)), text)
        (self.repo / "experiments.yaml").write_text(text.getvalue())

    def copy_model(self) -> None:
        """Give the study the code of the shipped job."""
        shutil.copytree(ROOT / "model", self.repo / "model", ignore=NO_BYTE_CODE)

    def copy_fake_job(self) -> None:
        """Give the study a job that keeps the contract of a run folder, starts at once and trains nothing."""
        for name in FRONT_DOOR:
            source, target = ROOT / "model" / name, self.repo / "model" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=NO_BYTE_CODE)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        shutil.copytree(FAKE_JOB, self.repo, dirs_exist_ok=True, ignore=NO_BYTE_CODE)

    def make_repository(self) -> None:
        """Make the folder a git repository; the first commit of `main` holds all its files."""
        (self.repo / ".gitignore").write_text(IGNORED)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("start")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        # A plain `git status` refreshes the index, and a test that looks must write nothing.
        quiet = {**os.environ, **self.git_settings, "GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.repo, env=quiet, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", message)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first `old` of a file."""
        path = self.repo / name
        text = path.read_text()
        assert old in text, f"{name} holds no {old!r}"
        path.write_text(text.replace(old, new, 1))

    def command(self, *words: str) -> list[str]:
        """Return the command line of a command."""
        return [str(KNOCKOUT), *words]

    def knockout(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = self.command(*words)
        return subprocess.run(
            command, cwd=self.repo, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def must(self, *words: str, status: int = 0) -> str:
        """Run a command that must end with this status; return what it printed."""
        done = self.knockout(*words)
        assert done.returncode == status, f"knockout {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *words: str) -> Any:
        """Return the answer of a command to `--json`."""
        return json.loads(self.must(*words, "--json"))

    def rows(self) -> list[dict[str, Any]]:
        """Return the row of each run in the queue."""
        rows: list[dict[str, Any]] = self.ask("status")
        return rows

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command and do not wait for its end."""
        output, command = subprocess.PIPE, self.command(*words)
        return subprocess.Popen(command, cwd=self.repo, env=self.environment, stdout=output, stderr=output, text=True)

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.repo / "results" / "runs"

    def folders(self) -> list[RunFolder]:
        """Return the run folders; a folder without a configuration is none."""
        folders = [RunFolder(path) for path in sorted(self.runs.iterdir())] if self.runs.exists() else []
        return [folder for folder in folders if folder.config.is_file()]

    def results(self) -> list[Path]:
        return [folder.result for folder in self.folders() if folder.result.exists()]


def make_study(folder: Path, *pieces: str, **environment: str) -> Study:
    """Return a study in a new repository: `BASE` with pieces of YAML laid over it, and the code of the shipped job."""
    study = Study(folder, **environment)
    study.copy_model()
    study.write_campaign(BASE, *pieces)
    study.make_repository()
    return study
