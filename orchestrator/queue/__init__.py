"""Which runs wait and who works on them: the database, and how it is kept in step with the run folders.

It must never know a campaign, git or a verdict. The run folders are the truth; this package can be rebuilt from them.
"""
