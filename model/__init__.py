"""One training job: a run folder in, results in the run folder out. Importing this does not import torch."""
