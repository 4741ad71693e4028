"""`knockout checkout`: the code of an experiment in a folder, to look at."""

from collections.abc import Collection
from pathlib import Path

from orchestrator.api.gc import require_repository
from orchestrator.code import worktrees
from orchestrator.code.refs import KnownCommit
from orchestrator.errors import UsageError
from orchestrator.runs.paths import Paths
from orchestrator.task.knobs import did_you_mean


def look(paths: Paths, experiment: str, path: Path | None) -> list[str]:
    """Put the newest commit of an experiment into a new worktree; return where it is and how to remove it.

    Args:
        paths: the campaign's folders.
        experiment: its id.
        path: the new folder; one beside the worktrees of runs, if not said.

    Raises:
        UsageError: the folder is there already or in the user's checkout, or the experiment has no commit.
        CodeError: there is no repository, or git refuses.
    """
    repository = require_repository(paths)
    newest = pick_commit(experiment, repository.branches.list_known_commits())
    folder = (path or paths.look(experiment, newest.commit)).resolve()
    _refuse_folder(folder, repository.top)
    worktrees.add_whole(repository.git, newest.commit, folder)
    return [
        f"{experiment} at commit {newest.commit[:12]}, from {newest.ref}: {folder / repository.prefix}",
        f"to remove it: git worktree remove --force {folder}",
    ]


def pick_commit(experiment: str, known: Collection[KnownCommit]) -> KnownCommit:
    """Return the newest of an experiment's commits, given oldest first.

    Raises:
        UsageError: there is none.
    """
    commits = [commit for commit in known if commit.experiment == experiment]
    if not commits:
        names = sorted({commit.experiment for commit in known})
        hint = did_you_mean(experiment, names) if names else ""
        raise UsageError(
            f"no commit of `{experiment}` is known{hint}; an experiment gets one when `knockout run` trains it"
        )
    return commits[-1]


def _refuse_folder(folder: Path, top: Path) -> None:
    if folder.exists():
        raise UsageError(
            f"{folder} is there already; look there, remove it with `git worktree remove --force {folder}`, "
            "or name another folder with --path"
        )
    if folder.is_relative_to(top.resolve()):
        raise UsageError(f"{folder} lies inside your checkout {top}; name a folder outside of it with --path")
