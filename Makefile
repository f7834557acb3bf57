# Two commands matter: `make run` and `make test`. Both set up all they need, in .venv, the first time.

# The first of these that is Python 3.11 or newer.
PYTHON ?= $(shell for python in python3.11 python3 python3.13 python3.12 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

CONFIG ?=
LISTEN ?=
# For `make soak`: of the scheduler, and of a server.
MINUTES ?= 10
SERVER_MINUTES ?= 30
# For `make test`: further options of pytest, for example PYTEST="-k swap -x".
PYTEST ?=
# Processes that `make test` runs the tests in; 0: all of them in one, as plain pytest does.
WORKERS ?= 2
# For `make fuzz`.
INPUTS ?= 100000

# Tests start hundreds of interpreters: each would compile all our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint format bench soak fuzz wheel clean help

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/ready-to-run ## the demo, or CONFIG=file.yaml; LISTEN=host:port chooses the address
	@exec $(BIN)/swapcli $(if $(CONFIG),serve --config "$(CONFIG)",demo) $(if $(LISTEN),--listen "$(LISTEN)")

test: $(VENV)/ready-to-test ## every test, with real models
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

lint: $(VENV)/ready-to-test ## linters and type checkers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/ready-to-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/ready-to-test ## a table of ratios, from one run
	@$(BIN)/python tests/bench

fuzz: $(VENV)/ready-to-test ## 100,000 mutated configurations and requests; INPUTS=n chooses how many
	SWAPCLI_FUZZ_INPUTS=$(INPUTS) $(BIN)/python -m pytest -q -o faulthandler_timeout=3600 \
		tests/pure/config/test_config_fuzz.py tests/http/test_wire_fuzz.py

soak: $(VENV)/ready-to-test ## random histories of the scheduler for MINUTES (10), 200 reloads under load, a server for SERVER_MINUTES (30)
	@$(BIN)/python tests/soak_scheduler.py --minutes $(MINUTES)
	@$(BIN)/python tests/reload_under_load.py
	@$(BIN)/python tests/soak_server.py --minutes $(SERVER_MINUTES)

wheel: $(VENV)/ready-to-test ## dist/*.whl
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, as python3 on PATH or with PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# Made anew when the dependencies may have changed; the packages themselves are installed editable.
$(VENV)/ready-to-run: pyproject.toml | $(BIN)/python
	@echo "Installing what is needed to run ..."
	@$(PIP) install --quiet --editable '.[serve,llama]'
	@touch $@

$(VENV)/ready-to-test: pyproject.toml | $(BIN)/python
	@echo "Installing what is needed to test ..."
	@$(PIP) install --quiet --editable '.[serve,llama,test]'
	@touch $@ $(VENV)/ready-to-run
