"""The family of errors, each a sentence for a person.

KnockoutError               anything Knockout refuses or could not do; exit status 2
├── UsageError              the command line asks for something that is not there
├── SpecError               the campaign file; says file and line
├── DataError               captures that are missing or do not fit
├── CodeError               the repository's state: uncommitted code, git's refusals
├── RunError                a run folder that cannot be read or written
└── QueueError              the database that cannot be used
"""


class KnockoutError(Exception):
    """What went wrong, where, what was found, what was wanted, what to do next."""


class UsageError(KnockoutError):
    """The command line asks for something that is not there."""


class SpecError(KnockoutError):
    """The campaign file is refused. `where` is the key's path in it; the loader puts file and line in front."""

    def __init__(self, message: str, where: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.where = where


class DataError(KnockoutError):
    """Captures are missing or do not fit the campaign."""


class CodeError(KnockoutError):
    """The repository is in a state in which nobody could say what code a run would execute."""


class RunError(KnockoutError):
    """A run folder cannot be read or written."""


class QueueError(KnockoutError):
    """The queue's database cannot be opened, read or written."""


class QueueLockedError(QueueError):
    """The queue cannot be used just now: another program holds it, or its server is away."""
