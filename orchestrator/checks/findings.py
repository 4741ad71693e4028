"""What a check found, as lines for a person, each with the lines that the campaign file lacks. Pure."""

import shlex
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from orchestrator.checks.edits import Offer
from orchestrator.checks.guesses import guess_items, guess_metrics, guess_progress
from orchestrator.checks.observed import Observed
from orchestrator.checks.said import describe_metric, describe_rows, list_few, median, name_numbers, short_seconds
from orchestrator.checks.sorting import group_data, group_outputs, name_of
from orchestrator.launch.commands import find_preload_problem
from orchestrator.reading.presets import explain_absent
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import counted, listed

Kind = Literal["ok", "note", "problem"]
LATE_SHARE = 0.75
"""Lines that come together after this share of the time came at the end."""
SHORTEST_SECONDS = 1.0
"""Shortest time, without imports, of which the lines say whether they come at once."""
HEAVY = (
    "torch", "tensorflow", "jax", "numpy", "scipy", "pandas", "sklearn", "transformers", "lightning",
    "pytorch_lightning", "torchvision", "torchaudio", "datasets", "xgboost", "lightgbm", "matplotlib",
)  # fmt: skip
"""Packages that take long to import and may be imported once for many runs."""
LAUNCHERS = ("torch.distributed.", "accelerate.", "deepspeed.")
"""Modules of Python that start the processes of a training."""
TAKE_OUT = "; take `preload` out"
"""End of a sentence, for a task that has no `preload`."""
PRELOAD_SECONDS = 0.5
"""Seconds of imports from which on a start is worth to be shortened."""


class Finding(Struct, frozen=True, kw_only=True):
    """One line of a check."""

    label: str
    """What it is about: `ran`, `read`, `wrote`, `steps`, `metric`, `seed`, `items`, `resume`, `start`."""
    text: str
    kind: Kind = "ok"
    offers: tuple[Offer, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """What the campaign file says, and how the check went."""

    task: TaskSpec
    metrics: dict[str, MetricSpec] = {}
    tracked: frozenset[str] = frozenset()
    """Files of the checkout, from the campaign's folder."""
    in_git: bool = True
    root: str = ""
    """The campaign's folder, which messages leave out."""
    has_guards: bool = True


class Runs(Struct, frozen=True, kw_only=True):
    """The runs of a check: seed 0, seed 0 again, seed 1."""

    first: Observed
    again: Observed | None = None
    other: Observed | None = None

    @property
    def all(self) -> tuple[Observed, ...]:
        """Those that were started."""
        return tuple(run for run in (self.first, self.again, self.other) if run is not None)

    @property
    def failed(self) -> Observed | None:
        """The first of them that did not run to its end."""
        return next((run for run in self.all if not run.ran), None)


def describe_runs(facts: Facts, runs: Runs) -> tuple[Finding, ...]:
    """Say what was found; of runs that failed, only what may have been the reason."""
    found = [*describe_end(facts, runs), *describe_reads(facts, runs), *describe_writes(facts, runs)]
    if runs.failed is None:
        found += [*describe_steps(facts, runs), *describe_metrics(facts, runs), *describe_items(facts, runs)]
        found += [judge_seed(facts, runs), describe_start(facts, runs)]
    return tuple(found)


def show_command(facts: Facts, arguments: Iterable[str]) -> str:
    """Write a command as a person would, without the folders of this machine."""
    return shlex.join(word.replace(f"{facts.root}/", "") if facts.root else word for word in arguments)


def describe_end(facts: Facts, runs: Runs) -> list[Finding]:
    """Say how the command was started, how it ended, and what it left behind."""
    command = show_command(facts, runs.first.arguments)
    failed = runs.failed
    if failed is not None:
        return [Finding(label="ran", text=f"{command}\nseed {failed.seed}: {failed.reason}", kind="problem")]
    seconds = short_seconds(median([run.seconds for run in runs.all]))
    start = start_seconds(runs.first)
    before = "" if start is None or start < 1 else f" ({short_seconds(start)} before its first step)"
    found = [Finding(label="ran", text=f"{command}\nexit 0, {counted(len(runs.all), 'run')}, {seconds} each{before}")]
    left = next((run.reason.partition("; ")[2] for run in runs.all if "outlived" in run.reason), "")
    return [*found, *([Finding(label="left", text=left, kind="note")] if left else [])]


def describe_reads(facts: Facts, runs: Runs) -> list[Finding]:
    """Say which code and data were read, and offer those that the file does not name."""
    code = _all(run.files.code for run in runs.all)
    uncovered = _all(run.files.uncovered for run in runs.all)
    wanted = _all(run.files.wanted for run in runs.all)
    data = _all(run.files.data for run in runs.all)
    # Without git nothing tells code from data but the ending of a name.
    tables = tuple(path for path in uncovered if not facts.in_git and _is_data(path))
    uncovered = tuple(path for path in uncovered if path not in tables)
    found = []
    if uncovered:
        offer = Offer(where=("task", "code"), value=list(uncovered))
        text = f"{list_few(uncovered)}, which `task.code` does not name: a change there would make no new run"
        found.append(Finding(label="read", text=text, kind="note", offers=(offer,)))
    elif code:
        found.append(Finding(label="read", text=f"{counted(len(code), 'file')} of `task.code`"))
    found += _data_findings(facts, (*wanted, *tables), data, has_failed=runs.failed is not None)
    if astray := _all(run.files.astray for run in runs.all):
        text = (
            f"{list_few(astray)} in your own checkout, and not in that of the run: an editable install leads there, "
            'so a patch would have no effect; write `env: {PYTHONPATH: "."}` under `task`, or install without -e'
        )
        found.append(Finding(label="read", text=text, kind="problem"))
    if untracked := _all(run.files.untracked for run in runs.all):
        names = " ".join(map(shlex.quote, untracked))
        text = f"git does not track {list_few(untracked)}, so no run has it; `git add {names}` and commit"
        found.append(Finding(label="read", text=text, kind="problem"))
    if not runs.first.heard.was_there and runs.failed is None:
        text = "no Python told what it opens, so only files that stayed open were seen; name the others yourself"
        found.append(Finding(label="read", text=text, kind="note"))
    return found


def _data_findings(
    facts: Facts, wanted: tuple[str, ...], outside: tuple[str, ...], *, has_failed: bool
) -> list[Finding]:
    taken, found = list(facts.task.data), []
    for path in group_data(wanted, facts.tracked):
        offer = _data_offer(path, taken)
        text = f"No such file: {path}. It is in your checkout, and not in git: add it to `task.data`"
        found.append(Finding(label="read", text=text, kind="problem" if has_failed else "note", offers=(offer,)))
    for path in group_data(outside, facts.tracked):
        number = sum(one == path or one.startswith(f"{path}/") for one in outside)
        text = f"{path} ({counted(number, 'file')}), which is not in git: add it to `task.data`"
        found.append(Finding(label="read", text=text, kind="note", offers=(_data_offer(path, taken),)))
    return found


def _data_offer(path: str, taken: list[str]) -> Offer:
    taken.append(name := name_of(path, taken))
    return Offer(where=("task", "data", name), value=path)


def _is_data(path: str) -> bool:
    return path.endswith((".csv", ".tsv", ".npy", ".npz", ".h5", ".hdf5", ".parquet", ".bin", ".pkl", ".gz", ".zip"))


def _all(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({one for part in parts for one in part}))


def describe_writes(facts: Facts, runs: Runs) -> list[Finding]:
    """Say what was written beside the code, and where no run may write."""
    written = _all(run.written for run in runs.all)
    changed = tuple(path for path in written if path in facts.tracked)
    new = group_outputs(tuple(path for path in written if path not in facts.tracked), facts.tracked)
    found = []
    if new:
        text = f"{list_few(new)} beside its code: as `task.outputs` it is kept in the run folder"
        offer = Offer(where=("task", "outputs"), value=list(new))
        found.append(Finding(label="wrote", text=text, kind="note", offers=(offer,)))
    if changed:
        text = f"{list_few(changed)}, which git tracks; each run has its own copy, so your own file stays"
        found.append(Finding(label="wrote", text=text, kind="note"))
    if outside := _all(run.files.outside for run in runs.all):
        text = f"{list_few(outside)}, outside of its checkout: two runs at a time would overwrite each other there"
        found.append(Finding(label="wrote", text=text, kind="problem"))
    if spoilt := _all(run.files.spoilt for run in runs.all):
        text = f"{list_few(spoilt)}, which is data: a run may only read them; let the script write elsewhere"
        found.append(Finding(label="wrote", text=text, kind="problem"))
    return found or [Finding(label="wrote", text="nothing beside its code")]


def describe_steps(facts: Facts, runs: Runs) -> list[Finding]:
    """Say which rows of progress were found, and whether they came at once."""
    first, progress = runs.first, facts.task.progress
    if progress is None:
        offer = guess_progress(facts.task, first.lines)
        if offer is not None:
            text = f"lines of a known form, `{offer.value['stdout']}`"
            return [Finding(label="steps", text=text, kind="note", offers=(offer,)), *_lateness(facts, first)]
        told = f"{counted(len(first.rows), 'row')} that the helper reports"
        text = told if first.rows else "none: guards see only the time of a whole run"
        return [Finding(label="steps", text=text)]
    if not first.rows:
        shown = progress.patterns[0] if progress.patterns else ""
        told = explain_absent("train.log", shown, first.lines) if shown else "its progress has no rows"
        return [Finding(label="steps", text=f"{told}\nmend `task.progress`", kind="problem")]
    how = describe_lateness(first)
    text = f"{describe_rows(first)}; prints at once: {how}"
    return [Finding(label="steps", text=text), *_lateness(facts, first)]


def _lateness(facts: Facts, run: Observed) -> list[Finding]:
    if describe_lateness(run) != "no":
        return []
    text = "its lines came all at once at its end; guards could not act: flush, or put `stdbuf -oL` before the command"
    return [Finding(label="steps", text=text, kind="problem" if facts.has_guards else "note")]


def describe_lateness(run: Observed) -> str:
    """Say whether a run's lines came as they were printed: yes, no, or that it was too short to tell."""
    if len(run.arrivals) < 2 or run.seconds - run.heard.import_seconds < SHORTEST_SECONDS:
        return "too short to tell"
    is_late = run.arrivals[0] >= LATE_SHARE * run.seconds
    # A single block of lines in the middle of a long run says nothing either way.
    return "no" if is_late and run.arrivals[0] == run.arrivals[-1] else "yes"


def describe_metrics(facts: Facts, runs: Runs) -> list[Finding]:
    """Say which metrics were found and their values, or offer those that were seen."""
    if not facts.metrics:
        offers = guess_metrics(facts.task, runs.first)
        if not offers:
            text = "none is named and none was seen; print a line such as `val_loss: 0.31`, or name one under `metrics`"
            return [Finding(label="metric", text=text, kind="problem")]
        first, *_ = offers
        text = (
            f"{listed(f'`{offer.where[1]}`' for offer in offers)}; {first.value['better']} is better "
            f"(a guess by its name), and its margin is a guess too"
        )
        return [Finding(label="metric", text=text, kind="note", offers=tuple(offers))]
    return [
        Finding(label="metric", text=describe_metric(metric, seen), kind="problem" if seen.problem else "ok")
        for name, metric in facts.metrics.items()
        if (seen := runs.first.metrics.get(name)) is not None
    ]


def describe_items(facts: Facts, runs: Runs) -> list[Finding]:
    """Say which items were found, or what they would give."""
    first = runs.first
    found = [
        Finding(label="items", text=one.problem or _count_items(name, one), kind="problem" if one.problem else "ok")
        for name, one in first.items.items()
    ]
    offers = guess_items(facts.task, first.tables)
    if offers:
        names = listed(f"`{offer.where[2]}`" for offer in offers)
        found.append(Finding(label="items", text=f"a table of {names}", kind="note", offers=tuple(offers)))
    if found:
        return found
    text = (
        "none: verdicts will be by seeds alone. Three lines of code give more:\n"
        "import knockout\n"
        'knockout.current().scores("test", key=names, correct=correct)'
    )
    return [Finding(label="items", text=text)]


def _count_items(split: str, seen: object) -> str:
    num_items, num_clusters = getattr(seen, "num_items", 0), getattr(seen, "num_clusters", None)
    clusters = "" if num_clusters is None else f" in {counted(num_clusters, 'cluster')}"
    return f"{split}: {counted(num_items, 'item')}{clusters}"


def judge_seed(facts: Facts, runs: Runs) -> Finding:
    """Say whether the same seed gives the same numbers, and another seed others."""
    if runs.again is None or runs.other is None or not runs.first.numbers:
        return _judge_by_evidence(facts, runs)
    first, again, other = (run.numbers for run in (runs.first, runs.again, runs.other))
    # What differs at the same seed, such as a time, says nothing about another seed.
    same = [name for name in first if first[name] == again.get(name)]
    if not same:
        shown = name_numbers(first, again)
        text = f"the same seed gives other numbers ({shown}), so nothing tells whether the seed has an effect"
        return Finding(label="seed", text=text, kind="note")
    if all(other.get(name) == first[name] for name in same):
        shown = name_numbers({name: first[name] for name in same}, {name: other.get(name) for name in same})
        text = (
            f"the seed has no effect: seeds {runs.first.seed} and {runs.other.seed} give the same numbers ({shown}), "
            "so all seeds would be one run; let the script use the seed that the command passes"
        )
        return Finding(label="seed", text=text, kind="problem")
    differing = {name: first[name] for name in runs.first.metrics if name in first and name not in same}
    if differing:
        shown = name_numbers(differing, again)
        text = f"another seed gives other numbers; the same seed does too ({shown}), so no run can be repeated exactly"
        return Finding(label="seed", text=text, kind="note")
    return Finding(label="seed", text="the same seed gives the same numbers; another gives others")


def _judge_by_evidence(facts: Facts, runs: Runs) -> Finding:
    """Judge the seed by the lines and files of the runs, where no metric is named yet."""
    first, again, other = runs.first, runs.again, runs.other
    has_numbers = bool(guess_metrics(facts.task, first))
    if again is None or other is None or not has_numbers or first.evidence != again.evidence:
        return Finding(label="seed", text="no metric is named, so nothing tells what the seed does", kind="note")
    if first.evidence == other.evidence:
        text = (
            f"the seed has no effect: seeds {first.seed} and {other.seed} tell the same, so all seeds would be one "
            "run; let the script use the seed that the command passes"
        )
        return Finding(label="seed", text=text, kind="problem")
    return Finding(label="seed", text="the same seed tells the same; another tells something else")


def start_seconds(run: Observed) -> float | None:
    """Return the seconds before a run trained: until its first line, less one step; None where too few lines tell."""
    if len(run.arrivals) < 3:
        return None
    # Before its first line a run starts and trains one step. The other lines tell how long a step takes.
    gaps = [later - earlier for earlier, later in zip(run.arrivals, run.arrivals[1:], strict=False)]
    return max(0.0, run.arrivals[0] - median(gaps))


def describe_start(facts: Facts, runs: Runs) -> Finding:
    """Say what a start costs, and whether runs can be forked from a process that has its imports done."""
    seconds = runs.first.heard.import_seconds
    heavy = [name for name in HEAVY if name in runs.first.heard.packages]
    why_not = why_not_forked(facts.task, runs.first.arguments)
    if why_not:
        return Finding(label="start", text=why_not, kind="note" if facts.task.preload else "ok")
    if facts.task.preload:
        return Finding(label="start", text=f"`preload` imports {listed(facts.task.preload)} once for all runs")
    if seconds < PRELOAD_SECONDS or not heavy:
        return Finding(label="start", text=f"{seconds:.1f} s of imports; nothing to gain by `preload`")
    offer = Offer(where=("task", "preload"), value=heavy)
    text = f"{seconds:.1f} s of imports in each run; it can be forked, so `preload` takes them once for all runs"
    return Finding(label="start", text=text, kind="note", offers=(offer,))


def why_not_forked(task: TaskSpec, arguments: tuple[str, ...]) -> str:
    """Say why a command cannot be forked from a process with its imports done; empty if it can."""
    # Such a launcher can be forked, but it starts its workers anew, and those import everything again.
    if any(word.startswith(LAUNCHERS) for word in arguments[1:3]):
        return "its launcher starts processes of its own, so each run starts by itself"
    problem = find_preload_problem(task, arguments) or ""
    return problem if task.preload else problem.removesuffix(TAKE_OUT)


def judge_resumed(facts: Facts, runs: Runs, stopped: Observed, resumed: Observed) -> Finding:
    """Say whether a run that was stopped and resumed ends as one that was never stopped."""
    if stopped.ran:
        text = "it ended before it was asked to stop; make the run longer with --set to measure this"
        return Finding(label="resume", text=text, kind="note")
    when = facts.task.resume.when if facts.task.resume else ""
    if not resumed.ran:
        text = f"stopped after {stopped.seconds:.1f} s, and it did not go on: {resumed.reason}"
        return Finding(label="resume", text=text, kind="problem")
    if resumed.resumed_from is None:
        text = f"stopped after {stopped.seconds:.1f} s, no checkpoint was found by `{when}`, so it started over"
        return Finding(label="resume", text=text, kind="problem")
    first, again = final_numbers(runs.first), final_numbers(runs.again or runs.first)
    ended = final_numbers(resumed)
    how = f"stopped after {stopped.seconds:.1f} s, it went on from {resumed.resumed_from.rpartition('/')[2]}"
    differing = {name: ended.get(name) for name in first if ended.get(name) != first[name]}
    if not differing:
        return Finding(label="resume", text=f"{how}: the same numbers as never stopped")
    shown = name_numbers(differing, first)
    # A training that never repeats itself would differ without a stop too.
    if any(first[name] != again.get(name) for name in differing):
        return Finding(label="resume", text=f"{how}: other numbers ({shown}), as of the same seed twice", kind="note")
    text = (
        f"{how}: other numbers than never stopped ({shown}); runs that were stopped say so in the report. "
        "Let the checkpoint hold all that the next step needs, or write `exact: false`: then resumed runs are marked, "
        "and `guards: {rerun: resumed}` trains them whole"
    )
    # Once the file says it, a person knows it.
    is_said = facts.task.resume is not None and not facts.task.resume.exact
    offer = Offer(where=("task", "resume", "exact"), value=False)
    return Finding(label="resume", text=text, kind="note" if is_said else "problem", offers=() if is_said else (offer,))


def final_numbers(run: Observed) -> dict[str, float | None]:
    """Return a run's metrics; where it has none, the last value of each column of progress."""
    metrics: dict[str, float | None] = {name: one.value for name, one in run.metrics.items() if one.value is not None}
    return metrics or {name: value for row in run.rows for name, value in row.values.items()}


def describe_resume(facts: Facts, *, is_asked: bool) -> Finding:
    """Say what happens to a stopped run, where that is not measured."""
    if facts.task.resume is None:
        return Finding(label="resume", text="not said; a stopped run starts over", kind="note" if is_asked else "ok")
    text = "said; `knockout check --resume` measures whether a resumed run equals one that was never stopped"
    return Finding(label="resume", text=text)
