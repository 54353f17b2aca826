# The targets a person types; CI types the same. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help demo test check fast bench browser clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.run ## install, simulate a federation of four phantom hospitals, say where the report lies
	$(BIN)/fedspine simulate

test: check browser ## install, check, and run every test (slow ones too)
	$(BIN)/pytest --durations=10

check: $(VENV)/.test ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.test ## the quick tests only
	$(BIN)/pytest -m "not slow and not browser"

bench: $(VENV)/.test ## measure, and write docs/reference/benchmarks.md
	$(BIN)/python -m simulations.bench

browser: ## Debian's Chromium for the report tests, where apt can bring it; they are skipped without it
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || tools/install-chromium

clean: ## remove the environment and the runs
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/.run
