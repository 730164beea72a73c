# Everything a newcomer types. Each target makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One process a core, files kept together because they share fixtures; what must run alone follows.
# A process that dies, or is ended for a test that hangs, is not started again: it would only meet that test again.
PARALLEL = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 \
  -m "$(QUICK) and not serial"
SERIAL = $(BIN)/pytest -m "$(QUICK) and serial"
QUICK := not slow and not gpu and not jetson and not documentation
# Pins what CI ran with; pyproject.toml asks for ranges.
CONSTRAINTS ?= constraints.txt
# The same with all that they need, by SHA-256: only where it was made for, which is where CI runs.
LOCK := requirements-ci.txt
LOCKED := $(shell $(PYTHON) -c 'import platform, sys; print(sys.platform, platform.machine(), *sys.version_info[:2])')
TOOLS := build/tools/bin

# Bytecode is kept even where the environment forbids it: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: soak coverage quickstart install dev lint test test-all test-versions lock audit clean

quickstart: $(VENV)/.installed
	$(BIN)/calkd-edge compress --recipe quickstart.yaml

install: $(VENV)/.installed

dev: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS) $(LOCK)
ifeq ($(LOCKED) $(CONSTRAINTS),linux x86_64 3 11 constraints.txt)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
else
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e '.[dev,trt-check]'
endif
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

# Another Python, other releases of the libraries: test-versions VERSIONS="python3.13 --oldest"
test-versions:
	$(PYTHON) benchmarks/versions/versions.py $(VERSIONS)

$(TOOLS)/uv:
	$(PYTHON) -m venv build/tools
	$(TOOLS)/pip install --quiet uv pip-audit

# Writes the lock again, after a change of constraints.txt or pyproject.toml; asks the registry.
lock: $(TOOLS)/uv
	printf 'hatchling\neditables\n' | $(TOOLS)/uv pip compile --quiet --generate-hashes --no-annotate --no-header \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 -c $(CONSTRAINTS) \
	  --extra dev --extra trt-check --output-file $(LOCK) pyproject.toml -

# Known vulnerabilities of what the lock names; asks PyPI's JSON interface, and fails where that does not answer.
audit: $(TOOLS)/uv
	$(TOOLS)/pip-audit --strict --disable-pip --requirement $(LOCK)

clean:
	rm -rf $(VENV) .calkd runs dist build
