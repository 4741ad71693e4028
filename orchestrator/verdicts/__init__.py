"""What a campaign concludes: judgements, staged verdicts, confounds, claims, controls and interactions.

A plan and its records come in, findings go out. It must never know a search, a report or a command, and it opens no
file.
"""
