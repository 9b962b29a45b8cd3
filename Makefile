# `make` alone lists what there is. Everything happens in .venv; nothing is installed outside of it.
# Works with GNU make 3.81 (macOS) and newer.

# Any Python from 3.11 on: make demo PYTHON=python3.12
PYTHON ?= python3
# Arguments for pytest: make test ARGS="tests/test_docs.py -k table"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# A stamp is newer than the pins when what they name is installed; then no pip runs at all.
RUNTIME := $(VENV)/installed-runtime
DEVELOPMENT := $(VENV)/installed-development
BENCHMARKS := $(VENV)/installed-benchmarks
DATA := $(VENV)/installed-data
LOCK := $(VENV)/lock
COMPILE := $(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

# The tests start hundreds of processes; without its bytecode each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test campaign browser lint bench calibrate docs lock schema reference clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

demo: $(RUNTIME) ## install what is pinned and evaluate three real contributions
	@$(BIN)/hokusai demo

test: $(DEVELOPMENT) ## run the tests, on all cores
	$(BIN)/pytest --hypothesis-profile=ci -n auto --dist worksteal -m "not slow" $(ARGS)

campaign: $(DEVELOPMENT) $(DATA) ## run the slow tests: real data on shared servers, two hundred faulty networks, damaged files
	$(BIN)/pytest --hypothesis-profile=ci -m slow $(ARGS)

browser: ## install Chromium (Debian, as root), with which the tests look at MLflow's UI
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then :; \
	elif [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
	    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-liberation; \
	else echo "Install Chromium so that 'chromium' is on the path; on Debian: apt-get install chromium" >&2; exit 1; fi

lint: $(DEVELOPMENT) ## check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BENCHMARKS) ## measure start-up, tracking and shipping, as ratios
	$(BIN)/python benchmarks/run.py

calibrate: $(BENCHMARKS) ## simulate the intervals and the decisions against a known truth; writes docs/calibration.md
	$(BIN)/python -m calibration.run

docs: $(DEVELOPMENT) ## run the documentation's examples and check its links
	$(BIN)/pytest tests/test_docs.py

lock: $(LOCK)/bin/uv ## pin every dependency anew, with hashes; UPGRADE=1 takes the newest versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --output-file requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group bench --constraint requirements.txt --constraint requirements-dev.txt --output-file requirements-bench.txt

schema: $(RUNTIME) ## write the tables of a fresh store of the pinned MLflow, after its pin has moved
	$(BIN)/python tools/dump_mlflow_schema.py

reference: $(RUNTIME) ## write docs/reference.md and docs/commands.md anew, after a parameter, metric, tag or command has changed
	$(BIN)/python tools/write_reference.py

clean: ## remove .venv and caches; evaluations (.hokusai, mlflow.db, mlartifacts) stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks calibration tools -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Hokusai needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo 'not there')." >&2; \
	    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it comes with the package python3-venv." >&2; exit 1; }

# The package itself needs its build tool only here; pip fetches that into a place of its own.
$(RUNTIME): requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(BENCHMARKS): requirements-bench.txt $(DEVELOPMENT)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

# Data that are in source distributions alone; they are unpacked by whoever reads them, and not installed.
$(DATA): requirements-data.txt | $(BIN)/python
	$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-binary vadersentiment \
	    --dest $(VENV)/data --requirement requirements-data.txt
	@touch $@

$(LOCK)/bin/uv:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/pip install --quiet --disable-pip-version-check uv
