"""A campaign at one profile -> its arms. Pure.

An arm is an experiment with its configuration worked out: the baseline, then the changes of the stack it stands on,
then its own. Two arms that come out the same (K1 takes H2 back and so is E5) share their runs.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct, structs

from model.config import JobConfig
from orchestrator.campaign.configs import ABSENT, baseline_config, declared_change, look_up, order_by_reference, put_on
from orchestrator.campaign.fields import BASELINE, TAG, Control, Reported
from orchestrator.campaign.generated import Interaction, Recipe, interaction_pairs, recipes, refuse_name
from orchestrator.campaign.spec import Campaign, ExperimentSpec
from orchestrator.code.steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import SpecError, UsageError
from orchestrator.files import format_json
from orchestrator.task.knobs import Change, did_you_mean, leaves


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
    config: JobConfig
    """With the campaign's first seed, shifted by `seed_shift`."""
    patch: str | None = None
    """A diff that its own change applies to the code of its reference; a path beside the campaign file."""
    ref: str | None = None
    """The branch, tag or commit whose `model/` its own change runs."""
    code: tuple[CodeStep, ...] = ()
    """All that its stack does to the code, its own step last."""
    same_as: str | None = None
    """The earlier arm with the same configuration, whose runs it shares."""
    control: Control | None = None
    """What it tests of the protocol; such an arm is no idea to be judged with the others."""
    seed_shift: int = 0
    """How far the seeds that it trains at lie from the campaign's."""
    needs: tuple[str, ...] = ()
    """Beside its reference, the arms without which it says nothing: the other cells of its 2 x 2."""


def branch_content(arm: Arm) -> BranchContent:
    """Return what an experiment's branch holds of it: its steps, and the resolved experiment as JSON."""
    return BranchContent(
        experiment=arm.id,
        steps=arm.code,
        message=f"{arm.id}: {arm.title}\n\nOne change to {arm.reference or 'nothing'}; see {SPEC_FILE}.",
        spec=format_json(arm),
    )


def resolve_arms(campaign: Campaign) -> dict[str, Arm]:
    """Work out every experiment's stack, configuration and reference, in the order of the file; generated arms follow.

    Raises:
        SpecError: an unknown reference, a cycle, an unknown knob, a value out of range, or a change without effect.
    """
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
            config=baseline_config(campaign),
        )
    }
    for experiment_id in order_by_reference(campaign.experiments):
        arms[experiment_id] = _resolve_arm(campaign, experiment_id, arms)
    in_file_order = {name: arms[name] for name in (BASELINE, *campaign.experiments)}
    return _mark_same(in_file_order | _generate(campaign, in_file_order))


def _resolve_arm(campaign: Campaign, experiment_id: str, arms: Mapping[str, Arm]) -> Arm:
    experiment, reference = campaign.experiments[experiment_id], arms[campaign.experiments[experiment_id].on]
    change, where = declared_change(campaign, experiment_id)
    if reference.control:
        raise SpecError(
            f"`{reference.id}` is a control; no experiment stands on it", ("experiments", experiment_id, "on")
        )
    return Arm(
        id=experiment_id,
        title=experiment.title,
        group=experiment.group,
        hypothesis=experiment.hypothesis,
        reference=reference.id,
        stack=(*reference.stack, experiment_id),
        change=change,
        reported=experiment.reported,
        config=put_on(reference.config, change, experiment_id, where),
        patch=experiment.patch,
        ref=experiment.ref,
        code=(*reference.code, *_own_steps(experiment)),
        control=experiment.control,
    )


def _own_steps(changing: ExperimentSpec | Arm) -> tuple[CodeStep, ...]:
    return (CodeStep(patch=changing.patch, ref=changing.ref),) if changing.patch or changing.ref else ()


def _generate(campaign: Campaign, declared: Mapping[str, Arm]) -> dict[str, Arm]:
    """Make the arms that the file asks for without spelling them out."""
    arms = dict(declared)
    for recipe in recipes(campaign):
        arm = _make(recipe, arms)
        if not (recipe.unless_there and _find_same(arm, arms)):
            refuse_name(recipe, arms)
            arms[recipe.id] = arm
    generated = {name: arm for name, arm in arms.items() if name not in declared}
    for interaction in find_interactions(campaign, arms):
        for name in generated.keys() & set(interaction.cells):
            needs = dict.fromkeys((*generated[name].needs, *interaction.cells))
            generated[name] = structs.replace(generated[name], needs=tuple(needs))
    return generated


def _make(recipe: Recipe, arms: Mapping[str, Arm]) -> Arm:
    base = arms[recipe.base]
    config = _put_together(recipe, arms)
    steps = tuple(step for part in recipe.parts for step in _own_steps(arms[part]))
    values = msgspec.to_builtins(config)
    undone = {knob: look_up(values, knob) for part in recipe.left_out for knob in arms[part].change}
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
        config=structs.replace(config, seed=config.seed + recipe.seed_shift),
        patch=own.patch,
        ref=own.ref,
        code=(*base.code, *steps),
        control=recipe.control,
        seed_shift=recipe.seed_shift,
    )


def _changes(recipe: Recipe, arms: Mapping[str, Arm]) -> Change:
    return {knob: value for part in recipe.parts for knob, value in arms[part].change.items()}


def _put_together(recipe: Recipe, arms: Mapping[str, Arm]) -> JobConfig:
    try:
        config = put_on(arms[recipe.base].config, _changes(recipe, arms), recipe.id, recipe.where)
    except SpecError as error:
        about = f"{'.'.join(error.where[len(recipe.where) :])}: " if len(error.where) > len(recipe.where) else ""
        hint = "; take experiments that need each other as one part" if recipe.left_out else ""
        raise SpecError(f"`{recipe.id}` cannot be made: {about}{error}{hint}", recipe.where) from None
    values = msgspec.to_builtins(config)
    for part in recipe.parts:
        for knob, value in leaves(arms[part].change):
            if look_up(values, knob) != value:
                raise SpecError(
                    f"`{recipe.id}` cannot be made: another change takes back what `{part}` makes of `{knob}`; "
                    "leave one of them out",
                    recipe.where,
                )
    return config


def _find_same(arm: Arm, arms: Mapping[str, Arm]) -> str | None:
    nameless = structs.replace(arm.config, experiment="")
    same = (
        name
        for name, other in arms.items()
        if other.code == arm.code and structs.replace(other.config, experiment="") == nameless
    )
    return next(same, None)


def find_interactions(campaign: Campaign, arms: Mapping[str, Arm]) -> tuple[Interaction, ...]:
    """Find the four arms of each pair of `interactions` by their configurations; pairs that lack one are left out."""
    found = []
    for pair in interaction_pairs(campaign):
        if {pair.first, pair.second, pair.base} <= arms.keys():
            wanted = (arms[pair.base], *(_make(recipe, arms) for recipe in pair.recipes))
            cells = [name for arm in wanted if (name := _find_same(arm, arms))]
            if len(cells) == len(wanted):
                roles = zip(("neither", "only_first", "only_second", "both"), cells, strict=True)
                found.append(Interaction(first=pair.first, second=pair.second, **dict(roles)))
    return tuple(found)


def _mark_same(arms: dict[str, Arm]) -> dict[str, Arm]:
    marked: dict[str, Arm] = {}
    for name, arm in arms.items():
        marked[name] = structs.replace(arm, same_as=_find_same(arm, marked))
    return marked


def select_arms(arms: Mapping[str, Arm], asked: Sequence[str]) -> dict[str, Arm]:
    """Keep the arms asked for (all, when none is named), the references their verdicts need, and their twins.

    Arms that are the same share runs named after the first of them; without it they would be trained under two names.

    Raises:
        UsageError: a name is no experiment of the campaign.
    """
    wanted: set[str] = set()
    for word in asked or arms:
        for name in _named_by(word, arms):
            for needed in (name, *arms[name].needs):
                wanted |= _with_those_before(arms, needed)
    return {name: arm for name, arm in arms.items() if name in wanted}


def _named_by(word: str, arms: Mapping[str, Arm]) -> list[str]:
    """Return the experiments that a word means: one by its id, or with `tag:` in front all of a group."""
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


def _with_those_before(arms: Mapping[str, Arm], name: str) -> set[str]:
    """Return an arm, its reference and its twin, and theirs."""
    before = [other for other in (arms[name].reference, arms[name].same_as) if other is not None]
    return {name}.union(*(_with_those_before(arms, other) for other in before))


def describe_change(arm: Arm, mark: str = "") -> str:
    """Say what an experiment changes: knobs, code and seeds; `mark` stands around each name, as backticks do."""
    knobs = [f"{mark}{knob}: {msgspec.json.encode(value).decode()}{mark}" for knob, value in arm.change.items()]
    code = [f"{what} {mark}{name}{mark}" for what, name in (("patch", arm.patch), ("ref", arm.ref)) if name]
    seeds = [f"seeds {arm.seed_shift} higher"] if arm.seed_shift else []
    return ", ".join((*knobs, *code, *seeds))
