"""Git: the code of an experiment, patches, branches and worktrees. It knows of an experiment its name and its steps."""
