"""Searches for the best point of a space: Optuna suggests points, our queue trains them, Optuna gets the scores.

It writes no report, and must never know a verdict.
"""
