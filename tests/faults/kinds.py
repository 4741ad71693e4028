"""A kind of fault: its name, how and where it can be made, and the function that makes it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.storm import Storm

Make = Callable[["Storm"], None]
Needs = Callable[[], str | None]


def nothing() -> str | None:
    """Return that no machine lacks anything for this kind."""
    return None


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    name: str
    how: str
    """How it is made, for the table."""
    make: Make
    needs: Needs
    """Returns why this machine cannot make it; None where it can."""
    weight: int
    """How often it is drawn, relative to the other kinds of its campaign."""


class Kinds:
    """The kinds of one campaign, by name; each module of faults enters its functions."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.by_name: dict[str, Kind] = {}

    def kind(self, name: str, how: str, *, needs: Needs = nothing, weight: int = 1) -> Callable[[Make], Make]:
        """Return a decorator that enters a function as the kind of this name."""

        def enter(make: Make) -> Make:
            assert name not in self.by_name, f"there are two kinds `{name}`"
            self.by_name[name] = Kind(name, how, make, needs, weight)
            return make

        return enter

    def possible(self) -> list[Kind]:
        """Return the kinds that this machine can make."""
        return [kind for kind in self.by_name.values() if kind.needs() is None]

    def impossible(self) -> dict[str, str]:
        """Return the kinds that this machine cannot make, with the reason."""
        return {kind.name: why for kind in self.by_name.values() if (why := kind.needs()) is not None}


def joined(title: str, several: Iterable[Kinds]) -> Kinds:
    """Return the kinds of several campaigns as one campaign."""
    together = Kinds(title)
    for kinds in several:
        together.by_name |= kinds.by_name
    return together
