# make demo: set up and run the main job on this machine. make test: set up and pass the tests.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
FUZZ_S ?= 20
# Not more by itself: databases, machines and planes that tests start take processors too.
TEST_PROCESSES ?= 2
STAMP := $(VENV)/.installed
CATALOGUES := $(patsubst %.po,%.mo,$(wildcard kumoi/locale/*/LC_MESSAGES/kumoi.po))

.PHONY: help setup system demo test check fuzz bench lock clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: system $(STAMP) $(CATALOGUES) ## Install what Kumoi needs

system:
	@tools/system_packages.sh $(PYTHON)

$(STAMP): requirements-dev.txt pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

%.mo: %.po | $(STAMP)
	$(BIN)/pybabel --quiet compile --input-file $< --output-file $@

demo: setup ## Start a region, run real jobs, kill it, prove what happened (ends by itself)
	$(BIN)/python -m demo

test: setup ## Run the tests
	$(BIN)/pytest -n $(TEST_PROCESSES)

check: setup ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	rm -rf build/bench-types && mkdir -p build/bench-types && ln -s $(CURDIR)/bench/*.py build/bench-types
	rm build/bench-types/queue.py # to mypy it would be Python's own module of this name; it only starts queue_report
	MYPYPATH=build/bench-types $(BIN)/mypy --strict build/bench-types/*.py
	$(BIN)/lint-imports

fuzz: setup ## Fuzz every parser of bytes from outside, FUZZ_S seconds each
	for target in $$($(BIN)/python -m fuzz); do \
	  echo "== $$target" && $(BIN)/python -m fuzz $$target -max_total_time=$(FUZZ_S) -verbosity=0 || exit 1; done

bench: setup ## Run every benchmark beside its peers (takes long)
	bench/install_peers.sh
	$(BIN)/python bench/run_all.py build/bench

lock: ## Resolve the dependencies again
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	for name in requirements requirements-dev; do \
	  $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header \
	    --python-version 3.11 --python-platform linux $$name.in --output-file $$name.txt; done

clean: ## Remove what was made here
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
