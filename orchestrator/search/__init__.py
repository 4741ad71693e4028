"""Searches for the best point of a space: Optuna asks, our queue trains, Optuna is told the scores.

It writes no report, and must never know a verdict.
"""
