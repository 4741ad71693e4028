"""`python -m benchmarks.search`: `knockout search focal` beside the same search as plain Optuna in one process.

Both are whole processes, from their start to their end, on captures made before. They run one after the other, ours
first, because two searches at once would compete for the cores. So a machine that is busier in one half changes the
ratio.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from math import dist, sqrt
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import msgspec
import optuna
from optuna.trial import TrialState
from ruamel.yaml import YAML

from benchmarks.overhead import KNOCKOUT, ROOT, quiet_environment
from benchmarks.page import publish
from benchmarks.timing import Row
from orchestrator.campaign.captures import make_captures
from orchestrator.campaign.selection import Request
from orchestrator.launch.slots import make_own_slots
from orchestrator.runs.paths import Paths, sqlite_url
from orchestrator.search.open import Search, open_search

BEGIN, END = "<!-- begin: written by python -m benchmarks.search -->", "<!-- end -->"
NAME, PROFILE = "focal", "quick"
AT_ONCE = 2
PLAIN = """\
import json, sys, zlib
from pathlib import Path
import optuna
from model.config import encode_run, job_from_builtins
from model.studies.radio.study import RadioStudy
from model.train.job import run_job
from model.train.run_folder import RunFolder
name, (job, space, points, trials) = sys.argv[1], json.loads(Path("plain.json").read_text())
study = optuna.create_study(storage="sqlite:///plain.db", study_name=name, direction="maximize")
for point in points:
    study.enqueue_trial(point)
for number in range(trials):
    seed, startup = zlib.crc32(f"{name}/{number}".encode()), max(5, len(points))
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
    trial, folder = study.ask(), RunFolder(Path(f"plain/{number}"))
    for knob, (low, high) in space.items():
        section, field = knob.split(".")
        job[section][field] = trial.suggest_float(knob, low, high)
    folder.path.mkdir(parents=True)
    folder.config.write_bytes(encode_run(job_from_builtins(job)))
    run_job(RadioStudy, folder, Path())
    score = folder.read_result().scores["LocC"]
    study.tell(trial, 100 * score.correct / score.bursts)
"""
"""The peer: the same sampler with the same seed for each trial, and the same training by `run_job`."""


class Visit(NamedTuple):
    """A point, and its accuracy at the choosing location in percent."""

    at: dict[str, float]
    score: float


class Found(NamedTuple):
    """The cost of a search, and its points."""

    seconds: float
    trainings: int
    visits: list[Visit]

    @property
    def best(self) -> Visit:
        return max(self.visits, key=lambda visit: visit.score)


def build_campaign(root: Path, *, quick: bool) -> Search:
    """Make a repository with this one's `model`, campaign and captures; return its search.

    Pruning is off, because the comparison is about training the points, not about saved epochs.
    """
    shutil.copytree(ROOT / "model", root / "model", ignore=shutil.ignore_patterns("__pycache__"))
    yaml = YAML()
    campaign = yaml.load(ROOT / "experiments.yaml")
    campaign["searches"][NAME].pop("pruner", None)
    if quick:
        shrink(campaign)
    yaml.dump(campaign, root / "experiments.yaml")
    (root / ".gitignore").write_text("/data/\nresults/\nreports/\n__pycache__/\n")
    for words in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "start"]):
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *words]
        subprocess.run(git, cwd=root, check=True)
    search = open_search(Request(file=root / "experiments.yaml", profile=PROFILE), NAME)
    make_captures(search.selection)
    return search


def shrink(campaign: dict[str, Any]) -> None:
    """Reduce the search to two trials on a tenth of the bursts, with the fewest epochs that the schedules allow."""
    campaign["searches"][NAME]["trials"] = 2
    profile = campaign["profiles"][PROFILE]
    profile["baseline"]["optim"] |= {"epochs": 3, "average_last": 0}
    profile["data"]["emulate"]["packets"] //= 10
    for capture in profile["data"]["captures"].values():
        capture["packets"] = [packet // 10 for packet in capture["packets"]]


def run_timed(words: list[str], root: Path, **variables: str) -> float:
    """Run a command in a folder and return its seconds."""
    environment = quiet_environment(root) | variables
    started = time.perf_counter()
    done = subprocess.run(words, cwd=root, env=environment, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stdout + done.stderr
    return seconds


def read_study(url: str) -> tuple[str, list[Visit]]:
    """Return the name of a storage's only study, and its points in the order of their trials."""
    (summary,) = optuna.get_all_study_summaries(storage=url)
    trials = optuna.load_study(study_name=summary.study_name, storage=url).get_trials(states=[TrialState.COMPLETE])
    return summary.study_name, [Visit(trial.params, trial.value) for trial in trials if trial.value is not None]


def search_ours(root: Path) -> tuple[str, Found]:
    """Run `knockout search` with two slots; return the study's name and the cost."""
    command = [str(KNOCKOUT), "search", NAME, "--profile", PROFILE, "--slots", str(AT_ONCE)]
    seconds = run_timed(command, root)
    paths = Paths(root)
    name, visits = read_study(paths.searches_url)
    return name, Found(seconds, len(list(paths.runs.glob("*/result.json"))), visits)


def search_plainly(root: Path, search: Search, name: str) -> Found:
    """Run the same search as plain Optuna, with the threads and allocator settings of our jobs."""
    names = {"experiment": search.stack.id, "profile": PROFILE, "seed": search.seeds[0]}
    job = search.stack.params | names
    points = [point.at for point in search.spec.enqueue]
    (root / "plain.json").write_text(json.dumps([job, bounds(search), points, search.spec.trials]))
    (root / "plain.py").write_text(PLAIN)
    threads = make_own_slots(AT_ONCE)[0].environment
    seconds = run_timed([sys.executable, "plain.py", name], root, **threads)
    _, visits = read_study(sqlite_url(root / "plain.db"))
    return Found(seconds, len(list(root.glob("plain/*/result.json"))), visits)


def bounds(search: Search) -> dict[str, tuple[float, float]]:
    """Return knob -> its lowest and highest value."""
    space = msgspec.to_builtins(search.spec.space)
    return {knob: (within["low"], within["high"]) for knob, within in space.items()}


def distance(one: Visit, other: Visit, space: dict[str, tuple[float, float]]) -> float:
    """Return the distance of two points, with every knob's range scaled to 1."""
    sides = [[visit.at[knob] / (high - low) for knob, (low, high) in space.items()] for visit in (one, other)]
    return dist(*sides)


def compare(search: Search, ours: Found, plain: Found) -> list[Row]:
    """Compare both searches."""
    threads = make_own_slots(AT_ONCE)[0].environment["OMP_NUM_THREADS"]
    first = len(search.spec.enqueue[: search.spec.trials])
    pairs = list(zip(ours.visits[:first], plain.visits[:first], strict=True))
    equal = sum(one == other for one, other in pairs)
    means = [mean(found.visits[number].score for number in range(first)) for found in (ours, plain)]
    space = bounds(search)
    return [
        Row(
            f"search `{NAME}`, two at a time, {describe_cost(ours)}, OMP_NUM_THREADS={threads}",
            f"plain Optuna in one process, started after it, {describe_cost(plain)}, OMP_NUM_THREADS={threads}",
            f"{ours.seconds / plain.seconds:.2f}",
            "below 1",
        ),
        Row(
            f"scores of the {first} first points equal to the last bit, mean {means[0]:.2f} %",
            f"plain Optuna, mean {means[1]:.2f} %",
            f"{equal} of {first}",
            "all",
        ),
        Row(
            f"distance of the best points, ours {describe_best(ours)}",
            f"plain Optuna's {describe_best(plain)}",
            f"{distance(ours.best, plain.best, space):.2f} of {sqrt(len(space)):.2f}",
        ),
    ]


def describe_cost(found: Found) -> str:
    return f"{found.seconds:.0f} s, {found.trainings} trainings"


def describe_best(found: Found) -> str:
    values = ", ".join(f"{knob} {value:.3g}" for knob, value in found.best.at.items())
    return f"{values} with {found.best.score:.1f} %"


def bench_search(*, quick: bool = False) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = Path(folder) / "ours", Path(folder) / "plain"
        ours.mkdir()
        search = build_campaign(ours, quick=quick)
        shutil.copytree(ours, plain)
        name, found = search_ours(ours)
        return compare(search, found, search_plainly(plain, search, name))


def lines(*, quick: bool) -> Iterator[str]:
    """Search twice, and yield the table line by line."""
    yield "Seconds of whole processes, in one session, Knockout first. Below 1, Knockout takes less time."
    yield ""
    yield "| what | against | figure | wanted |"
    yield "| --- | --- | --- | --- |"
    yield from (f"| {' | '.join(row)} |" for row in bench_search(quick=quick))


def main(words: list[str] | None = None) -> int:
    """Search twice, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description="A search beside plain Optuna.")
    parser.add_argument("--quick", action="store_true", help="two trials of three epochs: the figures say little")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(quick=options.quick), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
