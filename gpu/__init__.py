"""Knockout on a GPU machine without a network: `gather` fills a folder here, `check` runs there.

Both use Python's standard library alone. So they run before anything is installed.
"""
