"""The campaigns of faults: which kinds share a machine, and how many faults a campaign makes."""

from dataclasses import dataclass

from tests.faults.deaths import DEATHS
from tests.faults.errors import ERRORS
from tests.faults.files import FILES
from tests.faults.kinds import Kinds, joined
from tests.faults.namespaces import NAMESPACES
from tests.faults.places import DISKS, OUTPUTS
from tests.faults.silence import SILENCE
from tests.faults.storm import MOMENTS
from tests.faults.users import USERS

ALL: tuple[Kinds, ...] = (DEATHS, FILES, ERRORS, OUTPUTS, DISKS, USERS, NAMESPACES, SILENCE)


@dataclass(frozen=True)
class Campaign:
    """Kinds of faults that one machine meets."""

    kinds: Kinds
    quick: int
    """How many faults `make test` makes."""
    share: float
    """Share of all faults that a soak makes."""
    machine: str = "machine"
    """Name of the fixture that returns the machine."""
    has_report: bool = False
    """Whether `make test` makes a report at the end, which takes seconds; a soak always makes one."""
    num_works: int = 1
    num_machines: int = 1
    """Number of machines that a soak uses, one after the other."""

    @property
    def moments(self) -> int:
        """How many faults happen on one machine."""
        return round(MOMENTS * self.share / self.num_machines) if MOMENTS else self.quick

    @property
    def numbers(self) -> range:
        """The numbers of its machines."""
        return range(self.num_machines if MOMENTS else 1)


DYING = Campaign(DEATHS, quick=len(DEATHS.by_name), share=0.34, has_report=True, num_works=2, num_machines=2)
FAILING = Campaign(
    joined("what runs read, call and say", (FILES, ERRORS, OUTPUTS)),
    quick=12,
    share=0.44,
    has_report=True,
    num_machines=4,
)
PLACES = (
    Campaign(DISKS, quick=2, share=0.06, machine="small_machine"),
    Campaign(USERS, quick=2, share=0.06, machine="team_machine"),
    Campaign(NAMESPACES, quick=2, share=0.06, machine="spaced_machine", num_works=2),
    Campaign(SILENCE, quick=2, share=0.04, machine="served_machine"),
)
CAMPAIGNS = (DYING, FAILING, *PLACES)
