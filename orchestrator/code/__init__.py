"""Git: the code of an experiment, patches, branches and worktrees.

Of an experiment it knows the name and the steps that change its code. It must never know a campaign, a queue or a
verdict.
"""
