"""What a campaign can see with a number of seeds and items, and when it may look. Numbers in, numbers out.

It proposes seeds, reference seeds and items before a training, says how many would decide, and plans interim looks. It
must never know a campaign file or a run folder, and it opens no file.
"""

from orchestrator import open_door

NAMES = {
    "Arms": "designs",
    "Cell": "looks",
    "Design": "designs",
    "ErrorModel": "power",
    "Look": "looks",
    "POWER": "power",
    "Progress": "looks",
    "Rules": "power",
    "Sight": "designs",
    "cheapest": "designs",
    "crossing_chance": "looks",
    "fewest_to_decide": "needed",
    "grid": "designs",
    "items_to_resolve": "needed",
    "range_to_decide": "needed",
    "replay": "looks",
    "see": "power",
    "see_all": "designs",
    "seeds_to_resolve": "needed",
    "share_out": "looks",
    "sharpest": "designs",
}
"""What other packages take of this one -> its module; empty if the name is that of a module."""

__all__ = list(NAMES)
__getattr__ = open_door(__name__, NAMES)
