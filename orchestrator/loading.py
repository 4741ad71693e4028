"""`experiments.yaml` -> a typed campaign, strictly; every refusal says file and line.

YAML 1.2 is read (`1e-3` is a number, `no` is a word), only plain values are built, a key given twice is refused with
both lines, and unknown keys come with the nearest valid name.
"""

import codecs
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from orchestrator.errors import SpecError
from orchestrator.files import read_plain
from orchestrator.generated import AA, ABLATION, INTERACTION
from orchestrator.objective import objective_captures
from orchestrator.runs.identity import ID_PATTERN, MAX_ID_LENGTH
from orchestrator.runs.order import GuardSpec
from orchestrator.spec import (
    BASELINE,
    TAG,
    BaselineSpec,
    CampaignSpec,
    CategoricalSpace,
    DataSpec,
    ExperimentSpec,
    FloatSpace,
    IntSpace,
    JudgingSpec,
    ProfiledCampaign,
    ProfileSpec,
    SearchSpec,
    Seeds,
    StagingSpec,
)
from orchestrator.stacking import Where
from orchestrator.task.knobs import apply_change, describe_validation_error, did_you_mean, leaves
from orchestrator.wording import one_line

MAX_BYTES = 4 * 2**20
"""Most bytes of a campaign file."""
MAX_NODES = 100_000
"""Aliases can make a small file expand without end; no campaign comes near this."""
MAX_DEPTH = 50
"""Most mappings and lists in each other."""
MAX_INTEGER = 2**53
"""Largest whole number: up to here they are the same in every program that reads JSON."""
MAX_SHOWN = 80
"""Most letters that a message shows of what it found."""
MAX_RUNS = 100_000
"""Most runs of a campaign, its experiments times its seeds; each has a folder."""

_STEP = re.compile(r"\[\d+\]|[^\[\]]+")
SPACES: dict[str, type[Struct]] = {"float": FloatSpace, "int": IntSpace, "categorical": CategoricalSpace}
T = TypeVar("T", bound=Struct)


class Source:
    """A campaign file as plain values, with the line of every key."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        self.lines: dict[Where, int] = {(): 1}
        self.profile = ""
        """The profile whose differences count, once one is chosen."""
        self._num_nodes = 0
        self._yaml = YAML(typ="safe", pure=True)
        self.values = self._parse(self._read() if text is None else text)

    def _read(self) -> str:
        try:
            content = read_plain(self.path, MAX_BYTES)
        except FileNotFoundError:
            raise SpecError(f"{self.path}: there is no such file; name the campaign with -f FILE") from None
        except OSError as error:
            raise SpecError(f"{self.path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SpecError(f"{self.path}: this is no campaign file: {error}") from None
        return self._decode(content)

    def _decode(self, content: bytes) -> str:
        """Read UTF-8, with or without the mark that Windows puts in front of it."""
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SpecError(f"{self.path}:1: this is UTF-16; save the file as UTF-8")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            byte = content[error.start]
            raise SpecError(
                f"{self.path}:{line}: this is not UTF-8 (byte {byte:#04x}); save the file as UTF-8"
            ) from None

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            node = self._yaml.compose(text)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SpecError(f"{self.path}:{line}: this is not YAML: {error.problem}") from None
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            sign = one_line(str(error.character))
            raise SpecError(f"{self.path}:{line}: YAML cannot hold the sign `{sign}`; take it out") from None
        except (YAMLError, ValueError) as error:
            raise SpecError(f"{self.path}: this is not YAML: {one_line(str(error), MAX_SHOWN)}") from None
        except RecursionError:
            raise SpecError(f"{self.path}: lists and mappings lie too deep in each other; make it flatter") from None
        if not isinstance(node, MappingNode):
            raise SpecError(f"{self.path}:1: a campaign is a mapping (`campaign: my-study` and so on)")
        return self._mapping(node, ())

    def _value(self, node: Node, where: Where) -> Any:
        self._num_nodes += 1
        line = node.start_mark.line + 1
        if self._num_nodes > MAX_NODES:
            raise SpecError(f"{self.path}: more than {MAX_NODES} values; are aliases nested in each other?")
        if len(where) > MAX_DEPTH:
            raise SpecError(
                f"{self.path}:{line}: lists and mappings lie more than {MAX_DEPTH} deep in each other; is an alias "
                "inside of what it names?"
            )
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*where, f"[{index}]")) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: Node, where: Where) -> Any:
        self.lines[where] = node.start_mark.line + 1
        return self._value(node, where)

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                raise SpecError(f"{self.path}:{line}: a key must be a word")
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*where, key)]
                raise SpecError(f"{self.path}:{line}: `{key}` is given twice, first in line {first}; keep one of them")
            self.lines[(*where, key)] = line
            values[key] = self._value(value_node, (*where, key))
        return values

    def _scalar(self, node: Node) -> Any:
        line, shown = node.start_mark.line + 1, one_line(str(node.value), MAX_SHOWN)
        try:
            value = self._yaml.constructor.construct_object(node, deep=True)
        except (MarkedYAMLError, ValueError, ArithmeticError, LookupError):
            raise SpecError(f"{self.path}:{line}: cannot read `{shown}`") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{self.path}:{line}: `{shown}` reads as the number {value}; quote it if it is a word")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise SpecError(f"{self.path}:{line}: `{shown}` is larger than any number of a campaign ({MAX_INTEGER})")
        if not isinstance(value, str | int | float | bool | None):
            raise SpecError(f"{self.path}:{line}: `{shown}` reads as a {type(value).__name__}; quote it")
        return value

    def line_of(self, where: Where) -> int:
        """Return the line of a key, or of the nearest key around it."""
        while where not in self.lines:
            where = where[:-1]
        return self.lines[where]

    def _in_profile(self, where: Where) -> Where:
        """Where the chosen profile says something of its own about a key, that is the place to look."""
        differing = ("profiles", self.profile, *where)
        return differing if differing in self.lines else where

    def found(self, where: Where) -> str:
        """Say what stands at a key, for the end of a message."""
        node: Any = self.values
        for part in where:
            if isinstance(node, list):
                node = dict(zip((f"[{index}]" for index in range(len(node))), node, strict=True))
            if not isinstance(node, dict) or part not in node:
                return ""
            node = node[part]
        return "" if isinstance(node, dict) else f", found `{one_line(repr(node), MAX_SHOWN)}`"

    def refuse(self, message: str, where: Where) -> SpecError:
        """Make the error that begins with file and line."""
        where = self._in_profile(where)
        dotted = ".".join(where).replace(".[", "[")
        found = self.found(where) if message.startswith("Expected") else ""
        label = f"{dotted}: " if dotted else ""
        return SpecError(f"{self.path}:{self.line_of(where)}: {label}{message}{found}")

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Put file and line in front of what is refused inside."""
        try:
            yield
        except SpecError as error:
            raise self.refuse(str(error), error.where) from None

    def convert(self, values: object, kind: type[T], where: Where) -> T:
        """Check plain values against a type.

        Raises:
            SpecError: with file, line, what was found and the nearest valid name.
        """
        try:
            return msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            message, path = describe_validation_error(error, kind)
            steps = [step for part in path for step in _STEP.findall(part)]
            raise self.refuse(message, (*where, *steps)) from None


def load_campaign(path: Path, text: str | None = None) -> tuple[CampaignSpec, Source]:
    """Read and check a campaign file.

    Args:
        path: the file.
        text: what is to be in it, where that is not there yet.

    Raises:
        SpecError: the file is missing, is not YAML, or says something that a campaign cannot say.
    """
    source = Source(path, text)
    # Entry by entry, since a check of the whole file would not say which experiment it is about.
    _convert_spaces(source)
    kinds = (("experiments", ExperimentSpec), ("profiles", ProfileSpec), ("searches", SearchSpec))
    for section, kind in kinds:
        for name, entry in _at(source.values, (section,)).items():
            is_experiment = section == "experiments"
            wrong = wrong_id(name, _at(source.values, ("searches",))) if is_experiment else _ill_formed(name)
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


def wrong_id(name: str, searches: Iterable[str]) -> str:
    """Say why an experiment cannot have a name; nothing where it can."""
    if wrong := _ill_formed(name):
        return wrong
    if len(name) > MAX_ID_LENGTH:
        return f"a name has at most {MAX_ID_LENGTH} letters, found {len(name)}: `{name}`"
    if name == BASELINE:
        return f"`{name}` is the experiment with no change, which is written at the head of the file; choose another"
    search = next((search for search in searches if re.fullmatch(rf"{re.escape(search)}-t\d+", name)), None)
    return f"`{name}` is what a trial of search `{search}` is called; choose another name" if search else ""


def _ill_formed(name: str) -> str:
    what = "a name is letters and digits joined by single `.`, `_` or `-`, and begins with a letter"
    return "" if re.fullmatch(ID_PATTERN, name) else f"{what}, found `{name}`"


def _convert_spaces(source: Source) -> None:
    """Check the spaces of searches knob by knob: a check of a whole space would not say which knob it is about."""
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
) -> ProfiledCampaign:
    """Put a profile's differences in place.

    Raises:
        SpecError: there is no such profile, or what it merges to is refused.
    """
    name = profile or spec.default_profile
    if name not in spec.profiles:
        raise SpecError(f"{source.path}: there is no profile `{name}`{did_you_mean(name, spec.profiles)}")
    chosen = spec.profiles[name]
    source.profile = name
    seeds = seeds or seed_list(chosen.seeds or spec.seeds)
    _require_few_runs(spec, source, seeds)
    data = _merged(source, DataSpec, "data")
    for search_name, search in spec.searches.items():
        if search.objective.captures:
            with source.locating():
                objective_captures(search.objective, data, ("searches", search_name, "objective"))
    return ProfiledCampaign(
        name=spec.campaign,
        title=spec.title,
        task=chosen.task or spec.task,
        profile=name,
        about=chosen.about,
        margin=chosen.margin or spec.margin,
        seeds=seeds,
        data=data,
        guards=_merged(source, GuardSpec, "guards"),
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


def _require_few_runs(spec: CampaignSpec, source: Source, seeds: tuple[int, ...]) -> None:
    num_arms = 1 + len(spec.experiments) + spec.aa
    if num_arms * len(seeds) > MAX_RUNS:
        found = f"{num_arms:,} experiments at {len(seeds):,} seeds are {num_arms * len(seeds):,} runs"
        raise source.refuse(f"{found}, and a campaign has at most {MAX_RUNS:,}; ask for fewer seeds", ("seeds",))


def seed_list(seeds: Seeds) -> tuple[int, ...]:
    """Spell out `seeds: 3` as 0, 1, 2."""
    return tuple(range(seeds)) if isinstance(seeds, int) else seeds


def _at(values: dict[str, Any], where: Where) -> dict[str, Any]:
    node: Any = values
    for part in where:
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _merged(source: Source, kind: type[T], section: str) -> T:
    """Replace the fields that the profile names, and check the outcome."""
    values = _at(source.values, (section,)) | _at(source.values, ("profiles", source.profile, section))
    return source.convert(values, kind, (section,))


def _baseline(source: Source) -> BaselineSpec:
    """Merge the profile's baseline knob by knob."""
    values = deepcopy(_at(source.values, (BASELINE,)))
    apply_change(values, dict(leaves(_at(source.values, ("profiles", source.profile, BASELINE)))))
    return source.convert(values, BaselineSpec, (BASELINE,))
