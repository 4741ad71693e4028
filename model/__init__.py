"""One training job: it reads a run folder and writes its results there. Importing this does not import torch."""
