"""One run on disk: its folder, order, record, identity and state.

It must never know a campaign, a plan or the queue: its functions take run ids.
"""
