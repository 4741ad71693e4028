"""experiments.yaml -> configurations -> arms -> the plan of runs. It knows no process and no verdict."""
