"""The terminal: each command calls the function of the same name in `orchestrator.api` and prints what it returns.

Only this package prints. It knows nothing of the orchestrator but `api`.
"""
