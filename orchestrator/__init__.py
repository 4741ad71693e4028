"""Decides and records: plans, queues, launches, watches, judges and reports. Never imports torch."""

__version__ = "0.1.0"
