"""`experiments.yaml` -> a typed campaign. Every error names file and line.

The file is YAML 1.2: `1e-3` is a number, `no` is a word. Only plain values are built. A key given twice is refused with
both lines, and an unknown key with the nearest valid name.
"""

import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator.campaign.fields import AA, ABLATION, BASELINE, INTERACTION, TAG, Seeds, Where
from orchestrator.campaign.search_spec import CategoricalSpace, FloatSpace, IntSpace, ObjectiveSpec, SearchSpec
from orchestrator.campaign.source import Source, T, ill_formed
from orchestrator.campaign.spec import (
    BaselineSpec,
    Campaign,
    CampaignSpec,
    DataSpec,
    ExperimentSpec,
    JudgingSpec,
    ProfileSpec,
    StagingSpec,
)
from orchestrator.errors import SpecError
from orchestrator.runs.identity import MAX_ID_LENGTH
from orchestrator.runs.order import GuardSpec
from orchestrator.task.knobs import apply_change, leaves
from orchestrator.task.metric_spec import ItemsSource, Margin, MetricSpec, Role
from orchestrator.task.spec import ItemsSpec, LabelsSpec
from orchestrator.wording import did_you_mean, listed

MAX_RUNS = 100_000
"""Most runs of a campaign: experiments times seeds. Each run has a folder."""
PREDICTIONS = ItemsSpec(file="{run_folder}/predictions.npz", key="key", stratum="device", reader="predictions")
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
    kinds = (("experiments", ExperimentSpec), ("profiles", ProfileSpec), ("searches", SearchSpec))
    for section, kind in kinds:
        for name, entry in _at(source.values, (section,)).items():
            is_experiment = section == "experiments"
            wrong = wrong_id(name, _at(source.values, ("searches",))) if is_experiment else ill_formed(name)
            if wrong:
                raise source.refuse(wrong, (section, name))
            source.convert(entry, kind, (section, name))
    parts = (("guards", GuardSpec), ("judging", JudgingSpec), ("staging", StagingSpec), ("baseline", BaselineSpec))
    for section, part in parts:
        if section in source.values:
            source.convert(source.values[section], part, (section,))
    spec = source.convert(source.values, CampaignSpec, ())
    _require_names(spec, source)
    return spec, source


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
    data = _merged(source, DataSpec, "data")
    guards = _merged(source, GuardSpec, "guards")
    for search_name, search in spec.searches.items():
        if search.objective.captures:
            with source.locating():
                objective_captures(search.objective, data, ("searches", search_name, "objective"))
    return Campaign(
        name=spec.campaign,
        title=spec.title or spec.campaign,
        question=chosen.question or spec.question,
        profile=name,
        about=chosen.about,
        metrics=capture_metrics(data, chosen.margin or spec.margin),
        items={name: PREDICTIONS for name in (*data.report, *data.choose)},
        labels=LabelsSpec(item="burst", stratum="device", cluster="session", split="capture"),
        notes=_notes(data),
        margin=chosen.margin or spec.margin,
        seeds=seeds,
        data=data,
        guards=guards,
        slots_per_gpu=_slots_per_gpu(spec, chosen, guards, source),
        baseline=_baseline(source),
        experiments=spec.experiments,
        judging=spec.judging,
        staging=spec.staging,
        default_experiments=chosen.default_experiments,
        interactions=spec.interactions,
        ablate=spec.ablate,
        aa=spec.aa,
        searches=spec.searches,
    )


def _notes(data: DataSpec) -> tuple[str, ...]:
    """Say of the captures and of the scores what a reader of the report must know."""
    scored = f"Each run was scored once, at the epoch of the lowest validation loss (on {listed(data.validate)})."
    emulated = (
        "Emulated bursts: `knockout data emulate` made the captures of this report. What holds for them need not hold "
        "for a real radio. Nothing here is a measurement of one."
    )
    return (emulated, scored) if data.emulate else (scored,)


def capture_metrics(data: DataSpec, margin: float) -> dict[str, MetricSpec]:
    """Return a metric for each capture that is scored: its accuracy in percent; the first reported one is judged."""
    roles: dict[str, Role] = dict.fromkeys(data.choose, "choose")
    roles |= dict.fromkeys(data.report, "shown")
    roles[data.report[0]] = "judged"
    return {
        name: MetricSpec(
            name=name,
            better="higher",
            source=ItemsSource(items=name, mean="100 * correct"),
            role=roles[name],
            margin=Margin(value=margin) if roles[name] == "judged" else None,
            unit="%",
        )
        for name in dict.fromkeys((*data.report, *data.choose))
    }


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


def _merged(source: Source, kind: type[T], section: str) -> T:
    """Replace the fields that the profile names, and check the result."""
    values = _at(source.values, (section,)) | _at(source.values, ("profiles", source.profile, section))
    return source.convert(values, kind, (section,))


def _baseline(source: Source) -> BaselineSpec:
    """Merge the profile's baseline knob by knob."""
    # `_merged` replaces whole sections. A profile that sets one knob of `model` keeps the other knobs of the file.
    values = deepcopy(_at(source.values, (BASELINE,)))
    apply_change(values, dict(leaves(_at(source.values, ("profiles", source.profile, BASELINE)))))
    return source.convert(values, BaselineSpec, (BASELINE,))


MISLEADING = (
    "validation accuracy misleads: models that validate best at the locations of their training often do worse at "
    "a new one, as the source study says of its own"
)


def objective_captures(objective: ObjectiveSpec, data: DataSpec, where: Where) -> tuple[str, ...]:
    """Return the captures that a search scores its points on.

    Args:
        objective: what the file says.
        data: the captures and their roles at the campaign's profile.
        where: the path of the objective in the file.

    Raises:
        SpecError: there is no such capture, one is given twice, or a search must not use it.
    """
    captures = objective.captures or data.choose
    here = (*where, "captures") if objective.captures else where
    if not captures:
        raise SpecError("a search needs a location to choose on; name one under `data.choose`", here)
    for place, name in enumerate(captures):
        if name in captures[:place]:
            raise SpecError(f"`{name}` is given twice, so its bursts count twice; keep one", (*here, f"[{place}]"))
        if name in data.report:
            what = f"`{name}` is for the report alone: what is chosen on it says nothing about a new location"
            raise SpecError(f"{what}; choose on {', '.join(data.choose) or 'a capture of `data.choose`'}", here)
    if set(captures) <= set(data.choose):
        return captures
    # An epoch records one accuracy over all of `validate`, so a part of these captures has no accuracy of its own.
    if set(captures) != set(data.validate):
        wanted = "captures of `data.choose`, or all of `data.validate`"
        raise SpecError(f"an objective is on {wanted}, found {', '.join(captures)}", here)
    if not objective.insist:
        raise SpecError(f"{MISLEADING}; choose on a capture of `data.choose`, or say `insist: true`", here)
    return captures
