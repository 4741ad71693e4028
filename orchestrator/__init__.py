"""Decides and records: plans, queues, launches, watches, judges and reports. Never imports torch."""

import os

__version__ = "0.1.0"

# GitPython looks for git when it is imported, and would raise if there is none. Only commands that need git may fail.
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
