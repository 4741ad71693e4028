"""Calls of git that do not depend on the user's hooks, signing, locks, or on a git that started this process."""

import os
import re
import shlex
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import git

from orchestrator.errors import CodeError

SETTINGS = (
    "core.hooksPath=/dev/null",
    # After a power cut, a new branch must not be empty, or name a commit that never reached the disk.
    "core.fsync=loose-object,reference",
    # Both would write files beside the user's index.
    "core.fsmonitor=false",
    "core.splitIndex=false",
    # Git converts the user's line ends; with this setting it could refuse them.
    "core.safecrlf=false",
    "submodule.recurse=false",
    # A partial clone would fetch missing files from its server, and might ask for a password.
    "protocol.allow=never",
)
"""Settings of every call."""
VARIABLES = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
"""Variables of every call: no lock on the user's index, no question at a terminal, no network, no replaced objects."""
EXECUTABLE_VARIABLE = "GIT_PYTHON_GIT_EXECUTABLE"
"""GitPython's environment variable that names another git than the one on PATH."""
OLDEST = (2, 31)
"""Oldest version of git that takes settings as this module passes them."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit statuses of `env` if the program does not exist, or cannot be executed."""
FILTER_SETTINGS = ("clean", "smudge", "process", "required")
_EMPTY = "KNOCKOUT_EMPTY"
"""Name of an empty variable. As the command of a filter it turns the filter off."""
SURROUNDING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
)  # fmt: skip
"""Variables that git sets for a hook or an alias. If one started us, they name another repository or index."""
IDENTITY = {
    "GIT_AUTHOR_NAME": "Knockout",
    "GIT_AUTHOR_EMAIL": "knockout@localhost",
    "GIT_COMMITTER_NAME": "Knockout",
    "GIT_COMMITTER_EMAIL": "knockout@localhost",
}
_BLOCKED = re.compile(r"'(refs/[^']+)' exists; cannot create")
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_HALF_WRITTEN = re.compile(r"failed to read \S*?/worktrees/([^/;]+)/commondir")
_PASSING = re.compile(
    rf"{_HALF_WRITTEN.pattern}|could not create directory of '[^']*/worktrees/|Invalid path '[^']*/worktrees/"
)
"""Errors that pass. Git reads the entries of all worktrees, also of one that another process makes or removes."""
TRIES = 5
"""Calls of a command that fails with such an error."""
LENGTH_OF_HASH = 40
"""Fewest digits of a whole name of an object."""
_LEFT = "if no git is at work in this repository, a killed one left it"
_KINDS = (
    ("refs/heads/", "git branch -m {old} {new}"),
    ("refs/tags/", "git tag {new} {old} && git tag -d {old}"),
    ("refs/", "git update-ref refs/{new} refs/{old} && git update-ref -d refs/{old}"),
)


class GitError(CodeError):
    """Git ended with an error.

    Attributes:
        words: what git said, and how to mend it if that is known.
        status: its exit status, or minus the number of the signal that ended it.
    """

    def __init__(self, command: str, words: str, status: int = 1) -> None:
        super().__init__(f"git {command}: {words}")
        self.words, self.status = words, status

    @property
    def is_answer(self) -> bool:
        """Whether git ended by itself; otherwise a signal ended it."""
        return self.status > 0


class NoGitError(CodeError):
    """Git is missing, or cannot be executed."""


class Git:
    """Git in one folder; variables that name another repository have no effect.

    Args:
        folder: where each command runs.
    """

    def __init__(self, folder: Path) -> None:
        self._git = git.Git(folder)
        self._identity: dict[str, str] | None = None
        self._last_index = ("", b"")

    def __call__(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run a command and return what it prints, without the last line break.

        Args:
            words: the command without `git`.
            stdin: its input.
            env: more variables for it.

        Raises:
            GitError: it ends with an error.
        """
        out = self.read(*words, stdin=stdin, env=env).decode(errors="surrogateescape")
        return out.removesuffix("\n")

    def read(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run a command and return the bytes that it prints; arguments and errors as for a call of the object."""
        variables = {**VARIABLES, _EMPTY: "", **(env or {})}
        command = [*_program_and_settings(variables), *words]
        for tries_left in reversed(range(TRIES)):
            status, out, err = self._execute(command, stdin, variables)
            if status == 0:
                return out
            if not (tries_left and _PASSING.search(err)):
                break
        if status in (NOT_FOUND, NOT_EXECUTABLE):
            raise NoGitError(_no_git(err))
        raise GitError(_command_name(words), self._describe_failure(status, err), status)

    def _execute(self, command: list[str], stdin: bytes, variables: Mapping[str, str]) -> tuple[int, bytes, str]:
        options = {"with_extended_output": True, "with_exceptions": False, "strip_newline_in_stdout": False}
        try:
            # A file and not a pipe: git may answer before it has read all. With both pipes full, neither side goes on.
            with tempfile.TemporaryFile() as file:
                file.write(stdin)
                file.seek(0)
                found = self._git.execute(command, istream=file, env=variables, stdout_as_string=False, **options)
        except git.GitCommandNotFound:
            raise NoGitError(_no_git("there is no such program")) from None
        except OSError as error:
            raise NoGitError(_no_git(error.strerror or str(error))) from None
        status, out, err = found
        return status, bytes(out), str(err)

    def _describe_failure(self, status: int, err: str) -> str:
        """Say why a command failed: a signal ended it, git explains it, or this git is too old."""
        if status < 0:
            return f"git was ended by {signal.Signals(-status).name}"
        words = _explain(err)
        # Checked only after a failure: most commands work with an old git too.
        version = self._git.version_info
        if version and version[:2] < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            return f"{words}; this git is {'.'.join(map(str, version))}, wanted is {wanted} or newer"
        return words

    def without_filters(self) -> list[str]:
        """Return options, to stand before a command, that turn the user's clean and smudge filters off."""
        names = self.ask("config", "--null", "--name-only", "--get-regexp", r"^filter\..") or ""
        drivers = dict.fromkeys(name.rpartition(".")[0] for name in split_zeros(names))
        # Not `-c`: `--config-env` splits at the last equals sign, and the name of a filter may hold one.
        return [f"--config-env={name}.{what}={_EMPTY}" for name in drivers for what in FILTER_SETTINGS]

    def identity(self) -> dict[str, str]:
        """Return the variables for a command that commits: none if the user's name and address are set, else ours."""
        if self._identity is None:
            found = (self.ask("config", "--get-regexp", r"^user\.(name|email)$") or "").splitlines()
            complete = {line.split(" ")[0] for line in found} == {"user.name", "user.email"}
            self._identity = {} if complete else {key: os.environ.get(key, IDENTITY[key]) for key in IDENTITY}
        return self._identity

    @contextmanager
    def temporary_index(self, tree: str) -> Iterator[dict[str, str]]:
        """Yield the variable that points commands to a temporary index of a tree; the user's index stays as it is."""
        with tempfile.TemporaryDirectory(prefix="knockout-index-") as folder:
            path = Path(folder) / "index"
            index = {"GIT_INDEX_FILE": str(path)}
            if self._last_index[0] == tree:
                path.write_bytes(self._last_index[1])
            else:
                self("read-tree", tree, env=index)
                # Kept, since all experiments start from one commit. Not for a name such as HEAD, which can move.
                self._last_index = (tree, path.read_bytes()) if len(tree) >= LENGTH_OF_HASH else ("", b"")
            yield index

    def update_index(self, index: Mapping[str, str], entries: Iterable[str]) -> None:
        """Change a temporary index. An entry is `mode blob<TAB>path`; mode 0 removes the path."""
        self(
            "update-index",
            "-z",
            "--index-info",
            stdin=os.fsencode("".join(f"{entry}\0" for entry in entries)),
            env=index,
        )

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store contents unchanged; return their names in the same order."""
        with tempfile.TemporaryDirectory(prefix="knockout-blobs-") as folder:
            paths = [Path(folder) / str(number) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            listed = os.fsencode("".join(f"{path}\n" for path in paths))
            return self("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=listed).split() if contents else []

    def ask(self, *words: str, stdin: bytes = b"") -> str | None:
        """Run a command and return what it prints; None if it ends with an error, which here means "no".

        Raises:
            GitError: a signal ended it, so there is no answer.
        """
        try:
            return self(*words, stdin=stdin)
        except GitError as error:
            if not error.is_answer:
                raise
            return None


def split_zeros(listing: str) -> list[str]:
    """Split what git prints with `-z`: parts that each end with a zero byte."""
    return listing.split("\0")[:-1]


def _program_and_settings(variables: Mapping[str, str]) -> list[str]:
    surrounding = [name for name in SURROUNDING if name in os.environ and name not in variables]
    unset = ["env", *(f"--unset={name}" for name in surrounding)] if surrounding else []
    return [*unset, _program(), *(word for setting in SETTINGS for word in ("-c", setting))]


def _program() -> str:
    return os.environ.get(EXECUTABLE_VARIABLE) or "git"


def _no_git(found: str) -> str:
    said = "; ".join(found.strip().splitlines()[-1:]) or "it cannot be run"
    wanted = f"git {'.'.join(map(str, OLDEST))} or newer"
    if EXECUTABLE_VARIABLE in os.environ:
        return f"{_program()}, which {EXECUTABLE_VARIABLE} names, cannot be run: {said}; name {wanted}, or unset it"
    return f"git cannot be run: {said}; install {wanted} or put it on PATH, since a repository holds this code"


def _command_name(words: tuple[str, ...]) -> str:
    """Return the name of the command behind its settings."""
    start = 0
    while words[start] == "-c":
        start += 2
    return words[start]


def _explain(stderr: str) -> str:
    words = "; ".join(line.strip() for line in stderr.splitlines() if line.strip())
    if blocked := _BLOCKED.search(words):
        return f"{words}; rename what is in the way: {_rename(blocked[1])}"
    if locked := _LOCKED.search(words):
        # The rest of git's message is about editors and crashes.
        return f"{words[: locked.end()]}; {_LEFT}: rm {shlex.quote(locked[1])}"
    if half_written := _HALF_WRITTEN.search(words):
        entry = f"worktrees/{half_written[1]}"
        return f'{words}; {_LEFT}: rm -r "$(git rev-parse --git-common-dir)"/{shlex.quote(entry)}'
    return words


def _rename(ref: str) -> str:
    prefix, command = next(kind for kind in _KINDS if ref.startswith(kind[0]))
    name = ref.removeprefix(prefix)
    # A name without slashes is no folder, so it cannot block another branch.
    return command.format(old=shlex.quote(name), new=shlex.quote(name.replace("/", "-") + "-moved"))
