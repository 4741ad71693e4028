"""What is trained: its configuration, and the only questions that the orchestrator asks its code.

It must never know a campaign, a run folder or the queue.
"""
