"""Builders: a campaign at a profile, its plan, and runs as their folders would tell them."""

import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from model.run_folder import EpochRecord, LocationScore, Result
from orchestrator.campaign import Request, collect_inputs, open_study
from orchestrator.checkouts import find_code
from orchestrator.evidence import Bursts, RunRecord
from orchestrator.identity import CodeAndData
from orchestrator.layout import Layout
from orchestrator.plan import Plan, plan_runs, resolve_arms
from orchestrator.spec import BaselineSpec, DataSpec, ExperimentSpec, GuardSpec, ProfiledCampaign, Reported
from orchestrator.states import RunState
from orchestrator.store import RUNS, QueuedRun, Store
from orchestrator.worker import provenance, write_folder

NUM_DEVICES = 10


def build_plan(experiments: Mapping[str, Mapping[str, Any]], **fields: Any) -> Plan:
    """Lay out a campaign; an experiment needs no more than its `change`. `fields` are those of the campaign."""
    captures = {
        name: {"path": f"{name}.h5", "devices": [0, NUM_DEVICES], "packets": [0, 20]}
        for name in ("LocA", "LocB", "LocD")
    }
    data = {"captures": captures, "train": ["LocA"], "validate": ["LocB"], "report": ["LocD"]}
    values = {
        "name": "tiny",
        "title": "A tiny campaign",
        "task": "Tell ten transmitters apart.",
        "profile": "quick",
        "about": "Only a test.",
        "margin": 1.0,
        "seeds": (0, 1),
        "guards": GuardSpec(),
        "baseline": BaselineSpec(),
    }
    specs = {name: build_experiment(name, **experiment) for name, experiment in experiments.items()}
    given = {"data": msgspec.convert(data | fields.pop("data", {}), DataSpec), "experiments": specs}
    campaign = ProfiledCampaign(**values | given | fields)
    hashes = {capture.path: f"da7a{name}" for name, capture in campaign.data.captures.items()}
    return plan_runs(campaign, resolve_arms(campaign), CodeAndData(code_tree="c0de", captures=hashes))


def build_experiment(name: str, *, reported: Mapping[str, Any] | None = None, **fields: Any) -> ExperimentSpec:
    words = {"title": f"Title of {name}", "group": "loss", "hypothesis": f"Why {name}."}
    return ExperimentSpec(**words | fields, reported=Reported(**reported) if reported else None)


def build_outcomes(correct: NDArray[np.bool_]) -> Bursts:
    """Spread outcomes evenly over the devices, in the order of the capture."""
    devices = np.arange(len(correct)) * NUM_DEVICES // len(correct)
    keys = np.array([f"{device:02d}/{packet:04d}" for packet, device in enumerate(devices)])
    return Bursts(keys=keys, devices=devices, correct=np.asarray(correct, dtype=np.bool_))


def draw_outcomes(name: str, accuracy: float, num_bursts: int) -> NDArray[np.bool_]:
    """Draw who is recognised: bursts are hard or easy for every run alike, and a run has luck of its own."""
    hardness = np.random.default_rng(7).normal(size=num_bursts)
    luck = np.random.default_rng(zlib.crc32(name.encode())).normal(size=num_bursts)
    score = hardness + 0.5 * luck
    correct = np.zeros(num_bursts, dtype=np.bool_)
    correct[np.argsort(score)[: round(accuracy * num_bursts)]] = True
    return correct


def build_run(
    plan: Plan,
    experiment: str,
    seed: int,
    outcome: float | NDArray[np.bool_] | Result | None = 0.8,
    *,
    num_bursts: int = 200,
    num_epochs: int = 4,
    provenance: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Build a run from the share or the array of bursts it recognises, or from how else it ended (None: not yet)."""
    run_id = plan.run_of[experiment, seed]
    if isinstance(outcome, float):
        outcome = draw_outcomes(run_id, outcome, num_bursts)
    bursts: dict[str, Bursts] = {}
    result = outcome if isinstance(outcome, Result) else None
    if isinstance(outcome, np.ndarray):
        bursts = {"LocD": build_outcomes(outcome)}
        score = LocationScore(bursts=len(outcome), correct=int(outcome.sum()), accuracy=float(outcome.mean()), loss=0.5)
        result = Result(state="done", reason="trained", best_epoch=2, epochs=num_epochs, scores={"LocD": score})
    planned = next(run for run in plan.runs if run.id == run_id)
    return RunRecord(
        id=run_id,
        experiment=planned.experiment,
        seed=seed,
        config=planned.config,
        provenance=dict(provenance or {}),
        epochs=tuple(build_epoch(number, seed) for number in range(1, num_epochs + 1)),
        result=result,
        bursts=bursts,
    )


def build_epoch(number: int, seed: int) -> EpochRecord:
    """Build an epoch of a loss that falls as one over the epoch."""
    return EpochRecord(
        epoch=number,
        seconds=1.0 if number > 1 else 9.0,
        train_loss=2.0 / number,
        val_loss=(2.0 + 0.1 * seed) / number,
        val_accuracy=1.0 - 0.9 / number,
        learning_rate=3e-4,
        grad_norm=1.0,
        skipped_steps=0,
        bursts_per_second=1000.0,
        peak_memory_bytes=2**20,
    )


def build_records(plan: Plan, outcomes: Mapping[str, Any], **options: Any) -> dict[str, RunRecord]:
    """Build the runs of every experiment named: an outcome a seed, or one for all seeds."""
    records: dict[str, RunRecord] = {}
    for experiment, given in outcomes.items():
        each = given if isinstance(given, (list, tuple)) else [given] * len(plan.campaign.seeds)
        for seed, outcome in zip(plan.campaign.seeds, each, strict=False):
            record = build_run(plan, experiment, seed, outcome, **options)
            records[record.id] = record
    return records


@pytest.fixture(scope="session")
def a_plan() -> Callable[..., Plan]:
    return build_plan


@pytest.fixture(scope="session")
def a_run() -> Callable[..., RunRecord]:
    return build_run


@pytest.fixture(scope="session")
def runs_of() -> Callable[..., dict[str, RunRecord]]:
    return build_records


STUDY = """\
campaign: tiny
title: A tiny campaign
task: Tell ten transmitters apart.
margin: 1.0
seeds: 2
data:
  captures:
    LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 6]}
    LocB: {path: data/LocB.h5, devices: [0, 10], packets: [0, 6]}
    LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 6]}
  train: [LocA]
  validate: [LocB]
  report: [LocD]
profiles: {quick: {}, paper: {}}
experiments:
  E5: {title: Focal, group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}
  H2: {title: Heads, group: size, hypothesis: Why., on: E5, change: {model.num_heads: 4}}
"""


class StudyFolder:
    """A campaign in a git repository, with captures that are never opened and runs that were never trained."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.file = root / "experiments.yaml"
        (root / "model").mkdir(parents=True)
        (root / "data").mkdir()
        (root / "model" / "__main__.py").write_text("print('one')\n")
        (root / ".gitignore").write_text("data/\nresults/\n")
        for name in ("LocA", "LocB", "LocD"):
            (root / "data" / f"{name}.h5").write_bytes(name.encode())
        self.file.write_text(STUDY)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=self.layout.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "a step")

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def start(self, experiment: str, seed: int = 0, *, num_epochs: int = 1, profile: str = "quick") -> str:
        """Give a run its branch and its folder, as a worker does, with epochs and no result; return its id."""
        study = open_study(Request(file=self.file, profile=profile, seeds=(seed,), experiments=(experiment,)))
        code = find_code(self.layout, snapshot=True)
        inputs = collect_inputs(study, code)
        plan = plan_runs(study.campaign, study.arms, inputs)
        run = next(run for run in plan.runs if run.id == plan.run_of[experiment, seed])
        checkout = code.check_out(plan.arms[experiment], datetime.now(UTC))
        folder = self.layout.run(run.id)
        write_folder(folder, run, provenance(run, checkout, inputs, self.layout.root, "cpu0"))
        code.clean_up(checkout)
        for number in range(1, num_epochs + 1):
            folder.append_epoch(build_epoch(number, seed))
        return run.id

    def end(self, run_id: str, state: str = "done", failure: str | None = None) -> str:
        """Give a run a result."""
        result = Result(state=state, reason=f"it is {state}", failure=failure, epochs=1)
        self.layout.run(run_id).write_result(result)
        return run_id

    def queue(self, run_id: str, state: str = "queued", **columns: Any) -> str:
        """Put a run into the queue, in any state; `columns` are those of the row."""
        experiment, _, rest = run_id.rpartition("-")[0].rpartition("-s")
        store = Store(self.layout.database)
        row = QueuedRun(
            id=run_id, position=0, experiment=experiment, seed=int(rest), profile="quick", state=RunState(state)
        )
        store.add([row])
        with store.engine.begin() as connection:
            if columns:
                connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(**columns))
        store.close()
        return run_id


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Another living process."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return StudyFolder(tmp_path / "study")
