"""experiments.yaml -> configurations -> arms -> the plan of runs. It starts no process and knows no verdict.

The modules form one line: source, load, spec, configs, generated, arms, plan, selection. `captures`, `records` and
`snapshot` stand on it.
"""
