"""A campaign at one profile -> its arms. Pure.

An arm is an experiment with its full configuration: the baseline, then the changes of the stack it stands on, then its
own. Two arms with the same configuration share their runs. For example K1 takes H2 back, so K1 equals E5.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from orchestrator.campaign.configs import ABSENT, Configs, declared_change, look_up, order_by_reference, raw_baseline
from orchestrator.campaign.fields import BASELINE, TAG, Control, Reported
from orchestrator.campaign.generated import Generated, Interaction, Pair, Recipe, read_generated, refuse_name
from orchestrator.campaign.spec import Campaign, ExperimentSpec
from orchestrator.code.steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import SpecError, UsageError
from orchestrator.files import format_json
from orchestrator.task.ask import About, Answer, Read
from orchestrator.task.knobs import Change, leaves
from orchestrator.task.parameters import Parameters
from orchestrator.wording import did_you_mean


class Arm(Struct, frozen=True, kw_only=True):
    """An experiment worked out for one profile."""

    id: str
    title: str
    group: str
    hypothesis: str
    reference: str | None
    """The arm it is compared with; None for the baseline."""
    stack: tuple[str, ...]
    """The experiments whose changes it carries, its own last."""
    change: Change
    reported: Reported | None
    params: dict[str, Any]
    """Every parameter, nested and resolved; the seed is not among them."""
    reads: tuple[Read, ...] = ()
    """The files that the parameters name, and whose content is part of what a run computes."""
    about: About = About()
    """What the task says of this configuration."""
    cosmetic: tuple[str, ...] = ()
    """Dotted names of parameters that change no number."""
    patch: str | None = None
    """A diff that its own change applies to the code of its reference; a path beside the campaign file."""
    ref: str | None = None
    """The branch, tag or commit whose `model/` its own change runs."""
    code: tuple[CodeStep, ...] = ()
    """The patches and refs of its stack, its own last."""
    same_as: str | None = None
    """The earlier arm with the same configuration, whose runs it shares."""
    control: Control | None = None
    """What it tests of the protocol; a control is not judged with the ideas."""
    seed_shift: int = 0
    """What is added to the campaign's seeds to get the seeds that it trains at."""
    needs: tuple[str, ...] = ()
    """The arms that its verdict needs beside its reference: all four arms of its interaction."""


def branch_content(arm: Arm) -> BranchContent:
    """Return what the branch of an experiment holds: its patches and refs, and the experiment as JSON."""
    return BranchContent(
        experiment=arm.id,
        steps=arm.code,
        message=f"{arm.id}: {arm.title}\n\nOne change to {arm.reference or 'nothing'}; see {SPEC_FILE}.",
        spec=format_json(arm),
    )


class ResolvedArms(Struct, frozen=True, kw_only=True):
    """Every experiment of a campaign, worked out once."""

    arms: dict[str, Arm]
    """In the order of the file; generated arms follow."""
    interactions: tuple[Interaction, ...] = ()


def configs_of(campaign: Campaign, root: Path) -> Configs:
    """Return what works out the configurations of a campaign; `root` is its folder."""
    return Configs(campaign.task, root, raw_baseline(campaign))


def resolve_arms(campaign: Campaign, configs: Configs) -> ResolvedArms:
    """Work out the stack, the configuration and the reference of every experiment.

    Raises:
        SpecError: an unknown reference, a cycle, an unknown knob, a value out of range, or a change without effect.
        DataError: the task gave no answer.
    """
    order = order_by_reference(campaign.experiments)
    generated = read_generated(campaign)
    raw = _collect_declared(campaign, order, configs)
    combined = _collect_generated(campaign, generated, raw, configs)
    # All at once, because each question starts a process.
    configs.ask((*raw.values(), *combined.values()))
    maker = _Maker(configs, raw, combined)
    declared = maker.declare(campaign, order)
    made = maker.make_all(generated.recipes, declared)
    interactions = maker.find_interactions(generated.pairs, declared | made)
    arms = _mark_same(declared | _with_needs(made, interactions))
    return ResolvedArms(arms=arms, interactions=interactions)


def _collect_declared(campaign: Campaign, order: Sequence[str], configs: Configs) -> dict[str, Parameters]:
    """Return the parameters of the experiments of the file, as they are to be asked about: name -> parameters."""
    raw = {BASELINE: configs.baseline}
    for name in order:
        change, where = declared_change(campaign, name)
        raw[name] = configs.change(raw[campaign.experiments[name].on], change, where)
    return raw


def _collect_generated(
    campaign: Campaign, generated: Generated, raw: Mapping[str, Parameters], configs: Configs
) -> dict[str, Parameters]:
    """Return the parameters of all recipes, also of those that are found to be there already: name -> parameters."""
    combined: dict[str, Parameters] = {}
    for recipe in (*generated.recipes, *(recipe for pair in generated.pairs for recipe in pair.recipes)):
        changes = {knob: value for part in recipe.parts for knob, value in declared_change(campaign, part)[0].items()}
        try:
            combined[recipe.id] = configs.change(raw[recipe.base], changes, recipe.where)
        except SpecError as error:
            raise _cannot_be_made(recipe, error) from None
    return combined


class _Maker:
    """Makes arms of configurations that the task has been asked about.

    Attributes:
        configs: holds the answers.
        raw: experiment of the file -> its parameters as they were asked about.
        combined: the same of generated arms.
    """

    def __init__(self, configs: Configs, raw: Mapping[str, Parameters], combined: Mapping[str, Parameters]) -> None:
        self.configs, self.raw, self.combined = configs, raw, combined

    def declare(self, campaign: Campaign, order: Sequence[str]) -> dict[str, Arm]:
        """Make the baseline and the experiments of the file."""
        found = self.configs.answer_baseline()
        arms = {
            BASELINE: Arm(
                id=BASELINE,
                title=campaign.baseline.title,
                group=BASELINE,
                hypothesis=campaign.baseline.hypothesis,
                reference=None,
                stack=(),
                change={},
                reported=campaign.baseline.reported,
                params=found.params,
                reads=found.reads,
                about=found.about,
                cosmetic=self.configs.task.cosmetic,
            )
        }
        for name in order:
            arms[name] = self._resolve(campaign, name, arms)
        # Worked out in the order of references, because an arm begins from its reference.
        # Plans and reports use the order of the file.
        return {name: arms[name] for name in (BASELINE, *campaign.experiments)}

    def _resolve(self, campaign: Campaign, name: str, arms: Mapping[str, Arm]) -> Arm:
        experiment, reference = campaign.experiments[name], arms[campaign.experiments[name].on]
        change, where = declared_change(campaign, name)
        if reference.control:
            raise SpecError(f"`{reference.id}` is a control; no experiment stands on it", ("experiments", name, "on"))
        found = self.configs.put_on(Answer(params=reference.params), self.raw[name], change, where)
        arm = Arm(
            id=name,
            title=experiment.title,
            group=experiment.group,
            hypothesis=experiment.hypothesis,
            reference=reference.id,
            stack=(*reference.stack, name),
            change=change,
            reported=experiment.reported,
            params=found.params,
            reads=found.reads,
            about=found.about,
            cosmetic=self.configs.task.cosmetic,
            patch=experiment.patch,
            ref=experiment.ref,
            code=(*reference.code, *_own_steps(experiment)),
            control=experiment.control,
        )
        return arm if arm.title else structs.replace(arm, title=describe_change(arm) or name)

    def make_all(self, recipes: Sequence[Recipe], declared: Mapping[str, Arm]) -> dict[str, Arm]:
        """Make the generated arms, each from its recipe."""
        arms = dict(declared)
        for recipe in recipes:
            arm = self._make(recipe, arms)
            # Example: a pair of E5 and T1, both on the baseline. `E5-alone` would be E5 once more, so it is not made.
            if not (recipe.unless_there and _find_same(arm, arms)):
                refuse_name(recipe, arms)
                arms[recipe.id] = arm
        return {name: arm for name, arm in arms.items() if name not in declared}

    def _make(self, recipe: Recipe, arms: Mapping[str, Arm]) -> Arm:
        base = arms[recipe.base]
        found = self._put_together(recipe, arms)
        steps = tuple(step for part in recipe.parts for step in _own_steps(arms[part]))
        # The change of an arm that leaves parts out: each knob of those parts, at the value to which it falls back.
        undone = {knob: look_up(found.params, knob) for part in recipe.left_out for knob in arms[part].change}
        own = steps[-1] if steps and not recipe.left_out else CodeStep()
        return Arm(
            id=recipe.id,
            title=recipe.title,
            group=recipe.group,
            hypothesis=recipe.hypothesis,
            reference=recipe.reference,
            stack=(*base.stack, *recipe.parts),
            change={knob: value for knob, value in undone.items() if value is not ABSENT}
            if recipe.left_out
            else _changes(recipe, arms),
            reported=None,
            params=found.params,
            reads=found.reads,
            about=found.about,
            cosmetic=self.configs.task.cosmetic,
            patch=own.patch,
            ref=own.ref,
            code=(*base.code, *steps),
            control=recipe.control,
            seed_shift=recipe.seed_shift,
        )

    def _put_together(self, recipe: Recipe, arms: Mapping[str, Arm]) -> Answer:
        try:
            stack, changes = Answer(params=arms[recipe.base].params), _changes(recipe, arms)
            found = self.configs.put_on(stack, self.combined[recipe.id], changes, recipe.where)
        except SpecError as error:
            raise _cannot_be_made(recipe, error) from None
        for part in recipe.parts:
            # One part may set a whole section, and another part a knob inside it. The later one wins without an error.
            # The arm would then name a part that has no effect in it.
            for knob, value in leaves(arms[part].change):
                if look_up(found.params, knob) != value:
                    raise SpecError(
                        f"`{recipe.id}` cannot be made: another change takes back what `{part}` makes of `{knob}`; "
                        "leave one of them out",
                        recipe.where,
                    )
        return found

    def find_interactions(self, pairs: Sequence[Pair], arms: Mapping[str, Arm]) -> tuple[Interaction, ...]:
        """Find the four arms of each pair by their configurations. A pair that lacks one is left out."""
        found = []
        for pair in pairs:
            # Arms are found by configuration and not by name: an experiment of the file may be one of the four.
            wanted = (arms[pair.base], *(self._make(recipe, arms) for recipe in pair.recipes))
            cells = [name for arm in wanted if (name := _find_same(arm, arms))]
            if len(cells) == len(wanted):
                roles = zip(("neither", "only_first", "only_second", "both"), cells, strict=True)
                found.append(Interaction(first=pair.first, second=pair.second, **dict(roles)))
        return tuple(found)


def _cannot_be_made(recipe: Recipe, error: SpecError) -> SpecError:
    about = f"{'.'.join(error.where[len(recipe.where) :])}: " if len(error.where) > len(recipe.where) else ""
    hint = "; take experiments that need each other as one part" if recipe.left_out else ""
    return SpecError(f"`{recipe.id}` cannot be made: {about}{error}{hint}", recipe.where)


def _own_steps(changing: ExperimentSpec | Arm) -> tuple[CodeStep, ...]:
    return (CodeStep(patch=changing.patch, ref=changing.ref),) if changing.patch or changing.ref else ()


def _with_needs(made: Mapping[str, Arm], interactions: Sequence[Interaction]) -> dict[str, Arm]:
    """Note in each generated cell of an interaction that it needs the other three cells."""
    noted = dict(made)
    for interaction in interactions:
        for name in noted.keys() & set(interaction.cells):
            needs = dict.fromkeys((*noted[name].needs, *interaction.cells))
            noted[name] = structs.replace(noted[name], needs=tuple(needs))
    return noted


def _changes(recipe: Recipe, arms: Mapping[str, Arm]) -> Change:
    return {knob: value for part in recipe.parts for knob, value in arms[part].change.items()}


def _find_same(arm: Arm, arms: Mapping[str, Arm]) -> str | None:
    same = (
        name
        for name, other in arms.items()
        if (other.code, other.seed_shift, other.params) == (arm.code, arm.seed_shift, arm.params)
    )
    return next(same, None)


def _mark_same(arms: dict[str, Arm]) -> dict[str, Arm]:
    marked: dict[str, Arm] = {}
    for name, arm in arms.items():
        # Only earlier arms are compared. Of several equal arms the first one has the runs, and the others point to it.
        marked[name] = structs.replace(arm, same_as=_find_same(arm, marked))
    return marked


def select_arms(arms: Mapping[str, Arm], asked: Sequence[str]) -> dict[str, Arm]:
    """Return the arms asked for (all, if none is named) and the arms that these need.

    An arm needs its reference, and the first arm with the same configuration: the runs that they share have its name.

    Raises:
        UsageError: the campaign has no experiment of a name.
    """
    wanted: set[str] = set()
    for word in asked or arms:
        for name in _named_by(word, arms):
            for needed in (name, *arms[name].needs):
                wanted |= _with_needed(arms, needed)
    return {name: arm for name, arm in arms.items() if name in wanted}


def _named_by(word: str, arms: Mapping[str, Arm]) -> list[str]:
    """Return the experiments that a word means: `E5` that experiment, `tag:loss` all of the group `loss`."""
    if word in arms:
        return [word]
    if not word.startswith(TAG):
        raise UsageError(f"there is no experiment `{word}`{did_you_mean(word, tuple(arms))}")
    group = word.removeprefix(TAG)
    named = [name for name, arm in arms.items() if arm.group == group]
    if not named:
        groups = tuple(dict.fromkeys(arm.group for arm in arms.values()))
        raise UsageError(f"no experiment is of the group `{group}`{did_you_mean(group, groups)}")
    return named


def _with_needed(arms: Mapping[str, Arm], name: str) -> set[str]:
    """Return an arm, its reference, the arm with the same configuration, and what these need."""
    # An arm may be the same as one that stands on it: C takes A's change back and comes before B, on which A stands.
    # So the way from arm to arm may come back to where it began.
    found: set[str] = set()
    left = [name]
    while left:
        found.add(name := left.pop())
        before = (arms[name].reference, arms[name].same_as)
        left += [other for other in before if other is not None and other not in found]
    return found


def describe_change(arm: Arm, mark: str = "") -> str:
    """Say what an experiment changes: knobs, code and seeds; `mark` stands around each name, as backticks do."""
    knobs = [f"{mark}{knob}: {msgspec.json.encode(value).decode()}{mark}" for knob, value in arm.change.items()]
    code = [f"{what} {mark}{name}{mark}" for what, name in (("patch", arm.patch), ("ref", arm.ref)) if name]
    seeds = [f"seeds {arm.seed_shift} higher"] if arm.seed_shift else []
    return ", ".join((*knobs, *code, *seeds))
