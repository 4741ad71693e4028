"""Configurations: that of the baseline, and what a change makes of another one. The task says what they come to."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.campaign.fields import BASELINE, Where
from orchestrator.campaign.spec import Campaign, ExperimentSpec
from orchestrator.errors import SpecError
from orchestrator.files import SMALL_BYTES, UNREADABLE, read_plain
from orchestrator.task.ask import Answer, Problem, ask_schema, check_configs
from orchestrator.task.kinds import Schema, knob_names
from orchestrator.task.knobs import Change, apply_change
from orchestrator.task.parameters import Parameters, apply_to_parameters, check_parameters, parameter_names
from orchestrator.task.rules import check_arm, check_baseline
from orchestrator.task.schema import read_schema
from orchestrator.task.spec import TaskSpec
from orchestrator.wording import did_you_mean

ABSENT = object()
"""The value of a knob that a configuration does not have."""
NOT_TO_CHANGE = ("experiment", "profile", "seed", "format")
"""What `config.json` holds beside the parameters."""


def raw_baseline(campaign: Campaign) -> Parameters:
    """Return the baseline's parameters as the campaign writes them."""
    # The section `data` stands at the head of the file, because profiles replace its fields as a whole.
    data = {"data": campaign.data} if campaign.data else {}
    return deepcopy(data | campaign.baseline.params)


class Configs:
    """Works configurations out by their task. All that are known beforehand are asked about at once.

    Attributes:
        task: the task of the campaign.
        root: the campaign's folder.
        baseline: the baseline's parameters as the campaign writes them.
    """

    def __init__(self, task: TaskSpec, root: Path, baseline: Parameters) -> None:
        self.task, self.root, self.baseline = task, root, baseline
        self._answers: dict[bytes, Answer] = {}

    @cached_property
    def schema(self) -> Schema:
        """The JSON Schema of the parameters: with kinds and references where the task checks, else what narrows them.

        Raises:
            SpecError: the schema is refused.
            DataError: the command that prints it gave no answer.
        """
        if self.task.check is not None:
            return ask_schema(self.task, self.root)
        if self.task.schema is None:
            return {}
        found: object = self.task.schema
        if isinstance(found, str):
            found = _read_schema_file(self.root / found)
        elif isinstance(found, tuple):
            found = ask_schema(self.task, self.root)
        return read_schema(found, parameter_names(self.baseline))

    @cached_property
    def _knobs(self) -> tuple[str, ...]:
        return knob_names(self.schema)

    def ask(self, configs: Iterable[Parameters]) -> None:
        """Ask the task about configurations, all in one question. Later calls of `answer` then ask nothing.

        Raises:
            DataError: the task gave no answer.
        """
        # The task takes the first one for the baseline.
        wanted = {msgspec.json.encode(each): each for each in (self.baseline, *configs)}
        new = [key for key in wanted if key not in self._answers]
        if new:
            keys = list(dict.fromkeys((msgspec.json.encode(self.baseline), *new)))
            found = check_configs(self.task, self.root, [wanted[key] for key in keys])
            self._answers |= dict(zip(keys, found, strict=True))

    def answer(self, config: Parameters) -> Answer:
        """Return what the task says of a configuration.

        Raises:
            DataError: the task gave no answer.
        """
        key = msgspec.json.encode(config)
        if key not in self._answers:
            self.ask([config])
        return self._answers[key]

    def answer_baseline(self) -> Answer:
        """Return what the task says of the baseline.

        Raises:
            SpecError: it is refused.
        """
        found = self.answer(self.baseline)
        if found.problem is not None:
            at = found.problem.at
            raise SpecError(found.problem.message, at if at[:1] == ("data",) else (BASELINE, *at))
        if self.task.check is None:
            check_parameters(found.params, self.schema)
        if self.task.supervised:
            check_baseline(self.task, found.params)
        return found

    def change(self, stack: Parameters, change: Change, where: Where) -> Parameters:
        """Return a stack with a change applied, as it is to be asked about.

        Raises:
            SpecError: a knob of the change is unknown; where the task does not check, also if it is out of range.
        """
        if self.task.check is None:
            return apply_to_parameters(stack, change, self.schema, where)
        for knob in change:
            if knob.partition(".")[0] in NOT_TO_CHANGE:
                raise SpecError(f"`{knob}` is not for an experiment to change", (*where, knob))
            if self._knobs and knob not in self._knobs:
                raise SpecError(f"there is no knob `{knob}`{did_you_mean(knob, self._knobs)}", (*where, knob))
        # What a change makes of missing sections and of kinds is known from the schema. So nothing is asked yet.
        changed = deepcopy(stack)
        apply_change(changed, change, self.schema)
        return changed

    def put_on(self, stack: Answer, changed: Parameters, change: Change, where: Where) -> Answer:
        """Return what the task says of a stack with a change applied.

        Args:
            stack: what it says of the stack.
            changed: the stack with the change applied, as `change` returns it.
            change: dotted knob -> value.
            where: path of the change in the campaign file.

        Raises:
            SpecError: a knob is out of range or changes nothing, or the knobs do not go together.
        """
        for knob, value in change.items():
            if value == look_up(stack.params, knob):
                raise SpecError(
                    f"`{knob}: {value}` changes nothing: the stack it is put on has that value already", (*where, knob)
                )
        found = self.answer(changed)
        if found.problem is not None:
            raise _locate(found.problem, change, where)
        if self.task.supervised:
            check_arm(self.task, self.answer(self.baseline).params, found.params, where)
        for knob in change:
            # Compared once more after validation.
            # A section that is written without its defaults looks new, and may be the old one.
            if knob in self.task.cosmetic or look_up(stack.params, knob) == look_up(found.params, knob):
                raise SpecError(f"`{knob}` changes nothing in the resolved configuration", (*where, knob))
        return found

    def vary(self, params: Parameters, change: Change, where: Where = ()) -> Answer:
        """Return what the task says of a complete configuration with a change applied.

        Raises:
            SpecError: a knob is unknown, out of range or changes nothing, or the knobs do not go together.
        """
        return self.put_on(Answer(params=params), self.change(params, change, where), change, where)


def _read_schema_file(path: Path) -> object:
    try:
        return msgspec.json.decode(read_plain(path, SMALL_BYTES))
    except UNREADABLE as error:
        raise SpecError(f"the JSON Schema {path} cannot be read: {error}", ("task", "schema")) from None


def _locate(problem: Problem, change: Change, where: Where) -> SpecError:
    # Name the dotted knob at fault; if all knobs together are at fault, name the whole change.
    dotted = ".".join(problem.at)
    knob = next((k for k in change if dotted == k or dotted.startswith(f"{k}.")), None)
    return SpecError(problem.message, (*where, knob) if knob else where)


def order_by_reference(experiments: Mapping[str, ExperimentSpec]) -> list[str]:
    """Sort experiments so that each comes after the one it stands on, and otherwise as in the file.

    Raises:
        SpecError: an experiment stands on an unknown one, or experiments stand on each other in a circle.
    """
    ordered: list[str] = []
    for experiment_id in experiments:
        # Follow the references down to an arm that is placed already.
        # Then place the arms on the way, the deepest first.
        chain = [experiment_id]
        while (reference := experiments[chain[-1]].on) not in (BASELINE, *ordered):
            where = ("experiments", chain[-1], "on")
            if reference not in experiments:
                hint = did_you_mean(reference, (BASELINE, *experiments))
                raise SpecError(f"`{chain[-1]}` stands on `{reference}`, which is no experiment here{hint}", where)
            if reference in chain:
                circle = " on ".join([*chain, reference])
                raise SpecError(f"experiments stand on each other in a circle: {circle}", where)
            chain.append(reference)
        ordered += [name for name in reversed(chain) if name not in ordered]
    return ordered


def declared_change(campaign: Campaign, experiment_id: str) -> tuple[Change, Where]:
    """Return what an experiment changes at the campaign's profile, and the path of that in the file."""
    experiment = campaign.experiments[experiment_id]
    where: Where = ("experiments", experiment_id)
    change, where = experiment.change, (*where, "change")
    if campaign.profile in experiment.change_in:
        change, where = experiment.change_in[campaign.profile], (*where[:2], "change_in", campaign.profile)
    if experiment.control is not None:
        here: Where = ("experiments", experiment_id, "control")
        controls = campaign.task.controls
        if experiment.control not in controls:
            raise SpecError(
                f"the task has no control `{experiment.control}`; say under `task.controls` which change makes it", here
            )
        return change | controls[experiment.control], where if change else here
    return change, where


def look_up(values: Mapping[str, Any], knob: str) -> object:
    """Return the value of a dotted knob in a plain configuration; ABSENT where it has none."""
    node: Any = values
    for part in knob.split("."):
        if not isinstance(node, dict) or part not in node:
            return ABSENT
        node = node[part]
    return node
