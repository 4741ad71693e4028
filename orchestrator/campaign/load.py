"""`experiments.yaml` -> a typed campaign. Every error names file and line.

The file is YAML 1.2: `1e-3` is a number, `no` is a word. Only plain values are built. A key given twice is refused with
both lines, and an unknown key with the nearest valid name.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from orchestrator.campaign.fields import AA, ABLATION, BASELINE, INTERACTION, TAG, Seeds, Where
from orchestrator.campaign.scored import with_metrics
from orchestrator.campaign.search_spec import CategoricalSpace, FloatSpace, IntSpace, SearchSpec
from orchestrator.campaign.source import Source, ill_formed
from orchestrator.campaign.spec import (
    BaselineSpec,
    Campaign,
    CampaignSpec,
    ExperimentSpec,
    JudgingSpec,
    ProfileSpec,
    StagingSpec,
)
from orchestrator.errors import SpecError
from orchestrator.runs.identity import MAX_ID_LENGTH
from orchestrator.runs.order import GuardSpec
from orchestrator.task.ask import ask_schema
from orchestrator.task.call import installed_folder
from orchestrator.task.kinds import Schema
from orchestrator.task.knobs import apply_change, leaves
from orchestrator.task.metric_spec import ItemsSource, MetricSpec, parse_metrics
from orchestrator.task.parameters import nest
from orchestrator.task.rules import check_task
from orchestrator.task.spec import TaskSpec, lay_over, parse_task, written_elsewhere
from orchestrator.wording import did_you_mean

MAX_RUNS = 100_000
"""Most runs of a campaign: experiments times seeds. Each run has a folder."""
SPACES: dict[str, type[Struct]] = {"float": FloatSpace, "int": IntSpace, "categorical": CategoricalSpace}


def load_campaign(path: Path, text: str | None = None) -> tuple[CampaignSpec, Source]:
    """Read and check a campaign file.

    Args:
        path: the file.
        text: what the file is going to hold; None to read the file.

    Raises:
        SpecError: the file is missing, is not YAML, or says something that a campaign cannot say.
    """
    source = Source(path, text)
    _rename_task(source)
    # Entry by entry: an error in the whole file would not name the experiment.
    _convert_spaces(source)
    task, metrics = read_task(source), _read_metrics(source)
    kinds = (("experiments", ExperimentSpec), ("profiles", ProfileSpec), ("searches", SearchSpec))
    for section, kind in kinds:
        for name, entry in _at(source.values, (section,)).items():
            is_experiment = section == "experiments"
            wrong = wrong_id(name, _at(source.values, ("searches",))) if is_experiment else ill_formed(name)
            if wrong:
                raise source.refuse(wrong, (section, name))
            source.convert(entry, kind, (section, name))
    parts = (("guards", GuardSpec), ("judging", JudgingSpec), ("staging", StagingSpec))
    for section, part in parts:
        if section in source.values:
            source.convert(source.values[section], part, (section,))
    _baseline(source, {})
    spec = source.convert(source.values | {"task": task, "metrics": metrics}, CampaignSpec, ())
    _require_fitting(spec, source)
    _require_names(spec, source)
    return spec, source


DEFAULT_TASK = "model/studies/radio/task.yaml"
"""The task of a campaign file that names none."""


def read_task(source: Source) -> TaskSpec:
    """Return the task of a campaign file: its own section, on top of the file that `from` names.

    Raises:
        SpecError: a file is missing, or something in them is refused; the message names the file and the line.
    """
    section = source.values.get("task", {"from": DEFAULT_TASK})
    with source.locating():
        path = written_elsewhere(section)
        if path is None:
            task = parse_task(section)
            check_task(task)
            return task
        # Read as a campaign file is: bounded, and with a line for each key.
        elsewhere = Source(_find_task_file(source.path.parent, path))
    if "from" in elsewhere.values:
        raise elsewhere.refuse("a task that is written elsewhere is whole; take `from` out", ("from",))
    try:
        task = parse_task(lay_over(elsewhere.values, section))
        check_task(task)
    except SpecError as error:
        # A key that the campaign file does not hold stands in the other file.
        is_own = error.where in source.lines and len(error.where) > 1
        raise (source if is_own else elsewhere).refuse(str(error), error.where[0 if is_own else 1 :]) from None
    return task


def _find_task_file(folder: Path, path: str) -> Path:
    """Return the file of a task: beside the campaign file, else in an installed package."""
    package = installed_folder(Path(path).parts[0])
    places = [folder / path, *([package / path] if package is not None else [])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise SpecError(f"there is no file {folder / path} with a task; name what is trained", ("task", "from"))
    return found


def _read_metrics(source: Source) -> dict[str, MetricSpec]:
    if "metrics" not in source.values:
        return {}
    with source.locating():
        return parse_metrics(source.values["metrics"])


def _require_fitting(spec: CampaignSpec, source: Source) -> None:
    """Refuse sections that only other tasks have: some check their data and name their metrics themselves."""
    is_asked, names = spec.task.check is not None, list(spec.profiles)
    if not is_asked and not spec.metrics:
        what = "nothing says what is read of a run; write `metrics`, e.g. `val_loss: {better: lower, margin: 0.02}`"
        raise source.refuse(what, ("metrics",))
    for where in ((), *(("profiles", name) for name in names)):
        values = _at(source.values, where)
        if "data" in values and not is_asked:
            raise source.refuse("this task has no section `data`; name files under `task.data`", (*where, "data"))
        if "margin" in values and spec.metrics:
            raise source.refuse("each metric has its own margin; write it under `metrics`", (*where, "margin"))
    if not spec.metrics and spec.margin is None:
        raise source.refuse("`margin` is missing here", ())
    for name, metric in spec.metrics.items():
        split = metric.source.items if isinstance(metric.source, ItemsSource) else None
        if split is not None and split not in spec.task.items and not is_asked:
            hint = did_you_mean(split, spec.task.items) if spec.task.items else "; name its table under `task.items`"
            raise source.refuse(f"there are no items `{split}`{hint}", ("metrics", name, "from", "items"))


def _rename_task(source: Source) -> None:
    """Take a text under `task` as the `question`: files of earlier versions call it so."""
    for where in ((), *(("profiles", name) for name in _at(source.values, ("profiles",)))):
        section = _at(source.values, where)
        if isinstance(section.get("task"), str):
            line = source.line_of((*where, "task"))
            if "question" in section:
                what = "a text under `task` is the `question`, and there is a `question` too; keep one of them"
                raise source.refuse(what, (*where, "task"))
            section["question"] = section.pop("task")
            source.lines[*where, "question"] = line


def wrong_id(name: str, searches: Iterable[str]) -> str:
    """Say why an experiment cannot have a name; return an empty text if it can."""
    if wrong := ill_formed(name):
        return wrong
    if len(name) > MAX_ID_LENGTH:
        return f"a name has at most {MAX_ID_LENGTH} letters, found {len(name)}: `{name}`"
    if name == BASELINE:
        return f"`{name}` is the experiment with no change, which is written at the head of the file; choose another"
    # The runs of trials have such names. An experiment of that name would be mistaken for a trial.
    search = next((search for search in searches if re.fullmatch(rf"{re.escape(search)}-t\d+", name)), None)
    return f"`{name}` is what a trial of search `{search}` is called; choose another name" if search else ""


def _convert_spaces(source: Source) -> None:
    """Check the spaces of searches knob by knob: an error in a whole space would not name the knob."""
    searches = source.values.get("searches")
    for name in searches if isinstance(searches, dict) else ():
        for knob, within in _at(source.values, ("searches", name, "space")).items():
            where: Where = ("searches", name, "space", knob)
            kind = within.get("kind") if isinstance(within, dict) else within
            if kind not in SPACES:
                raise source.refuse(f"`kind` is {', '.join(SPACES)}, found `{kind}`", where)
            source.convert(within, SPACES[kind], where)


def _require_names(spec: CampaignSpec, source: Source) -> None:
    for name, experiment in spec.experiments.items():
        for profile in experiment.change_in:
            if profile not in spec.profiles:
                where: Where = ("experiments", name, "change_in", profile)
                raise source.refuse(f"there is no profile `{profile}`{did_you_mean(profile, spec.profiles)}", where)
    for name, search in spec.searches.items():
        if search.on not in (BASELINE, *spec.experiments):
            hint = did_you_mean(search.on, (BASELINE, *spec.experiments))
            raise source.refuse(f"there is no experiment `{search.on}`{hint}", ("searches", name, "on"))
    groups = [experiment.group for experiment in spec.experiments.values()]
    groups += [
        group for group, asked in ((AA, spec.aa), (ABLATION, spec.ablate), (INTERACTION, spec.interactions)) if asked
    ]
    known = (*spec.experiments, *(f"{TAG}{group}" for group in groups))
    for profile, profile_spec in spec.profiles.items():
        for index, name in enumerate(profile_spec.default_experiments):
            if name not in known:
                where = ("profiles", profile, "default_experiments", f"[{index}]")
                raise source.refuse(f"there is no experiment `{name}`{did_you_mean(name, known)}", where)


def at_profile(
    spec: CampaignSpec, source: Source, profile: str | None, seeds: tuple[int, ...] | None = None
) -> Campaign:
    """Return the campaign at one profile: the profile's fields replace those of the file.

    Raises:
        SpecError: there is no such profile, or the merged campaign is refused.
    """
    name = profile or spec.usual_profile
    if name not in spec.profiles:
        raise SpecError(f"{source.path}: there is no profile `{name}`{did_you_mean(name, spec.profiles)}")
    chosen = spec.profiles[name]
    source.profile = name
    seeds = seeds or seed_list(chosen.seeds or spec.seeds)
    # Before the arms are worked out: one line of a file can ask for a million seeds.
    _require_few_runs(spec, source, seeds)
    guards = source.convert(_merged(source, "guards"), GuardSpec, ("guards",))
    schema: Schema = {}
    if spec.task.check is not None and chosen.baseline:
        schema = ask_schema(spec.task, source.path.resolve().parent)
    campaign = Campaign(
        name=spec.campaign,
        title=spec.title or spec.campaign,
        question=chosen.question or spec.question,
        profile=name,
        about=chosen.about,
        task=spec.task,
        margin=chosen.margin or spec.margin or 0.0,
        seeds=seeds,
        data=_merged(source, "data"),
        guards=guards,
        slots_per_gpu=_slots_per_gpu(spec, chosen, guards, source),
        baseline=_baseline(source, schema),
        experiments=spec.experiments,
        judging=spec.judging,
        staging=spec.staging,
        default_experiments=chosen.default_experiments,
        interactions=spec.interactions,
        ablate=spec.ablate,
        aa=spec.aa,
        searches=spec.searches,
    )
    with source.locating():
        return with_metrics(campaign, spec.metrics) if spec.metrics else campaign


def _slots_per_gpu(spec: CampaignSpec, chosen: ProfileSpec, guards: GuardSpec, source: Source) -> int:
    slots = chosen.slots_per_gpu or spec.slots_per_gpu
    if slots > 1 and (why := guards.why_alone()) is not None:
        nulls = ", ".join(f"{name}: null" for name in guards.clock_limits)
        instead = f"`slots_per_gpu: 1`, or `{nulls}` and `relative_to_reference: 2.0` in `guards`"
        raise source.refuse(f"{slots} is refused: {why}; say {instead}", ("slots_per_gpu",))
    return slots


def _require_few_runs(spec: CampaignSpec, source: Source, seeds: tuple[int, ...]) -> None:
    num_arms = 1 + len(spec.experiments) + spec.aa
    if num_arms * len(seeds) > MAX_RUNS:
        found = f"{num_arms:,} experiments at {len(seeds):,} seeds are {num_arms * len(seeds):,} runs"
        raise source.refuse(f"{found}, and a campaign has at most {MAX_RUNS:,}; ask for fewer seeds", ("seeds",))


def seed_list(seeds: Seeds) -> tuple[int, ...]:
    """Return the seeds as numbers: `seeds: 3` means 0, 1, 2."""
    return tuple(range(seeds)) if isinstance(seeds, int) else seeds


def _at(values: dict[str, Any], where: Where) -> dict[str, Any]:
    node: Any = values
    for part in where:
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _merged(source: Source, section: str) -> dict[str, Any]:
    """Replace the fields that the profile names."""
    return _at(source.values, (section,)) | _at(source.values, ("profiles", source.profile, section))


def _baseline(source: Source, schema: Schema) -> BaselineSpec:
    """Merge the profile's baseline knob by knob, and tell parameters from what is said about the experiment."""
    # `_merged` replaces whole sections. A profile that sets one knob of `model` keeps the other knobs of the file.
    values = _at(source.values, (BASELINE,))
    about = {name: value for name, value in values.items() if name in BaselineSpec.__struct_fields__}
    spec = source.convert(about, BaselineSpec, (BASELINE,))
    with source.locating():
        params = nest(spec.params, (BASELINE, "params"))
        # All other keys are parameters, so nothing here is an unknown field.
        own = nest({name: value for name, value in values.items() if name not in about}, (BASELINE,))
        for name in own.keys() & params.keys():
            raise SpecError(f"`{name}` is given twice, also in `params`; keep one of them", (BASELINE, name))
        params |= own
        where = ("profiles", source.profile, BASELINE)
        apply_change(params, dict(leaves(nest(_at(source.values, where), where))), schema)
    return structs.replace(spec, params=params)
