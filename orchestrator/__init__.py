"""Decides and records: plans, queues, launches, watches, judges and reports. Never imports torch.

The verbs of `knockout` are functions here, e.g. `orchestrator.plan(orchestrator.Request(profile="quick"))`. They are
loaded on first use. Two have another name than their verb, since `report` and `search` are packages.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# GitPython looks for git when it is imported, and would raise if there is none. Only commands that need git may fail.
os.environ["GIT_PYTHON_REFRESH"] = "quiet"

_API = {
    "EmulateSpec": "data.EmulateSpec",
    "Request": "plan.Request",
    "RunOptions": "queue.RunOptions",
    "SearchOptions": "search.SearchOptions",
    "Wanted": "control.Wanted",
    "WorkOptions": "work.WorkOptions",
    "accept": "accept.accept",
    "cancel": "control.cancel",
    "checkout": "gc.checkout",
    "data_emulate": "data.data_emulate",
    "data_shard": "data.data_shard",
    "doctor": "doctor.doctor",
    "gc": "gc.gc",
    "next_run": "train.next_run",
    "plan": "plan.plan",
    "promote": "search.promote",
    "queue_add": "queue.queue_add",
    "queue_list": "control.queue_list",
    "rebuild": "control.rebuild",
    "retry": "control.retry",
    "run": "run.run",
    "run_search": "search.search",
    "schema": "show.schema",
    "show": "show.show",
    "status": "control.status",
    "stop": "control.stop",
    "why": "why.why",
    "work": "work.work",
    "write_report": "report.report",
}
"""Name here -> module and name in `orchestrator.api`."""


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module `orchestrator` has no attribute `{name}`")
    module, _, value = _API[name].partition(".")
    return getattr(importlib.import_module(f"orchestrator.api.{module}"), value)


def __dir__() -> list[str]:
    return [*globals(), *_API]
