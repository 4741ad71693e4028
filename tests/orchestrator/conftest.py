"""Builders: a campaign at a profile, its plan, and runs as their folders would tell them."""

import os
import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML
from sqlalchemy import create_engine, make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from orchestrator.api.queue import Placing, RunOptions, add
from orchestrator.campaign.arms import configs_of, resolve_arms
from orchestrator.campaign.fields import Reported
from orchestrator.campaign.load import DEFAULT_TASK
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.campaign.scored import with_answer
from orchestrator.campaign.selection import Request, open_campaign, plan_now
from orchestrator.campaign.spec import BaselineSpec, Campaign, ExperimentSpec
from orchestrator.code.sources import find_code
from orchestrator.launch.provenance import write_provenance
from orchestrator.launch.slots import Slot
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.queue.tables import RUNS
from orchestrator.runs.folder import EpochRecord, LocationScore, Result
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.order import GuardSpec, place_run
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score
from orchestrator.runs.states import RunState
from orchestrator.search.open import SearchOptions, open_search
from orchestrator.search.trials import Trials, open_trials
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.task.spec import parse_task
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.results import scored_captures, write_done, write_scored

NUM_DEVICES = 10
SERVER = os.environ.get("KNOCKOUT_TEST_DATABASE")
NO_SERVER = "KNOCKOUT_TEST_DATABASE holds no PostgreSQL URL; `.ci/postgres make test` starts a server"


ROOT = Path(__file__).parents[2]
RADIO = parse_task(YAML(typ="safe").load((ROOT / DEFAULT_TASK).read_text()))
"""The task of a campaign file that names none."""


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
        "question": "Tell ten transmitters apart.",
        "profile": "quick",
        "about": "Only a test.",
        "margin": 1.0,
        "seeds": (0, 1),
        "guards": GuardSpec(),
        "baseline": BaselineSpec(),
    }
    specs = {name: build_experiment(name, **experiment) for name, experiment in experiments.items()}
    given = {"data": data | fields.pop("data", {}), "experiments": specs, "task": RADIO}
    campaign = Campaign(**values | given | fields)
    resolved = resolve_arms(campaign, configs_of(campaign, ROOT))
    campaign = with_answer(campaign, resolved.arms["baseline"].about)
    hashes = {capture["path"]: f"da7a{name}" for name, capture in campaign.data["captures"].items()}
    return plan_runs(campaign, resolved, CodeAndData(code_tree="c0de", files=hashes))


def build_experiment(name: str, *, reported: Mapping[str, Any] | None = None, **fields: Any) -> ExperimentSpec:
    words = {"title": f"Title of {name}", "group": "loss", "hypothesis": f"Why {name}."}
    return ExperimentSpec(**words | fields, reported=Reported(**reported) if reported else None)


def build_outcomes(correct: NDArray[np.bool_]) -> RunItems:
    """Spread outcomes evenly over the devices, in the order of the capture."""
    devices = np.arange(len(correct)) * NUM_DEVICES // len(correct)
    keys = np.array([f"{device:02d}/{packet:04d}" for packet, device in enumerate(devices)])
    return RunItems(keys, devices.astype(np.str_), None, {"correct": np.asarray(correct, dtype=np.float64)})


def build_share(items: RunItems) -> Score:
    """Score a run by the share of its items that are right, in percent."""
    right_B = items.columns["correct"]
    return Score(value=float(100 * right_B.mean()), items=items, num_right=int(right_B.sum()), num_items=len(right_B))


def draw_outcomes(name: str, accuracy: float, num_items: int) -> NDArray[np.bool_]:
    """Draw who is recognised: bursts are hard or easy for every run alike, and a run has luck of its own."""
    hardness = np.random.default_rng(7).normal(size=num_items)
    luck = np.random.default_rng(zlib.crc32(name.encode())).normal(size=num_items)
    score = hardness + 0.5 * luck
    correct = np.zeros(num_items, dtype=np.bool_)
    correct[np.argsort(score)[: round(accuracy * num_items)]] = True
    return correct


def build_run(
    plan: Plan,
    experiment: str,
    seed: int,
    outcome: float | NDArray[np.bool_] | Result | None = 0.8,
    *,
    num_items: int = 200,
    num_epochs: int = 4,
    provenance: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Build a run from the share or the array of bursts it recognises, or from how else it ended (None: not yet)."""
    run_id = plan.run_of[experiment, seed]
    if isinstance(outcome, float):
        outcome = draw_outcomes(run_id, outcome, num_items)
    scores: dict[str, Score] = {}
    result = outcome if isinstance(outcome, Result) else None
    if isinstance(outcome, np.ndarray):
        scores = {"LocD": build_share(build_outcomes(outcome))}
        score = LocationScore(bursts=len(outcome), correct=int(outcome.sum()), accuracy=float(outcome.mean()), loss=0.5)
        result = Result(state="done", reason="trained", best_epoch=2, epochs=num_epochs, scores={"LocD": score})
    planned = next(run for run in plan.runs if run.id == run_id)
    return RunRecord(
        id=run_id,
        experiment=planned.experiment,
        seed=seed,
        params=planned.params,
        provenance=dict(provenance or {}),
        epochs=tuple(build_epoch(number, seed) for number in range(1, num_epochs + 1)),
        result=result,
        scores=scores,
    )


def build_epoch(number: int, seed: int) -> EpochRecord:
    """Build an epoch of a loss that falls as one over the epoch."""
    return an_epoch(
        number,
        seconds=1.0 if number > 1 else 9.0,
        train_loss=2.0 / number,
        val_loss=(2.0 + 0.1 * seed) / number,
        val_accuracy=1.0 - 0.9 / number,
        learning_rate=3e-4,
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


def build_differences(difference_SB: object, stratum_B: object = None) -> PairedDifferences:
    """Build a comparison from its differences; one device sent all bursts unless `stratum_B` says otherwise."""
    values_SB = np.asarray(difference_SB, dtype=np.int8)
    num_seeds, num_items = values_SB.shape
    devices = np.zeros(num_items, dtype=np.int64) if stratum_B is None else np.asarray(stratum_B)
    return PairedDifferences(difference_SB=values_SB, seeds=tuple(range(num_seeds)), stratum_B=devices)


@pytest.fixture(scope="session")
def differences() -> Callable[..., PairedDifferences]:
    return build_differences


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
question: Tell ten transmitters apart.
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
        self.paths = Paths(root)
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
        return subprocess.run(command, cwd=self.paths.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "a step")

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def start(self, experiment: str, seed: int = 0, *, num_epochs: int = 1, profile: str = "quick") -> str:
        """Give a run its branch and its folder, as when it is queued and started, with epochs; return its id."""
        study = open_campaign(Request(file=self.file, profile=profile, seeds=(seed,), experiments=(experiment,)))
        current = plan_now(study, find_code(self.paths, snapshot=True))
        plan = current.part(study)
        run = next(run for run in plan.runs if run.id == plan.run_of[experiment, seed])
        folder = self.paths.run(run.id)
        order = Placing(self.paths, plan, current).order_of(run, 0)
        place_run(folder, run.config, order)
        write_provenance(folder, order, self.paths.root, Slot("cpu0", {}))
        for number in range(1, num_epochs + 1):
            append_epoch(folder, build_epoch(number, seed))
        return run.id

    def train(self, run_id: str, num_epochs: int = 1) -> str:
        """Give a run epochs; their median takes a second."""
        for number in range(1, num_epochs + 1):
            append_epoch(self.paths.run(run_id), build_epoch(number, 0))
        return run_id

    def end(self, run_id: str, state: str = "done", failure: str | None = None) -> str:
        """Give a run a result."""
        folder = self.paths.run(run_id)
        if state == "done":
            write_done(folder)
        else:
            folder.write_result(Result(state=state, reason=f"it is {state}", failure=failure, epochs=1))
        return run_id

    def add(self, *experiments: str, seeds: tuple[int, ...] = (0,)) -> tuple[str, ...]:
        """Queue experiments and their references, as `knockout queue add` does without asking `model`; return ids."""
        study = open_campaign(Request(file=self.file, profile="quick", seeds=seeds, experiments=experiments))
        store = open_store(self.paths)
        try:
            return add(study, store, RunOptions(snapshot=True)).ids
        finally:
            store.close()

    def queue(self, run_id: str, state: str = "queued", **columns: Any) -> str:
        """Put a run into the queue, in any state; `columns` are those of the row."""
        experiment, _, rest = run_id.rpartition("-")[0].rpartition("-s")
        store = open_store(self.paths)
        row = QueuedRun(id=run_id, experiment=experiment, seed=int(rest), profile="quick", state=RunState(state))
        store.add([row])
        with store.engine.begin() as connection:
            if columns:
                connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(**columns))
        store.close()
        return run_id


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """An empty schema on a PostgreSQL server."""
    if not SERVER:
        pytest.skip(NO_SERVER)
    schema = f"test_{uuid.uuid4().hex}"
    engine = create_engine(SERVER)
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    url = make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[] if SERVER else pytest.mark.skip(NO_SERVER))])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind that the queue may be kept in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'knockout.db'}"
    return str(request.getfixturevalue("postgresql_url"))


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
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    # Its captures are no captures, and asking `model` about them takes seconds.
    monkeypatch.setattr("orchestrator.api.queue.refuse_impossible", lambda study: None)
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Git in `repo`, an empty repository; what a user has set is in the file `gitconfig` beside it, if anywhere."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=tmp_path / "repo", check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "repo").mkdir()
    run("init", "--quiet", "--initial-branch=main")
    return run


@pytest.fixture
def repo(git: Callable[..., str], tmp_path: Path) -> Path:
    """A repository with one commit: `model/__main__.py` and a file beside it."""
    root = tmp_path / "repo"
    (root / "model").mkdir()
    (root / "model" / "__main__.py").write_text("print('one')\n")
    (root / "notes.txt").write_text("mine\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "start")
    return root


SEARCHES = """\
searches:
  focal:
    title: Focus
    on: E5
    space:
      loss.gamma: {kind: float, low: 0.01, high: 5.0}
      loss.label_smoothing: {kind: float, low: 0.0, high: 0.2}
    trials: 6
    enqueue:
      - at: {loss.gamma: 2.0, loss.label_smoothing: 0.0}
      - at: {loss.gamma: 3.0, loss.label_smoothing: 0.0}
"""


class SearchLab:
    """Searches in a study whose runs end as a test says."""

    def __init__(self, study: StudyFolder) -> None:
        self.study = study
        (study.paths.root / "data" / "LocC.h5").write_bytes(b"LocC")
        capture = "    LocC: {path: data/LocC.h5, devices: [0, 10], packets: [0, 6]}\n"
        study.edit("  train: [LocA]\n", f"{capture}  train: [LocA]\n  choose: [LocC]\n")
        study.file.write_text(study.file.read_text() + SEARCHES)
        self.store: Store = open_store(study.paths)

    opened = property(lambda self: open_search(Request(file=self.study.file), "focal"))

    def open(self, process: Process | None = None) -> Trials:
        trials = open_trials(self.opened, self.store, SearchOptions())
        trials.process = process or trials.process
        return trials

    def end(self, run: str, accuracy: float = 0.5, state: str = "done", failure: str | None = None) -> None:
        folder = self.study.paths.run(run)
        if state == "done":
            place = np.arange(100) / 100
            scored = scored_captures(folder)
            write_scored(folder, {name: place < (accuracy if name == "LocC" else 1.0) for name in scored})
        else:
            folder.write_result(Result(state=state, reason=f"it is {state}", failure=failure, epochs=1, best_epoch=1))
        assert (claimed := self.store.claim(Process.own(), [run])) is not None
        assert self.store.end(claimed, RunState(state), f"it is {state}", failure)

    def state_of(self, run: str) -> RunState:
        return self.store.runs([run])[0].state


@pytest.fixture
def lab(study: StudyFolder) -> Iterator[SearchLab]:
    made = SearchLab(study)
    yield made
    made.store.close()
