"""A small computation in the place of a training, for `benchmarks.guards`."""
