"""Optuna over the same queue. It reports nothing and judges nothing."""
