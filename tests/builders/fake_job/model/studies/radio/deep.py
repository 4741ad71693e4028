"""Answers `queue add`: every configuration can be trained."""


class SharedBursts:
    """Compares nothing."""

    def __init__(self, *known: object) -> None:
        self.known = known


def look_deeper(answers, params, root, shared):
    """Return the answers as they are; no capture is opened."""
    return list(answers)
