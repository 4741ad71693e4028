"""Recipes of the arms that `interactions`, `ablate` and `aa` of a campaign file ask for. Pure.

A recipe says which changes are applied to which arm, and names the result. `arms.py` works the configurations out.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence

from msgspec import Struct

from orchestrator import wording
from orchestrator.campaign.configs import declared_change, order_by_reference
from orchestrator.campaign.fields import (
    AA,
    AA_SEED_STEP,
    ABLATION,
    BASELINE,
    CAMPAIGN,
    CONTROLS,
    INTERACTION,
    TAG,
    Control,
    Where,
)
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import SpecError
from orchestrator.runs.identity import MAX_ID_LENGTH
from orchestrator.wording import did_you_mean

FULL = "full"


class Recipe(Struct, frozen=True, kw_only=True):
    """How an arm is made: the changes of `parts`, in this order, applied to `base`."""

    id: str
    title: str
    group: str
    hypothesis: str
    base: str
    parts: tuple[str, ...] = ()
    reference: str
    left_out: tuple[str, ...] = ()
    """The experiments whose changes the reference has and this arm lacks."""
    control: Control | None = None
    seed_shift: int = 0
    """What is added to the campaign's seeds to get its seeds."""
    unless_there: bool = False
    """Whether it is not made if an arm with the same configuration exists."""
    where: Where
    """Path of the entry in the campaign file that asks for it."""


class Interaction(Struct, frozen=True, kw_only=True):
    """Two experiments and the four arms that show whether their effects add up."""

    first: str
    second: str
    neither: str
    """The common base of the four arms."""
    only_first: str
    only_second: str
    both: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The four arms."""
        return self.neither, self.only_first, self.only_second, self.both

    @property
    def arms(self) -> set[str]:
        """The pair and its four arms. If H2 stands on E5, its arm is `H2-alone`, and H2 is none of the four."""
        return {self.first, self.second, *self.cells}


class Pair(Struct, frozen=True, kw_only=True):
    """An entry of `interactions`."""

    first: str
    second: str
    base: str
    recipes: tuple[Recipe, Recipe, Recipe]
    """The first alone, the second alone, and both together."""


_KEPT = {
    **dict.fromkeys((INTERACTION, ABLATION, AA), "arms that the file asks for by `interactions`, `ablate` or `aa`"),
    **dict.fromkeys((CONTROLS, CAMPAIGN), "what verdicts are reached among: the controls, or the whole campaign"),
}
"""Name of a group that experiments cannot have -> what it is kept for."""


class Generated(Struct, frozen=True, kw_only=True):
    """The generated arms that a campaign file asks for, as recipes."""

    pairs: tuple[Pair, ...]
    """The entries of `interactions`."""
    recipes: tuple[Recipe, ...]
    """All arms to make, those of the pairs first. Each comes after the arm that it is compared with."""


def read_generated(campaign: Campaign) -> Generated:
    """Work out `interactions`, `ablate` and `aa`.

    Raises:
        SpecError: an entry names an unknown experiment, or experiments that exclude each other. Or an experiment is in
            a group whose name belongs to generated arms or to a family of comparisons.
    """
    _refuse_kept_groups(campaign)
    pairs = tuple(interaction_pairs(campaign))
    of_pairs = [recipe for pair in pairs for recipe in pair.recipes]
    return Generated(pairs=pairs, recipes=(*of_pairs, *_leave_one_out(campaign), *_replicates(campaign)))


def _refuse_kept_groups(campaign: Campaign) -> None:
    for name, experiment in campaign.experiments.items():
        kept_for = _KEPT.get(experiment.group)
        if kept_for and not (experiment.control and experiment.group == CONTROLS):
            what = f"the group `{experiment.group}` is kept for {kept_for}; call this one otherwise"
            raise SpecError(what, ("experiments", name, "group"))


def interaction_pairs(campaign: Campaign) -> list[Pair]:
    """Work out `interactions`.

    Raises:
        SpecError: a pair names an unknown experiment, one experiment twice, or two that change the same knob.
    """
    pairs: list[Pair] = []
    for index, (first, second) in enumerate(campaign.interactions):
        where: Where = ("interactions", f"[{index}]")
        for name in (first, second):
            _require_experiment(campaign, name, where)
        if first == second:
            raise SpecError(f"`{first}` is paired with itself; a pair is of two experiments", where)
        if any({first, second} == {pair.first, pair.second} for pair in pairs):
            raise SpecError(f"the pair of `{first}` and `{second}` is given twice; keep one of them", where)
        _refuse_same_knob(campaign, first, second, where)
        pairs.append(_pair(campaign, first, second, where))
    return pairs


def _pair(campaign: Campaign, first: str, second: str, where: Where) -> Pair:
    base = common_base(campaign, first, second)
    question = f"Whether the effects of {first} and {second} add up."

    def alone(name: str, other: str) -> Recipe:
        return Recipe(
            id=f"{name}-alone" if base == BASELINE else f"{name}-on-{base}",
            title=f"{campaign.experiments[name].title or name}, without {other}",
            group=INTERACTION,
            hypothesis=question,
            base=base,
            parts=(name,),
            reference=base,
            unless_there=True,
            where=where,
        )

    both = Recipe(
        id=f"{first}-and-{second}",
        title=f"{first} and {second} together",
        group=INTERACTION,
        hypothesis=question,
        base=base,
        parts=_in_order(campaign, (first, second)),
        reference=base,
        unless_there=True,
        where=where,
    )
    return Pair(first=first, second=second, base=base, recipes=(alone(first, second), alone(second, first), both))


def common_base(campaign: Campaign, first: str, second: str) -> str:
    """Return the last arm that the stacks of both experiments have in common, neither of the two included."""
    base = BASELINE
    # Example: H2 stands on E5.
    # Without the two themselves their stacks are (E5) and (), so the common base is the baseline.
    for ours, theirs in zip(_stack(campaign, first)[:-1], _stack(campaign, second)[:-1], strict=False):
        if ours != theirs:
            break
        base = ours
    return base


def _stack(campaign: Campaign, name: str) -> tuple[str, ...]:
    on = campaign.experiments[name].on
    return (name,) if on == BASELINE else (*_stack(campaign, on), name)


def _in_order(campaign: Campaign, names: Sequence[str]) -> tuple[str, ...]:
    """Sort experiments as in the file, but each after the one it stands on."""
    return tuple(name for name in order_by_reference(campaign.experiments) if name in names)


def _require_experiment(campaign: Campaign, name: str, where: Where) -> None:
    if name not in campaign.experiments:
        raise SpecError(f"there is no experiment `{name}`{did_you_mean(name, campaign.experiments)}", where)
    if campaign.experiments[name].control:
        raise SpecError(f"`{name}` is a control, so there is nothing to learn from it with others", where)


def _refuse_same_knob(campaign: Campaign, first: str, second: str, where: Where) -> None:
    ours, theirs = (declared_change(campaign, name)[0] for name in (first, second))
    for knob in ours:
        # The dots keep names apart: `model.depth` is inside `model`, but not inside `model.dep`.
        if any(f"{knob}.".startswith(f"{other}.") or f"{other}.".startswith(f"{knob}.") for other in theirs):
            raise SpecError(
                f"`{first}` and `{second}` both change `{knob}`, so no arm can have the changes of both; "
                "pair experiments that change different knobs",
                where,
            )
    _refuse_same_code(campaign, first, second, where)


def _refuse_same_code(campaign: Campaign, first: str, second: str, where: Where) -> None:
    ours, theirs = (campaign.experiments[name] for name in (first, second))
    # Two patches can be applied one after the other.
    # A ref replaces all of `model/`, so it would undo a patch before it.
    if (ours.ref and (theirs.ref or theirs.patch)) or (theirs.ref and ours.patch):
        raise SpecError(
            f"`{first}` and `{second}` exclude each other: a `ref` takes the whole code, and both change the code; "
            "write the change of a `ref` as a `patch`",
            where,
        )


def _leave_one_out(campaign: Campaign) -> Iterator[Recipe]:
    if not campaign.ablate:
        return
    parts = _parts(campaign)
    everything = _in_order(campaign, [member for members in parts.values() for member in members])
    yield Recipe(
        id=FULL,
        title="All parts together",
        group=ABLATION,
        hypothesis=f"What {', '.join(parts)} come to together.",
        base=BASELINE,
        parts=everything,
        reference=BASELINE,
        where=("ablate",),
    )
    # A part may help alone and be useless beside the others.
    # So each part is left out of the whole, and not added to the baseline.
    for index, (name, members) in enumerate(parts.items()):
        yield Recipe(
            id=f"{FULL}-without-{name}",
            title=f"All parts but {name}",
            group=ABLATION,
            hypothesis=f"What is {wording.listed(members)} worth where all other parts are there?",
            base=BASELINE,
            parts=tuple(member for member in everything if member not in members),
            reference=FULL,
            left_out=members,
            where=("ablate", f"[{index}]"),
        )


def _parts(campaign: Campaign) -> dict[str, tuple[str, ...]]:
    """Return the parts of `ablate`: a name that fits into an id -> its experiments."""
    parts: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for index, entry in enumerate(campaign.ablate):
        where: Where = ("ablate", f"[{index}]")
        words = (entry,) if isinstance(entry, str) else entry
        members = tuple(member for word in words for member in _members(campaign, word, where))
        name = _part_name(words, members, index)
        for member in members:
            if member in seen:
                raise SpecError(f"`{member}` is given twice, also in part `{seen[member]}`; name it once", where)
            _refuse_excluded(campaign, member, seen, where)
            seen[member] = name
        if name in parts:
            raise SpecError(f"two parts would be called `{name}`; name the experiments of one of them", where)
        parts[name] = members
    return parts


def _members(campaign: Campaign, word: str, where: Where) -> list[str]:
    if not word.startswith(TAG):
        _require_experiment(campaign, word, where)
        return [word]
    group = word.removeprefix(TAG)
    members = [name for name, experiment in campaign.experiments.items() if experiment.group == group]
    if not members:
        groups = (experiment.group for experiment in campaign.experiments.values())
        raise SpecError(f"no experiment is of the group `{group}`{did_you_mean(group, groups)}", where)
    for name in members:
        _require_experiment(campaign, name, where)
    return members


def _part_name(words: Sequence[str], members: Sequence[str], index: int) -> str:
    spelt = (re.sub(r"[^A-Za-z0-9]+", "-", word.removeprefix(TAG)) if word.startswith(TAG) else word for word in words)
    name = "-".join(stripped for word in spelt if (stripped := word.strip("-"))) or f"part-{index + 1}"
    # Branches and folders carry this name, so its length is limited. The first member and a count are short enough.
    if len(f"{FULL}-without-{name}") <= MAX_ID_LENGTH or len(members) == 1:
        return name
    return f"{members[0]}-and-{len(members) - 1}-more"


def _refuse_excluded(campaign: Campaign, name: str, others: Iterable[str], where: Where) -> None:
    change = declared_change(campaign, name)[0]
    for other in others:
        earlier = declared_change(campaign, other)[0]
        for knob in change:
            if knob in earlier and change[knob] != earlier[knob]:
                raise SpecError(
                    f"`{other}` and `{name}` exclude each other: `{knob}` is {earlier[knob]} in one and {change[knob]} "
                    "in the other; leave one of them out",
                    where,
                )
        _refuse_same_code(campaign, other, name, where)


def _replicates(campaign: Campaign) -> Iterator[Recipe]:
    # Seeds that lie further apart than the step could overlap with the shifted ones.
    # An A/A run would then be a run of the baseline itself.
    if campaign.aa and max(campaign.seeds) - min(campaign.seeds) >= AA_SEED_STEP:
        raise SpecError(
            f"A/A arms train at seeds {AA_SEED_STEP} apart, so the campaign's seeds must lie closer together than "
            f"that, found {min(campaign.seeds)} and {max(campaign.seeds)}",
            ("aa",),
        )
    for number in range(1, campaign.aa + 1):
        shift = AA_SEED_STEP * number
        yield Recipe(
            id=f"AA{number}",
            title=f"The baseline again, at seeds {shift} higher",
            group=AA,
            hypothesis="Nothing but the seed differs: a verdict of improved or regression is a false one.",
            base=BASELINE,
            reference=BASELINE,
            control="aa",
            seed_shift=shift,
            where=("aa",),
        )


def refuse_name(recipe: Recipe, taken: Container[str]) -> None:
    """Refuse a recipe if its name is taken or too long.

    Raises:
        SpecError: another experiment has the name, or the name is too long.
    """
    if recipe.id in taken:
        what = "and the file has an experiment of that name that is something else; rename that one"
        raise SpecError(f"this makes an experiment `{recipe.id}`, {what}", recipe.where)
    if len(recipe.id) > MAX_ID_LENGTH:
        what = f"which is longer than {MAX_ID_LENGTH} letters; give its experiments shorter names"
        raise SpecError(f"this makes an experiment `{recipe.id}`, {what}", recipe.where)
