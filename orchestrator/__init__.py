"""Decides and records: plans, queues, launches, watches, judges and reports. Never imports torch.

The verbs of `knockout` are functions here, e.g. `orchestrator.plan(orchestrator.Request(profile="quick"))`. They are
loaded on first use. Two have another name than their verb, since `report` and `search` are packages.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.1.0"

# GitPython looks for git when it is imported, and would raise if there is none. Only commands that need git may fail.
os.environ["GIT_PYTHON_REFRESH"] = "quiet"


def open_door(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package: each name is loaded from its module at its first use.

    So a package says what others may take of it, and loads none of it before. For example, `report` is in the front
    door of `api`, but a command that only reads the queue does not load pandas.

    Args:
        package: the name of the package.
        names: name -> module of the package that has it, `module:other` if it has another name there. An empty place
            means that the name is a module.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module `{package}` has no attribute `{name}`")
        module, _, value = names[name].partition(":")
        if not module:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{module}"), value or name)

    return load


_API = {
    "CheckOptions": "api.check",
    "EmulateSpec": "api.data",
    "InitOptions": "api.init",
    "Request": "api.plan",
    "RunOptions": "api.queue",
    "SearchOptions": "api.search",
    "Wanted": "api.control",
    "WorkOptions": "api.work",
    "accept": "api.accept",
    "cancel": "api.control",
    "check": "api.check",
    "checkout": "api.gc",
    "data_emulate": "api.data",
    "data_shard": "api.data",
    "doctor": "api.doctor",
    "gc": "api.gc",
    "init": "api.init",
    "next_run": "api.train",
    "plan": "api.plan",
    "promote": "api.search",
    "queue_add": "api.queue",
    "queue_list": "api.control",
    "rebuild": "api.control",
    "retry": "api.control",
    "run": "api.run",
    "run_search": "api.search:search",
    "schema": "api.show",
    "show": "api.show",
    "status": "api.control",
    "stop": "api.control",
    "why": "api.why",
    "work": "api.work",
    "write_report": "api.report:report",
}
"""Name here -> its module, and its name there if that is another."""

__all__ = list(_API)
__getattr__ = open_door(__name__, _API)


def __dir__() -> list[str]:
    return [*globals(), *_API]
