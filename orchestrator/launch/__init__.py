"""Trains runs: slots, job processes, the worker, its guards. The feed says which runs are the worker's.

It reads a run's order, and must never know a campaign, an experiment's meaning or a verdict.
"""
