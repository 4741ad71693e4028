# The commands of this project; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PROFILE ?= quick
BIN := $(VENV)/bin
# One thread a process: two trainings at a time must not fight over two cores.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup run test check bench gpu soak clean
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(VENV)/.installed  ## make .venv with the pinned dependencies and the package

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Knockout needs Python 3.11 or newer, this is %s; try: make PYTHON=python3.11" % sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[studies,dev]'
	touch $@

run: setup  ## run the campaign of experiments.yaml (PROFILE=quick) and write its report
	$(BIN)/knockout run --profile $(PROFILE)

test: setup  ## run the tests, a file to each of up to eight processes
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: setup  ## lint, types, import map
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

bench: setup  ## measure speed, as ratios within one run, into README.md, and the speed guard into docs/guards.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks --write README.md
	$(BIN)/python -m benchmarks.guards --write docs/guards.md

gpu: setup  ## gather in .gpu/ what a GPU machine without a network needs (GPU_PYTHON=3.12, MORE='h5py'); with a GPU here, check it
	$(BIN)/python -m gpu.gather $(if $(GPU_PYTHON),--python $(GPU_PYTHON)) $(MORE)

soak: setup  ## make 500 faults of all kinds at random moments, count what is lost, and write docs/reliability.md (half an hour)
	FAULTS_MOMENTS=$${FAULTS_MOMENTS:-500} FAULTS_REAL_MOMENTS=$${FAULTS_REAL_MOMENTS:-30} \
	FAULTS_STRANGER_MOMENTS=$${FAULTS_STRANGER_MOMENTS:-50} FAULTS_PAGE=docs/reliability.md \
	.ci/postgres $(BIN)/python -m pytest -n 2 --dist worksteal tests/faults

clean:  ## remove the virtual environment; results and reports stay
	rm -rf $(VENV)
