"""A stranger's repository with a campaign file that is checked, and small scripts that do what strangers' do."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.campaign.source import Source
from orchestrator.checks.check import Checked, CheckOptions, check_campaign
from orchestrator.checks.findings import Finding
from tests.builders.repositories import Repository

TRAINS = """\
import argparse
import random

from net import width

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()
random.seed(args.seed)
scale = float(open("data/scale.txt").read())
for epoch in range(args.epochs):
    print(f"epoch {epoch}: val loss {scale * random.random() / width:.4f}")
open("net.pt", "w").write("weights")
"""
"""Reads data beside its code, and writes a file there."""
NO_SEED = """\
import sys
print("val_loss: 0.25")
"""
BUFFERED = """\
import sys, time
out = open(1, "w", buffering=1 << 16, closefd=False)
for epoch in range(4):
    time.sleep(0.3)
    out.write(f"epoch {epoch}: loss {int(sys.argv[1][7:]) + epoch}\\n")
out.flush()
"""
LEAVES_PROCESSES = """\
import os, subprocess, sys, time
for rank in range(2):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("loss:", 0.5 + int(sys.argv[1][7:]))
"""
"""Like torchrun whose workers were left: each has a session of its own."""
GLOBALS = """\
import os, sys, time
out_dir, max_iters, seed, init_from = "out", 12, 0, "scratch"
for word in sys.argv[1:]:
    key, value = word[2:].split("=")
    globals()[key] = type(globals()[key])(value)
step, total = 0, float(seed)
if init_from == "resume":
    step, total = (float(one) for one in open(os.path.join(out_dir, "ckpt.txt")).read().split())
while step < max_iters:
    time.sleep(0.1)
    step, total = step + 1, total + DRIFT
    with open(os.path.join(out_dir, "half"), "w") as file:
        file.write(f"{step} {total}")
    os.replace(os.path.join(out_dir, "half"), os.path.join(out_dir, "ckpt.txt"))
    print(f"step {step:.0f}: loss {total:.4f}", flush=True)
"""
"""Goes on from its own checkpoint. DRIFT is replaced by what each step adds."""
EXACT, DRIFTING = "0.5", '0.5 + (1.0 if init_from == "resume" else 0.0)'


class Checking(Repository):
    """A repository whose campaign file is checked."""

    def campaign(self, task: Mapping[str, Any], rest: str = "") -> None:
        """Write a campaign file with this section `task`, whose texts are written as JSON, and the rest as it is."""
        lines = [f"  {key}: {value}" for key, value in task.items()]
        self.file.write_text("\n".join(["campaign: mine", "seeds: 2", "task:", *lines, rest]) + "\n")

    @property
    def values(self) -> dict[str, Any]:
        return Source(self.file).values

    def check(self, **options: Any) -> Checked:
        self.told: list[str] = []
        return check_campaign(self.file, CheckOptions(**options), self.told.append)


def python(*words: str) -> str:
    """Return a command of this Python as a campaign file writes it."""
    return "[" + ", ".join(f'"{word}"' for word in (sys.executable, *words)) + "]"


def of(checked: Checked, label: str) -> list[Finding]:
    return [finding for finding in checked.findings if finding.label == label]


def texts(checked: Checked, label: str) -> str:
    return "\n".join(finding.text for finding in of(checked, label))


def kinds(checked: Checked) -> dict[str, str]:
    """Return label -> the worst kind of its findings."""
    order = ("ok", "note", "problem")
    worst: dict[str, str] = {}
    for finding in checked.findings:
        worst[finding.label] = max(worst.get(finding.label, "ok"), finding.kind, key=order.index)
    return worst


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file of a folder, its repository included, with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
