"""Triton's kernels in tests: their numbers matter, not their speed."""

from typing import Any


def take_first_variants() -> None:
    """Let Triton take the first variant of each kernel, in this process.

    fla has some 170 variants, and each shape of a test would compile and time them all. The first variant computes the
    same. Triton writes no choice to the disk for it, so later trainings still choose.
    """
    # Triton comes with torch for CUDA alone.
    from triton.runtime.autotuner import Autotuner

    run = Autotuner.run

    def run_first(self: Any, *arguments: Any, **named: Any) -> Any:
        # At each call, and not where a kernel is made: fla may have been imported before.
        self.configs = self.configs[:1]
        return run(self, *arguments, **named)

    Autotuner.run = run_first
