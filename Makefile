# Every target is enough by itself on a machine with Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

CODE := kgen templates/runtime templates/bench tests generated benchmarks examples
SWEEPS := $(sort $(wildcard benchmarks/results/*heatmaps*.csv))
CURVES := $(sort $(wildcard benchmarks/results/cpu-nbody*.csv))
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help kernels test check format docs bench plots clean
.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/'

# Pinned versions, kgen itself in editable form. The stamp is newer than what it was made from.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "kgen needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=/path/to/python3.11" >&2; \
	    exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,plots,dev,docs]'
	@touch $@

kernels: $(INSTALLED)  ## Build every spec into generated/
	$(BIN)/kgen build --prune

test: $(INSTALLED)  ## Run the tests but the slow ones; kernels run in the interpreter, and compile ahead of time
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

check: $(INSTALLED)  ## Format, lint, types, generated files, all tests
	$(BIN)/black --quiet --check --diff $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 kgen/write
	$(BIN)/mypy --platform darwin kgen/write
	$(BIN)/kgen schema --check
	$(BIN)/kgen build --check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

format: $(INSTALLED)  ## Format the code and sort its imports
	$(BIN)/ruff check --fix --select I $(CODE)
	$(BIN)/black --quiet $(CODE)

docs: $(INSTALLED)  ## Build the pages under docs/ as a site in build/site/
	$(BIN)/mkdocs build --strict

bench: $(INSTALLED)  ## Time the generated kernels against others; pass ARGS="..." for options
	$(BIN)/kgen bench $(or $(ARGS),$(wildcard specs/*.yaml))

plots: $(INSTALLED)  ## Draw sweeps and trainings of benchmarks/results/ into docs/plots/, rewrite what pages say of them
	$(if $(SWEEPS),,$(error there is no benchmarks/results/*heatmaps*.csv to draw))
	rm -f docs/plots/*.svg docs/plots/nbody/*.svg
	set -e; for sweep in $(SWEEPS); do $(BIN)/kgen plot $$sweep --out docs/plots --format svg; done
	$(BIN)/python -m benchmarks.claims pictures
	$(BIN)/python -m benchmarks.claims text $(SWEEPS)
	$(BIN)/python -m benchmarks.nbody draw $(CURVES) --steps benchmarks/results/cpu-steps.csv

clean:  ## Remove what can be made again, the environment too
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .generated.kgen
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
