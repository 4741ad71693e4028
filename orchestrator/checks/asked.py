"""What of a campaign file a check needs. A file that is not finished yet is read too: it may name no metric."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from orchestrator.campaign.source import Source
from orchestrator.errors import SpecError, UsageError
from orchestrator.task.knobs import leaves
from orchestrator.task.metric_spec import MetricSpec, parse_metrics
from orchestrator.task.parameters import apply_to_parameters, nest
from orchestrator.task.rules import check_baseline, check_task
from orchestrator.task.spec import FROM, TaskSpec, lay_over, parse_task, written_elsewhere
from orchestrator.wording import did_you_mean

SMALLEST = "smoke"
"""The profile that a check runs at, where the file has it."""
NO_PARAMETERS = ("title", "hypothesis", "reported", "params")
"""Keys of `baseline` that are no parameters; `params` holds parameters."""


class CheckedFile(Struct, frozen=True, kw_only=True):
    """A campaign file at one profile, as far as a check needs it."""

    profile: str
    """Empty for a file without profiles."""
    task: TaskSpec
    params: dict[str, Any]
    metrics: dict[str, MetricSpec]
    num_experiments: int
    """With the baseline."""
    num_seeds: int
    has_guards: bool


def read_checked(source: Source, profile: str | None, sets: Sequence[str] = ()) -> CheckedFile:
    """Read a campaign file for a check.

    Args:
        source: the file.
        profile: the scale; None for `smoke`, or the file's own where it has none of that name.
        sets: parameters to change, as `name=value`.

    Raises:
        SpecError: the file is refused; the message has its line.
        UsageError: a parameter cannot be set, or the file has no command of its own.
    """
    values = source.values
    name = _choose_profile(source, profile)
    chosen = _section(_section(values, "profiles"), name)
    with source.locating():
        task = _read_task(source)
        params = _read_params(source, chosen)
        check_baseline(task, params)
        metrics = parse_metrics(values["metrics"]) if values.get("metrics") else {}
    seeds = chosen.get("seeds", values.get("seeds", 1))
    return CheckedFile(
        profile=name,
        task=task,
        params=_with_sets(params, sets),
        metrics=metrics,
        num_experiments=1 + len(_section(values, "experiments")),
        num_seeds=seeds if isinstance(seeds, int) else len(seeds),
        has_guards=bool(_section(values, "guards")),
    )


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _choose_profile(source: Source, profile: str | None) -> str:
    names = list(_section(source.values, "profiles"))
    if profile is not None and profile not in names:
        hint = did_you_mean(profile, names) if names else "; it has none"
        raise SpecError(f"{source.path}: there is no profile `{profile}`{hint}")
    # The same order as of other commands, but that a check wants the cheapest runs that there are.
    usual = [profile, SMALLEST, source.values.get("default_profile"), "quick"]
    return next((one for one in usual if isinstance(one, str) and one in names), names[0] if names else "")


def _read_task(source: Source) -> TaskSpec:
    values = source.values.get("task")
    if not isinstance(values, dict):
        raise UsageError(
            f"{source.path}: has no section `task`, so there is no command of yours to check; `knockout init SCRIPT` "
            "writes one for a script"
        )
    # As the loader of campaigns reads it. That loader refuses a file without metrics, which a check can offer.
    elsewhere = written_elsewhere(values)
    if elsewhere is not None:
        own = {key: value for key, value in values.items() if key != FROM}
        values = lay_over(Source(source.path.parent / elsewhere).values, own)
    task = parse_task(values)
    if not task.supervised:
        raise UsageError(
            f"{source.path}: the command of this task is a job of Knockout's own, which needs no check; "
            "`knockout plan` shows what would be trained"
        )
    check_task(task)
    return task


def _read_params(source: Source, chosen: Mapping[str, Any]) -> dict[str, Any]:
    params = nest(_parameters_of(_section(source.values, "baseline")))
    for dotted, value in leaves(nest(_parameters_of(_section(chosen, "baseline")))):
        # A section of the profile changes single parameters, and keeps the others of the file.
        node = params
        *sections, last = dotted.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return params


def _parameters_of(baseline: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in baseline.items() if name not in NO_PARAMETERS}
    return own | _section(baseline, "params")


def _with_sets(params: dict[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    known = dict(leaves(params))
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write a parameter and its value, such as --set epochs=1")
        plain = _read_value(text, value)
        # A change that changes nothing is refused in a file, but here a person only wants to be sure.
        if known.get(name, FROM) == plain:
            continue
        try:
            params = apply_to_parameters(params, {name: plain})
        except SpecError as error:
            raise UsageError(f"--set {text}: {error}") from None
    return params


def _read_value(text: str, value: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(StringIO(value))
    except (YAMLError, ValueError):
        raise UsageError(f"--set {text}: `{value}` cannot be read; write it as a campaign file would") from None


def read_file(path: Path, text: str | None = None) -> Source:
    """Open a campaign file, or a text that is to become one.

    Raises:
        SpecError: it is missing, or no YAML.
    """
    return Source(path, text)
