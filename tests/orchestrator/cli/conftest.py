"""A campaign for commands that make captures."""

from pathlib import Path
from textwrap import dedent

import pytest


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign whose captures are emulated where they are missing."""
    path = tmp_path / "experiments.yaml"
    content = """\
        campaign: tiny
        title: A tiny campaign
        question: Tell ten transmitters apart.
        margin: 1.0
        seeds: 1
        data:
          emulate: {seed: 1, packets: 6, samples: 64}
          captures:
            LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 4]}
            LocA-val: {path: data/LocA.h5, devices: [0, 10], packets: [4, 6]}
            LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 6]}
          train: [LocA]
          validate: [LocA-val]
          report: [LocD]
          samples: 64
        profiles: {quick: {}}
        baseline: {runtime: {precision: fp32, compile: false}}
        """
    path.write_text(dedent(content))
    return path
