"""The terminal: a face of `orchestrator.api`. Only here something is printed."""
