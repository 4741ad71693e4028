"""A campaign at one profile -> its arms. Pure.

An arm is an experiment with its full configuration: the baseline, then the changes of the stack it stands on, then its
own. Two arms with the same configuration share their runs. For example K1 takes H2 back, so K1 equals E5.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct, structs

from model.config import JobConfig
from orchestrator.campaign.configs import ABSENT, baseline_config, declared_change, look_up, order_by_reference, put_on
from orchestrator.campaign.fields import BASELINE, TAG, Control, Reported
from orchestrator.campaign.generated import Interaction, Pair, Recipe, read_generated, refuse_name
from orchestrator.campaign.spec import Campaign, ExperimentSpec
from orchestrator.code.steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import SpecError, UsageError
from orchestrator.files import format_json
from orchestrator.task.knobs import Change, leaves
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
    config: JobConfig
    """With the campaign's first seed, shifted by `seed_shift`."""
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


def resolve_arms(campaign: Campaign) -> ResolvedArms:
    """Work out the stack, the configuration and the reference of every experiment.

    Raises:
        SpecError: an unknown reference, a cycle, an unknown knob, a value out of range, or a change without effect.
    """
    declared = _declared_arms(campaign)
    generated = read_generated(campaign)
    made = _make_all(generated.recipes, declared)
    interactions = find_interactions(generated.pairs, declared | made)
    arms = _mark_same(declared | _with_needs(made, interactions))
    return ResolvedArms(arms=arms, interactions=interactions)


def _declared_arms(campaign: Campaign) -> dict[str, Arm]:
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
    # Worked out in the order of references, because an arm begins from its reference.
    # Plans and reports use the order of the file.
    return {name: arms[name] for name in (BASELINE, *campaign.experiments)}


def _resolve_arm(campaign: Campaign, experiment_id: str, arms: Mapping[str, Arm]) -> Arm:
    experiment, reference = campaign.experiments[experiment_id], arms[campaign.experiments[experiment_id].on]
    change, where = declared_change(campaign, experiment_id)
    if reference.control:
        raise SpecError(
            f"`{reference.id}` is a control; no experiment stands on it", ("experiments", experiment_id, "on")
        )
    arm = Arm(
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
    return arm if arm.title else structs.replace(arm, title=describe_change(arm) or experiment_id)


def _own_steps(changing: ExperimentSpec | Arm) -> tuple[CodeStep, ...]:
    return (CodeStep(patch=changing.patch, ref=changing.ref),) if changing.patch or changing.ref else ()


def _make_all(recipes: Sequence[Recipe], declared: Mapping[str, Arm]) -> dict[str, Arm]:
    """Make the generated arms, each from its recipe."""
    arms = dict(declared)
    for recipe in recipes:
        arm = _make(recipe, arms)
        # Example: a pair of E5 and T1, both on the baseline. `E5-alone` would be E5 once more, so it is not made.
        if not (recipe.unless_there and _find_same(arm, arms)):
            refuse_name(recipe, arms)
            arms[recipe.id] = arm
    return {name: arm for name, arm in arms.items() if name not in declared}


def _with_needs(made: Mapping[str, Arm], interactions: Sequence[Interaction]) -> dict[str, Arm]:
    """Note in each generated cell of an interaction that it needs the other three cells."""
    noted = dict(made)
    for interaction in interactions:
        for name in noted.keys() & set(interaction.cells):
            needs = dict.fromkeys((*noted[name].needs, *interaction.cells))
            noted[name] = structs.replace(noted[name], needs=tuple(needs))
    return noted


def _make(recipe: Recipe, arms: Mapping[str, Arm]) -> Arm:
    base = arms[recipe.base]
    config = _put_together(recipe, arms)
    steps = tuple(step for part in recipe.parts for step in _own_steps(arms[part]))
    values = msgspec.to_builtins(config)
    # The change of an arm that leaves parts out: each knob of those parts, at the value to which it falls back.
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
        # One part may set a whole section, and another part a knob inside it. The later one wins without an error. The
        # arm would then name a part that has no effect in it.
        for knob, value in leaves(arms[part].change):
            if look_up(values, knob) != value:
                raise SpecError(
                    f"`{recipe.id}` cannot be made: another change takes back what `{part}` makes of `{knob}`; "
                    "leave one of them out",
                    recipe.where,
                )
    return config


def _find_same(arm: Arm, arms: Mapping[str, Arm]) -> str | None:
    # The name of an experiment changes no number of its training.
    nameless = structs.replace(arm.config, experiment="")
    same = (
        name
        for name, other in arms.items()
        if other.code == arm.code and structs.replace(other.config, experiment="") == nameless
    )
    return next(same, None)


def find_interactions(pairs: Sequence[Pair], arms: Mapping[str, Arm]) -> tuple[Interaction, ...]:
    """Find the four arms of each pair of `interactions` by their configurations. A pair that lacks one is left out."""
    found = []
    for pair in pairs:
        if {pair.first, pair.second, pair.base} <= arms.keys():
            # Arms are found by configuration and not by name: an experiment of the file may be one of the four.
            wanted = (arms[pair.base], *(_make(recipe, arms) for recipe in pair.recipes))
            cells = [name for arm in wanted if (name := _find_same(arm, arms))]
            if len(cells) == len(wanted):
                roles = zip(("neither", "only_first", "only_second", "both"), cells, strict=True)
                found.append(Interaction(first=pair.first, second=pair.second, **dict(roles)))
    return tuple(found)


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
