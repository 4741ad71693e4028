"""One training, from a run folder to its result: epochs, checkpoints, scores, lock. It knows no study."""
