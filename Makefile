# The first of these that is Python 3.11 or newer. `make PYTHON=/path/to/python …` names another.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
# Arguments for the command of the target: make up ARGS='--orders 1000', make test ARGS='-k ledger'.
ARGS ?=

BIN := .venv/bin
# setuptools writes the path of an editable install in the locale's encoding, which may lack its characters. Python then
# reads it in the user's locale, so the path is made relative below.
PIP := LC_ALL=C.UTF-8 $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-build-isolation
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

# Benchmarks, with their options: see $(BIN)/python -m benchmarks --help.
PIECES ?= limit producer contract sink 'sink --engine direct' latency 'latency --engine direct' idle \
	'idle --engine direct' growth scale rivals

# Platforms of the wheels that `make dist` builds; setup.py has the compiler's name of each.
PLATFORMS ?= manylinux_2_17_x86_64 manylinux_2_17_aarch64 musllinux_1_2_x86_64 musllinux_1_2_aarch64 \
	macosx_11_0_x86_64 macosx_11_0_arm64
UV_BUILD = $(BIN)/uv build --quiet --python $(BIN)/python --build-constraints requirements-build.txt --require-hashes \
	--out-dir dist

.PHONY: help setup up check test test-spark fuzz faults bench lint docs lock dist clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 8

setup: .venv/.servers ## Install everything: .venv, Java, Kafka, Spark's connector, database

up: setup ## Start Kafka, the database, the sink and the producer; Ctrl-C stops them
	@$(BIN)/orderflow up $(ARGS)

check: lint ## Check everything that needs no servers: lint and the unit tests
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests/unit $(ARGS)

test: setup lint ## Check and test everything
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 20 $(ARGS)

test-spark: setup .venv/.dev ## Run the pipeline's tests with another Spark version: make test-spark SPARK=3.5 (4.0, 4.1)
	@$(BIN)/python -m tests.support.spark_versions $(or $(SPARK),4.2) $(ARGS)

fuzz: .venv/.dev ## Fuzz native.c under AddressSanitizer and UBSan, with random contracts: make fuzz SECONDS=600 SEED=7
	@$(BIN)/python -m tests.support.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

faults: setup .venv/.dev ## Inject random faults (by seed) under load, and audit each round: make faults ROUNDS=50 SEED=7
	@$(BIN)/python -m tests.faults.runner $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ENGINE),--engine $(ENGINE)) $(if $(TRIGGER),--trigger $(TRIGGER))

bench: setup .venv/.dev ## Run benchmarks (see docs/performance.md): make bench PIECES="limit 'sink --rows 1000000'"
	@set -e; for piece in $(PIECES); do $(BIN)/python -m benchmarks $$piece; done

lint: .venv/.dev ## Check style, types and import direction
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.dev ## Build the documentation into build/docs; a warning or a dead link is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/docs
	@echo "build/docs/index.html"

lock: .venv/.dev ## Regenerate the lock files: the newest versions that pyproject.toml and lock.py allow
	$(LOCK) --upgrade pyproject.toml --extra all --output-file requirements.txt
	$(LOCK) --upgrade pyproject.toml --extra all --group dev --constraint requirements.txt --output-file requirements-dev.txt
	printf 'setuptools>=80\nziglang>=0.15\n' | $(LOCK) --upgrade - --output-file requirements-build.txt
	$(BIN)/python -m orderflow.jvm.write_jar_lock
	$(BIN)/python -m benchmarks.rivals.rival_jars

dist: .venv/.dev ## Build the source archive and a wheel for each platform into dist/, and check them
	rm -rf dist src/*.egg-info # an older list of files would add files to the archive
	$(UV_BUILD) --sdist .
	@set -e; for platform in $(PLATFORMS); do \
		ORDERFLOW_WHEEL_PLATFORM=$$platform $(UV_BUILD) --wheel dist/orderflow-*.tar.gz; \
	done
	$(BIN)/python -m tests.support.wheels dist/*.whl

clean: ## Remove what setup and the tests created; the data in .orderflow stays
	rm -rf .venv .venv-spark-* build dist src/orderflow/contract/native/native.so .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info

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

# setuptools is installed first, because pyspark is distributed as source. Everything except OrderFlow itself is verified
# against a pinned hash. The compiler is removed after use: it takes 400 MB.
.venv/.runtime: requirements.txt requirements-build.txt pyproject.toml setup.py src/orderflow/contract/native/native.c \
		| .venv/bin/python
	$(PIP) --require-hashes -r requirements-build.txt
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --editable .
	@for pth in .venv/lib/python3*/site-packages/__editable__.orderflow-*.pth; do echo ../../../../src >"$$pth"; done
	$(BIN)/python -m pip uninstall --disable-pip-version-check --quiet --yes ziglang
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.runtime
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

.venv/.servers: src/orderflow/jvm/jars.lock .venv/.runtime
	@$(BIN)/python -m orderflow.embedded
	@touch $@
