# Two commands matter: `make run` and `make test`. Both work on a fresh machine, and twice in a row.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
CLIENTS := .cache/clients
BIN := $(VENV)/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start Tidemill some hundred times; compiling it anew takes each a second.
test: export PYTHONDONTWRITEBYTECODE :=
TINY := smollm2-135m-instruct-q4_1

.PHONY: help run test check bench wheel lock clean

help:  ## List these commands
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

run: $(VENV)/.run  ## Start the hub and review a real commit
	@"$(BIN)/tidemill" up --example examples/orders.bundle

test: $(VENV)/.test $(CLIENTS)/.ready check  ## Everything that CI runs
	@echo "Fetching the small model that the tests load (92 MB, once) …"
	@TIDEMILL_DATA_DIR=.cache/tidemill "$(BIN)/tidemill" models pull $(TINY)
	@"$(BIN)/python" -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report= --cov-fail-under=90 $(PYTEST_ARGS)

check: $(VENV)/.test  ## Lint, format, types, layers
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports"

bench: $(VENV)/.test  ## Print the benchmark ratios of docs/benchmarks.md
	@"$(BIN)/python" -m benchmarks

wheel: $(VENV)/.test  ## Build the wheel into dist/
	@"$(BIN)/python" -m build --wheel --no-isolation

lock:  ## Renew the hash-locked requirements (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group build --group test -c requirements/run.txt -o requirements/test.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		requirements/clients.in -o requirements/clients.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-deps \
		requirements/engines.in -o requirements/engines.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Tidemill needs Python 3.11 or later; set PYTHON=/path/to/one.")'
	@echo "Making .venv …"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements/run.txt requirements/engines.txt pyproject.toml
	@echo "Installing the locked requirements (about 200 MB) …"
	@"$(BIN)/python" -m pip install --quiet --require-hashes --requirement requirements/run.txt
	@echo "Installing Semgrep's engine, without the Python packages that its command line needs (72 MB) …"
	@"$(BIN)/python" -m pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement requirements/engines.txt || \
		echo "There is no Semgrep engine for this machine: reviews will say that data flow was not followed."
	@"$(BIN)/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	@echo "Installing what the tests need …"
	@"$(BIN)/python" -m pip install --quiet --require-hashes --requirement requirements/test.txt
	@"$(BIN)/python" -m pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement requirements/engines.txt
	@touch $@

$(CLIENTS)/.ready: $(VENV)/bin/python requirements/clients.txt tests/clients/package-lock.json
	@echo "Installing the clients that the tests drive …"
	@"$(BIN)/python" -m venv $(CLIENTS)/venv
	@"$(CLIENTS)/venv/bin/python" -m pip install --quiet --no-compile --require-hashes --requirement requirements/clients.txt
	@if command -v npm >/dev/null; then \
		mkdir -p $(CLIENTS)/node && cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)/node/ && \
		npm ci --prefix $(CLIENTS)/node --silent --no-audit --no-fund --ignore-scripts; \
	else echo "There is no npm here: OpenAI's client for Node will not be tested."; fi
	@touch $@

clean:  ## Remove the virtual environment and caches (never your data)
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache dist
