"""A small computation instead of a training, for `benchmarks.guards`."""
