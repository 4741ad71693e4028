"""What the commands show: a function a verb, each a call of what is below and a table. Only this prints."""

import logging

# Without a home folder it tells of a folder for its caches, which is nothing that a person could do anything about.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
