"""Where a job can run. Only these modules start processes, and only with argument lists."""
