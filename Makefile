# Everything a newcomer types. Each target makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One process a core, files kept together because they share fixtures; what must run alone follows.
PARALLEL = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "$(QUICK) and not serial"
SERIAL = $(BIN)/pytest -m "$(QUICK) and serial"
QUICK := not slow and not gpu and not jetson and not documentation
# Pins what CI ran with; pyproject.toml asks for ranges.
CONSTRAINTS ?= constraints.txt

# Bytecode is kept even where the environment forbids it: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: soak coverage quickstart install dev lint test test-all clean

quickstart: $(VENV)/.installed
	$(BIN)/calkd-edge compress --recipe quickstart.yaml

install: $(VENV)/.installed

dev: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e '.[dev,trt-check]'
	touch $@ $(VENV)/.installed

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PARALLEL)
	$(SERIAL)

coverage: $(VENV)/.dev
	$(PARALLEL) --cov --cov-report=
	$(SERIAL) --cov --cov-append --cov-report=term:skip-covered

test-all: lint
	HYPOTHESIS_PROFILE=fresh $(BIN)/pytest

soak: $(VENV)/.dev
	PYTHONPATH=$(CURDIR):tests/support $(BIN)/python benchmarks/soak/soak.py $(SOAK)

clean:
	rm -rf $(VENV) .calkd runs dist build
