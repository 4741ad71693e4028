"""The branches and tags of experiments in a repository: made, kept, retired and listed.

- `experiment/<ID>-<YYYYmmdd_HHMMSS>`: an open branch. It has one commit on the base, which holds the experiment.
- `keeper/<ID>`: an annotated tag on that commit, once the verdict is `improved`.
- `refs/knockout/<ID>/<stamp>`: a retired branch. The branch itself is deleted, and its commit stays here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.code.git import Git, GitError
from orchestrator.code.refs import (
    KEEPERS,
    OPEN,
    RETIRED,
    BranchName,
    ExperimentCommit,
    KnownCommit,
    branch_names,
    read_branch_ref,
    read_known_commit,
)
from orchestrator.errors import CodeError


@dataclass(frozen=True)
class Branches:
    """The branches of experiments that start from one commit of a repository.

    Attributes:
        git: git in the repository.
        base_commit: the commit that new branches start from.
    """

    git: Git
    base_commit: str

    def commit_experiment(self, experiment: str, tree: str, message: str, now: datetime) -> ExperimentCommit:
        """Return the commit of a tree on the base, for an experiment; it is made, with a branch, where there is none.

        Args:
            experiment: its id.
            tree: the whole tree of the commit.
            message: of a new commit.
            now: the time in the name of a new branch.

        Raises:
            CodeError: git refuses.
        """
        taken = set()
        for name, commit, *content in self._commits_of(experiment):
            if content == [tree, self.base_commit]:
                return self._commit(str(name), commit)
            taken.add(name)
        command = ("commit-tree", tree, "-p", self.base_commit, "--no-gpg-sign", "-m", message)
        commit = self.git(*command, env=self.git.identity())
        branch = self._create_branch([name for name in branch_names(experiment, now) if name not in taken], commit)
        return self._commit(str(branch), commit)

    def _commit(self, branch: str, commit: str) -> ExperimentCommit:
        return ExperimentCommit(branch=branch, commit=commit, base_commit=self.base_commit)

    def _commits_of(self, experiment: str) -> Iterator[tuple[BranchName, str, str, str]]:
        """Yield branch, commit, tree and parents of each commit of an experiment, open or retired."""
        fields = "%(refname) %(objectname) %(tree) %(parent)"
        for line in self._list_refs(fields, f"{OPEN}{experiment}-*", f"{RETIRED}{experiment}/*"):
            ref, commit, tree, parents = line.split(" ", 3)
            name = read_branch_ref(ref)
            # The pattern `E5-*` also finds the branches of an experiment `E5-wide`.
            if name is not None and name.experiment == experiment:
                yield name, commit, tree, parents

    def _list_refs(self, fields: str, *places: str) -> list[str]:
        return self.git("for-each-ref", f"--format={fields}", *places).splitlines()

    def _create_branch(self, names: list[BranchName], commit: str) -> BranchName:
        """Create the first of some branches that is free; return its name."""
        for name in names:
            # `verify` with zeros: the retired ref must be free too, since retiring this branch will write it.
            change = (f"create {name.ref} {commit}", f"verify {name.kept_ref} {'0' * len(commit)}")
            try:
                self._change_refs(*change)
            except GitError as error:
                if not self.git("for-each-ref", name.ref, name.kept_ref):
                    raise CodeError(f"git refuses the branch {name}: {error.words}") from None
            else:
                return name
        raise CodeError(
            f"{commit[:12]} needs a branch, and a hundred branches of its experiment have the stamp of this second; "
            "wait a second and run again"
        )

    def _change_refs(self, *changes: str) -> None:
        """Change all of these refs or none: git takes the lines of one `update-ref --stdin` as a transaction."""
        lines = "".join(f"{change}\n" for change in changes).encode()
        self.git("update-ref", "--stdin", stdin=lines, env=self.git.identity())

    def keep(self, experiment: ExperimentCommit, name: str, verdict: str) -> str:
        """Tag an experiment as keeper, with its verdict (JSON) as the message; an older tag moves.

        Returns:
            The name of the tag.

        Raises:
            CodeError: git refuses.
        """
        tag = f"keeper/{name}"
        options = ("--annotate", "--force", "--no-sign", "--cleanup=verbatim")
        try:
            self.git("tag", *options, "-m", verdict, tag, experiment.commit, env=self.git.identity())
        except GitError as error:
            raise CodeError(f"git refuses the tag {tag} on {experiment.commit[:12]}: {error.words}") from None
        return tag

    def retire(self, experiment: ExperimentCommit) -> None:
        """Move an experiment's commit from its branch to `refs/knockout/`.

        A branch stays if somebody has added commits to it, or has checked it out.

        Raises:
            CodeError: git refuses.
        """
        name = BranchName.parse(experiment.branch)
        changes = [f"update {name.kept_ref} {experiment.commit}"]
        # The path of a checkout follows the commit without a blank, so a branch that has one never matches.
        if f"{name.ref} {experiment.commit}" in self._list_refs("%(refname) %(objectname)%(worktreepath)", name.ref):
            changes.append(f"delete {name.ref} {experiment.commit}")
        try:
            self._change_refs(*changes)
        except GitError as error:
            raise CodeError(f"git cannot retire the branch {name}: {error.words}") from None

    def list_open(self) -> list[ExperimentCommit]:
        """Return the experiments' branches that are not retired, sorted by name."""
        return self._list_branches(OPEN)

    def list_retired(self) -> list[ExperimentCommit]:
        """Return the retired branches under their former names."""
        return self._list_branches(RETIRED)

    def _list_branches(self, place: str) -> list[ExperimentCommit]:
        pairs = (line.split() for line in self._list_refs("%(refname) %(objectname)", place))
        names = ((read_branch_ref(ref), commit) for ref, commit in pairs)
        return [self._commit(str(name), commit) for name, commit in names if name is not None]

    def list_keepers(self) -> dict[str, str]:
        """Return experiment -> commit of its tag `keeper/<ID>`."""
        rows = (line.split() for line in self._list_refs("%(refname:lstrip=3) %(objectname) %(*objectname)", KEEPERS))
        # The commit stands last: an annotated tag is an object of its own, which stands before it.
        return {row[0]: row[-1] for row in rows}

    def list_checked_out(self) -> dict[str, Path]:
        """Return branch -> the checkout that stands on it: the user's own, or a worktree."""
        found: dict[str, Path] = {}
        path = Path()
        for line in self.git("worktree", "list", "--porcelain").splitlines():
            key, _, value = line.partition(" ")
            if key == "worktree":
                path = Path(value)
            elif key == "branch":
                found[value.removeprefix("refs/heads/")] = path
        return found

    def list_known_commits(self) -> list[KnownCommit]:
        """Return the commits of all experiments, open, kept or retired; the newest comes last."""
        fields = "%(refname) %(objectname) %(committerdate:unix) %(*objectname) %(*committerdate:unix)"
        lines = self._list_refs(fields, OPEN, KEEPERS, RETIRED)
        commits = [known for line in lines if (known := read_known_commit(*line.split())) is not None]
        return sorted(commits, key=lambda known: (known.committed, known.stamp, known.ref))
