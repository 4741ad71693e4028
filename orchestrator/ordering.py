"""`knockout queue add`: what is missing waits, and what would be confounded is told before anything starts."""

import msgspec
from msgspec import Struct

from orchestrator.campaign.selection import Study
from orchestrator.foresight import foresee_confounds
from orchestrator.launch.slots import make_own_slots
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.queueing import Queued, add


class RunOptions(Struct, frozen=True, kw_only=True):
    """How runs are queued, and trained."""

    slots: int | None = None
    snapshot: bool = False
    retry: bool = False


def queue(study: Study, store: Store, options: RunOptions) -> Queued:
    """Queue what is missing.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    queued = add(study, store, snapshot=options.snapshot, retry=options.retry)
    slot = make_own_slots(options.slots)[0]
    warnings = foresee_confounds(study.layout, queued.plan, queued.finished, slot)
    return msgspec.structs.replace(queued, notes=(*queued.notes, *warnings))


def queue_alone(study: Study, options: RunOptions) -> tuple[Queued, list[QueuedRun]]:
    """Queue what is missing, for others to train; return what came of it and the plan's rows.

    Raises:
        KnockoutError: something is refused; nothing has been queued then.
    """
    store = open_store(study.layout)
    try:
        queued = queue(study, store, options)
        return queued, store.runs(queued.ids)
    finally:
        store.close()
