"""Calls of git that the user's hooks, signing, locks and surrounding git have no part in."""

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
    # A power cut after a branch is made must not leave it empty, or on a commit that is not on the disk.
    "core.fsync=loose-object,reference",
    # Both would write beside the index of the user's checkout.
    "core.fsmonitor=false",
    "core.splitIndex=false",
    # The user's line endings are converted, never refused.
    "core.safecrlf=false",
    "submodule.recurse=false",
    # Nothing here needs another repository: a partial clone must not fetch, and ask for a password, behind our back.
    "protocol.allow=never",
)
VARIABLES = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
"""Of every call: no lock on the user's index, no question to a terminal, no network, no object in place of another."""
EXECUTABLE_VARIABLE = "GIT_PYTHON_GIT_EXECUTABLE"
"""Environment variable of GitPython that names another git than the one on PATH."""
OLDEST = (2, 31)
"""The first git that takes settings as it is given them here."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""How `env` ends where there is no such program, or none that can be run."""
FILTER_SETTINGS = ("clean", "smudge", "process", "required")
_EMPTY = "KNOCKOUT_EMPTY"
"""Variable that holds nothing: a filter without a command does not run, and is not required."""
SURROUNDING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
)  # fmt: skip
"""What a git that started us, from a hook or an alias, has told its children: another repository, the user's index."""
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
"""Git reads the entries of all worktrees, also of one that another process is just making or removing."""
TRIES = 5
LENGTH_OF_HASH = 40
_LEFT = "if no git is at work in this repository, a killed one left it"
_KINDS = (
    ("refs/heads/", "git branch -m {old} {new}"),
    ("refs/tags/", "git tag {new} {old} && git tag -d {old}"),
    ("refs/", "git update-ref refs/{new} refs/{old} && git update-ref -d refs/{old}"),
)


class GitError(CodeError):
    """Git ended with an error. `words` is what it said, and what mends it where that is known."""

    def __init__(self, command: str, words: str, status: int = 1) -> None:
        super().__init__(f"git {command}: {words}")
        self.words, self.status = words, status

    @property
    def is_answer(self) -> bool:
        """Whether git itself ended so; otherwise a signal did."""
        return self.status > 0


class NoGitError(CodeError):
    """There is no git that can be run."""


class Git:
    """Git in one folder, whatever repository the environment talks of."""

    def __init__(self, folder: Path) -> None:
        self._git = git.Git(folder)
        self._identity: dict[str, str] | None = None
        self._last_index = ("", b"")

    def __call__(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run a command and return what it prints.

        Args:
            words: the command, from behind `git`.
            stdin: what it reads.
            env: variables beside those of this process.

        Raises:
            GitError: it ends with an error.
        """
        out = self.read(*words, stdin=stdin, env=env).decode(errors="surrogateescape")
        return out.removesuffix("\n")

    def read(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run a command and return the bytes that it prints; arguments and errors are those of a call."""
        variables = {**VARIABLES, _EMPTY: "", **(env or {})}
        command = [*_clean_start(variables), *words]
        for left in reversed(range(TRIES)):
            status, out, err = self._execute(command, stdin, variables)
            if status == 0:
                return out
            if not (left and _PASSING.search(err)):
                break
        if status in (NOT_FOUND, NOT_EXECUTABLE):
            raise NoGitError(_no_git(err))
        raise GitError(_command(words), self._told(status, err), status)

    def _execute(self, command: list[str], stdin: bytes, variables: Mapping[str, str]) -> tuple[int, bytes, str]:
        options = {"with_extended_output": True, "with_exceptions": False, "strip_newline_in_stdout": False}
        try:
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

    def _told(self, status: int, err: str) -> str:
        """Say why a command failed: by a signal, by its words, or because this git is older than Knockout needs."""
        if status < 0:
            return f"git was ended by {signal.Signals(-status).name}"
        words = _words(err)
        # Only asked once something has failed: most calls of an old git are those of a new one.
        version = self._git.version_info
        if version and version[:2] < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            return f"{words}; this git is {'.'.join(map(str, version))}, wanted is {wanted} or newer"
        return words

    def without_filters(self) -> list[str]:
        """Return the words, before a command, that keep the user's clean and smudge filters from running."""
        names = self.ask("config", "--null", "--name-only", "--get-regexp", r"^filter\..") or ""
        drivers = dict.fromkeys(name.rpartition(".")[0] for name in parts(names))
        # `--config-env` ends the name at the last equals sign, so that a filter may have one in its own.
        return [f"--config-env={name}.{what}={_EMPTY}" for name in drivers for what in FILTER_SETTINGS]

    def identity(self) -> dict[str, str]:
        """The variables of a command that commits: none where the user's git identity is set, else ours."""
        if self._identity is None:
            found = (self.ask("config", "--get-regexp", r"^user\.(name|email)$") or "").splitlines()
            complete = {line.split(" ")[0] for line in found} == {"user.name", "user.email"}
            self._identity = {} if complete else {key: os.environ.get(key, IDENTITY[key]) for key in IDENTITY}
        return self._identity

    @contextmanager
    def temporary_index(self, tree: str) -> Iterator[dict[str, str]]:
        """An index of our own that holds a tree, as a variable of a command: the user's is never touched."""
        with tempfile.TemporaryDirectory(prefix="knockout-index-") as folder:
            path = Path(folder) / "index"
            index = {"GIT_INDEX_FILE": str(path)}
            if self._last_index[0] == tree:
                path.write_bytes(self._last_index[1])
            else:
                self("read-tree", tree, env=index)
                # All experiments start from one commit; a name such as HEAD may come to mean another.
                self._last_index = (tree, path.read_bytes()) if len(tree) >= LENGTH_OF_HASH else ("", b"")
            yield index

    def update_index(self, index: Mapping[str, str], entries: Iterable[str]) -> None:
        """Change entries of a temporary index: each `mode blob<TAB>path`, mode 0 to remove the path."""
        self(
            "update-index",
            "-z",
            "--index-info",
            stdin=os.fsencode("".join(f"{entry}\0" for entry in entries)),
            env=index,
        )

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store contents to the byte and return their names."""
        with tempfile.TemporaryDirectory(prefix="knockout-blobs-") as folder:
            paths = [Path(folder) / str(number) for number in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            listed = os.fsencode("".join(f"{path}\n" for path in paths))
            return self("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=listed).split() if contents else []

    def ask(self, *words: str, stdin: bytes = b"") -> str | None:
        """Run a command and return what it prints; None where it ends with an error, as a question's "no".

        Raises:
            GitError: a signal ended it, which is no answer.
        """
        try:
            return self(*words, stdin=stdin)
        except GitError as error:
            if not error.is_answer:
                raise
            return None


def parts(listing: str) -> list[str]:
    """Split what git prints under `-z`."""
    return listing.split("\0")[:-1]


def _clean_start(variables: Mapping[str, str]) -> list[str]:
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


def _command(words: tuple[str, ...]) -> str:
    """Return the command's name, without the settings in front."""
    start = 0
    while words[start] == "-c":
        start += 2
    return words[start]


def _words(stderr: str) -> str:
    words = "; ".join(line.strip() for line in stderr.splitlines() if line.strip())
    if blocked := _BLOCKED.search(words):
        return f"{words}; rename what is in the way: {_rename(blocked[1])}"
    if locked := _LOCKED.search(words):
        # Git goes on with a paragraph on editors and crashes.
        return f"{words[: locked.end()]}; {_LEFT}: rm {shlex.quote(locked[1])}"
    if half_written := _HALF_WRITTEN.search(words):
        entry = f"worktrees/{half_written[1]}"
        return f'{words}; {_LEFT}: rm -r "$(git rev-parse --git-common-dir)"/{shlex.quote(entry)}'
    return words


def _rename(ref: str) -> str:
    prefix, command = next(kind for kind in _KINDS if ref.startswith(kind[0]))
    name = ref.removeprefix(prefix)
    # Without its slashes the new name is in nobody's way.
    return command.format(old=shlex.quote(name), new=shlex.quote(name.replace("/", "-") + "-moved"))
