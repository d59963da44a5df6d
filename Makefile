# Everything that is done to this repository, by name. `make help` lists it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= 2

# uv does not read pip's configuration: hand it the index and the certificates that pip on this machine was given.
pip_setting = $$($(BIN)/python -m pip config list 2>/dev/null | sed -nE "s/^(global|install)\.$(1)='(.*)'\$$/\2/p" | tail -n 1)
WITH_PIP_SETTINGS = \
	export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$(call pip_setting,index-url)}}}"; \
	ca="$${SSL_CERT_FILE:-$${PIP_CERT:-$(call pip_setting,cert)}}"; [ -z "$$ca" ] || export SSL_CERT_FILE="$$ca";
UV = $(WITH_PIP_SETTINGS) $(BIN)/uv
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header $(LOCK_OPTIONS)

# What has been set up stands as an empty file in the environment; it is done again when what it was made from changes.
UV_READY   := $(VENV)/.uv-ready
RUN_READY  := $(VENV)/.run-ready
TEST_READY := $(VENV)/.test-ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

##@ Every day

.PHONY: help
help: ## list these
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))

.PHONY: run
run: $(RUN_READY) ## set up and start the gateway with the emulated vendors beside it
	@exec $(BIN)/trackgate serve --sandbox

.PHONY: test
test: $(TEST_READY) ## set up and run every check: lint, types, layers, tests
	@$(MAKE) --no-print-directory lint; lint=$$?; $(MAKE) --no-print-directory pytest && exit $$lint

.PHONY: format
format: $(TEST_READY) ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: docs
docs: $(TEST_READY) ## renew the generated parts of the README and the schema of routes.toml
	$(BIN)/python -m trackgate.config schema > src/trackgate/config/routes.schema.json
	$(BIN)/python -m tests.readme

.PHONY: bench
bench: $(TEST_READY) ## measure the gateway beside the limits of this machine, in under ten minutes, into docs/benchmark.md
	$(BIN)/python -m bench $(BENCH_OPTIONS)

##@ One at a time

# As many at a time as there are workers, each one's output in one piece where this make knows how to.
.PHONY: lint
lint: $(TEST_READY) ## every check but the tests
	@$(MAKE) --no-print-directory --keep-going -j$(WORKERS) \
		$(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(LINTS)

.PHONY: pytest
pytest: $(TEST_READY) ## the tests, with branch coverage
	$(BIN)/pytest --numprocesses $(WORKERS) --cov $(PYTEST_OPTIONS)

LINTS := lint-mypy lint-basedpyright lint-ruff lint-format lint-layers lint-dependencies lint-unused lint-spelling \
	lint-pyproject lint-yaml lint-dockerfile lint-kubernetes
.PHONY: $(LINTS)

lint-mypy:
	$(BIN)/mypy
lint-basedpyright:
	$(BIN)/basedpyright --warnings
lint-ruff:
	$(BIN)/ruff check --quiet
lint-format:
	$(BIN)/ruff format --check --quiet
lint-layers:
	$(BIN)/lint-imports --no-logo
lint-dependencies:
	$(BIN)/deptry src
lint-unused:
	$(BIN)/vulture
lint-spelling:
	$(BIN)/codespell
lint-pyproject:
	$(BIN)/validate-pyproject --disable=classifiers pyproject.toml
lint-yaml:
	$(BIN)/yamllint --strict .
lint-dockerfile:
	$(BIN)/hadolint --failure-threshold info Dockerfile
lint-kubernetes:
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml

##@ Long runs

.PHONY: faults
faults: $(TEST_READY) ## the fault tests in their long form, over an hour; writes docs/faults.md
	@$(BIN)/python -m tests.faults $(TESTS)

.PHONY: soak
soak: $(TEST_READY) ## an hour (or SECONDS=...) at half load, to see whether anything grows; writes docs/soak.md
	@$(BIN)/python -m tests.faults.soak $(SECONDS)

##@ Dependencies

.PHONY: lock
lock: $(UV_READY) ## pin every dependency anew (LOCK_OPTIONS=--upgrade for the newest)
	@$(COMPILE) --output-file requirements/uv.txt requirements/uv.in
	@$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	@$(COMPILE) --output-file requirements/dev.txt --constraints requirements/runtime.txt --group dev pyproject.toml

.PHONY: clean
clean: ## forget the environment and every cache; data stays
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist

$(UV_READY): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"Trackgate needs Python 3.11 or newer, and \`$(PYTHON)\` is not: name one that is, as in 'make run PYTHON=python3.12'." \
		>&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(RUN_READY): $(UV_READY) requirements/runtime.txt pyproject.toml
	@echo 'Installing what Trackgate needs into $(VENV)'
	@$(INSTALL) --require-hashes -r requirements/runtime.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

$(TEST_READY): $(RUN_READY) requirements/dev.txt
	@echo 'Installing what the checks need into $(VENV)'
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
