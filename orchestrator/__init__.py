"""Decides and records: plans, queues, launches, watches, judges and reports. Never imports torch."""

import os

__version__ = "0.1.0"

# GitPython looks for git where it is imported. What needs git says where it is missing; all else works without.
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
