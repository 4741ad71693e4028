"""One training from its folder to its result: epochs, checkpoints, the run folder and its lock."""
