"""A stranger's repository with one of the scripts of `tests/flows/strangers`, and the command line in it."""

import csv
import hashlib
import os
import random
import shutil
import sys
from pathlib import Path

from tests.builders.study_harness import NO_BYTE_CODE, ROOT, Study

STRANGERS = ROOT / "tests" / "flows" / "strangers"
IGNORED = "data/\nresults/\nreports/\n"


class StrangerRepo(Study):
    """The repository of a script, its data beside it, which git ignores."""

    def __init__(self, folder: Path, name: str) -> None:
        # The words `python3` and `torchrun` of a command mean the programs of these tests.
        super().__init__(folder, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        shutil.copytree(STRANGERS / name, self.repo, ignore=NO_BYTE_CODE)
        if name == "argparse":
            self._make_points()
        (self.repo / ".gitignore").write_text(IGNORED)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("start")

    def _make_points(self) -> None:
        chance = random.Random(5)
        for name, number in (("train.csv", 200), ("test.csv", 120)):
            (self.repo / "data").mkdir(exist_ok=True)
            with (self.repo / "data" / name).open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["x", "y", "label"])
                for _ in range(number):
                    label = chance.randrange(2)
                    writer.writerow([chance.gauss(label, 1.0), chance.gauss(0.7 * label, 1.0), label])

    def stamp(self) -> dict[str, str]:
        """Return the hash of each file of the user's checkout and of the index, and what `git status` says."""
        files = [path for path in sorted(self.repo.rglob("*")) if path.is_file() and _is_users(path, self.repo)]
        hashes = {str(path.relative_to(self.repo)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return hashes | {"status": self.git("status", "--porcelain=v2", "--branch", "--ignored=no")}


def _is_users(path: Path, root: Path) -> bool:
    first, *rest = path.relative_to(root).parts
    return first not in ("results", "reports") and (first != ".git" or rest == ["index"])
