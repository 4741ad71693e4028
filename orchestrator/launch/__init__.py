"""Jobs: slots, processes, the worker and its guards. It knows no campaign, only orders."""
