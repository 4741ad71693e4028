"""`order.json`: what the queue needs to start a run later, whatever the campaign file and the code are by then."""

import msgspec
from msgspec import Struct

from model.run_folder import RunFolder, write_atomically
from orchestrator.errors import RunError
from orchestrator.plain_files import read_plain
from orchestrator.spec import GuardSpec

ORDER_FORMAT = 1
AGAIN = "queue the run again with `knockout queue add`"


class OrderedCode(Struct, frozen=True, kw_only=True):
    """The code that a run was queued with."""

    tree: str
    """Hash of `model/`."""
    commit: str | None = None
    """None outside a repository, where `tree` names a copy."""
    branch: str | None = None
    base_commit: str | None = None
    changes: tuple[str, ...] = ()
    """Files of `model/` that its stack's patches and refs change, with lines added and deleted."""
    differs_beyond: tuple[str, ...] = ()
    """Files in which a ref's code differs from its reference's by more than the ref's own commits."""
    is_own: bool = False
    """Whether it is not the code that the campaign's folder holds, so that it is checked before it runs."""


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run as it was queued, beside its `config.json`."""

    format: int = ORDER_FORMAT
    run: str
    identity: str
    queued: str
    """When, in UTC: runs queued earlier come first."""
    code: OrderedCode
    captures: dict[str, str]
    """Path of a capture file -> SHA-256 of its bytes."""
    guards: GuardSpec
    references: tuple[str, ...] = ()
    """Runs whose epochs measure how fast this one may be expected to be, the first that has come far enough."""


def write_order(folder: RunFolder, order: Order) -> None:
    """Write it, whole or not at all."""
    write_atomically(folder.order, msgspec.json.format(msgspec.json.encode(order), indent=2) + b"\n")


def read_order(folder: RunFolder) -> Order:
    """Read it.

    Raises:
        RunError: there is none, or another version wrote it.
    """
    try:
        order = msgspec.json.decode(read_plain(folder.order), type=Order)
    except FileNotFoundError:
        raise RunError(f"{folder.order}: there is no such file; {AGAIN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{folder.order}: cannot be read: {error}; {AGAIN}") from None
    if order.format != ORDER_FORMAT:
        raise RunError(f"{folder.order}: this is format {order.format}, wanted is {ORDER_FORMAT}; {AGAIN}")
    return order
