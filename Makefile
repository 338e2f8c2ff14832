# Python, 3.11 or newer: the first of these that is. `make PYTHON=/path/to/python …` names another.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
# Arguments for what the target runs: make up ARGS='--orders 1000', make test ARGS='-k ledger'.
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-build-isolation
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

# Pieces of `orderflow bench`, with their options.
PIECES ?= limit producer sink 'sink --engine direct' latency 'latency --engine direct' idle 'idle --engine direct' growth rivals

.PHONY: help setup up test faults bench lint lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

setup: .venv/.servers ## Prepare everything: .venv, Java, Kafka, database

up: setup ## Start Kafka, the database, the sink and the producer; Ctrl-C stops them
	@$(BIN)/orderflow up $(ARGS)

test: setup lint ## Check and test everything
	$(BIN)/pytest $(ARGS)

faults: setup .venv/.dev ## Faults drawn by a seed under load, proven each round: make faults ROUNDS=50 SEED=7
	@$(BIN)/python -m tests.faults.runner $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ENGINE),--engine $(ENGINE))

bench: setup .venv/.dev ## Measure, as docs/performance.md says: make bench PIECES="limit 'sink --rows 1000000'"
	@set -e; for piece in $(PIECES); do $(BIN)/orderflow bench $$piece; done

lint: .venv/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/.dev ## Write the lock files anew: the newest versions that pyproject.toml and lock.py allow
	$(LOCK) --upgrade pyproject.toml --output-file requirements.txt
	$(LOCK) --upgrade pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	printf 'setuptools>=80\nziglang>=0.15\n' | $(LOCK) --upgrade - --output-file requirements-build.txt
	$(BIN)/python -m orderflow.embedded.lock
	$(BIN)/python -m orderflow.bench.rivals.jars

clean: ## Remove what setup and the tests made here; the data in .orderflow stays
	rm -rf .venv build src/orderflow/native/native.so .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info

.venv/bin/python:
	@for python in $(PYTHON); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			$$python -m venv .venv && exit; \
			rm -rf .venv; \
			echo "$$python could not make a virtual environment: on Debian and Ubuntu, install python3-venv." >&2; \
			exit 1; \
		fi; \
	done; \
	echo 'Python 3.11 or newer is needed, and none of these is: $(PYTHON). Name one: make PYTHON=/path/to/python' >&2; \
	exit 1

# pyspark comes as source, so setuptools is there first. Everything is held to its hash but OrderFlow itself.
# The compiler leaves when it has done its work: it takes 400 MB.
.venv/.runtime: requirements.txt requirements-build.txt pyproject.toml setup.py src/orderflow/native/native.c \
		| .venv/bin/python
	$(PIP) --require-hashes -r requirements-build.txt
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --editable .
	$(BIN)/python -m pip uninstall --disable-pip-version-check --quiet --yes ziglang
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.runtime
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

.venv/.servers: src/orderflow/embedded/jars.lock .venv/.runtime
	@$(BIN)/python -m orderflow.embedded
	@touch $@
