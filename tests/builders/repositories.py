"""A folder of somebody's scripts, and git in it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path


class Repository:
    """A folder of somebody's scripts, in a repository unless it is told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "experiments.yaml"

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: Mapping[str, str]) -> None:
        self.write(files)
        if not (self.root / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "a step")
