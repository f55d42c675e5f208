# Everything here works from a fresh clone with python3 (3.11 or later) and make alone.

VENV := .venv
BIN := $(VENV)/bin
LOCK_VENV := .venv-lock
BENCH_VENV := .venv-bench
CHECKS_VENV := .venv-checks
SECONDS := 600
MINUTES := 10
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
.DEFAULT_GOAL := help
.PHONY: help install run test compatible checks matrix chaos soak coverage lint format bench bench-quick bench-soak lock clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

install: $(VENV)/.installed ## Make .venv from requirements.lock; PYTHON=… chooses the interpreter.
	@:

run: install ## Run the demo until Ctrl-C, or for DEMO_SECONDS=….
	@exec $(BIN)/eventbus-run config/demo.toml

test: install ## Run all tests in random order; ARGS='-k drain' is handed to pytest.
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

compatible: install ## The tests of buses and triggers, with nats-py's own parser in place of ours.
	@EVENTBUS_READER=compatible $(BIN)/pytest -n 2 --dist loadgroup tests/buses tests/triggers $(ARGS)

matrix: install ## Tests on other versions of nats-server, nats-py and Python; ARGS=--list names the rows, ARGS=ROW runs one.
	@$(BIN)/python -m tests.matrix $(ARGS)

checks: install $(CHECKS_VENV)/.installed ## Put what is rendered before the offline validators of its targets.
	@$(CHECKS_VENV)/bin/pytest -m checks tests/checks $(ARGS)

chaos: install ## Kills, cuts, elections and full disks, with a ledger for each; some minutes.
	@$(BIN)/pytest -m chaos tests/chaos $(ARGS)

soak: install ## Full rate and a kill every 20 s, for MINUTES=…: does the ledger balance, does memory stay flat?
	@$(BIN)/python -m tests.chaos.soak $(MINUTES)

coverage: install ## The same with coverage; fails below 90 % of lines and branches.
	@$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term $(ARGS)

lint: install ## Check style, types and layers.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install ## Format the code, and mend what ruff can mend.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: install $(BENCH_VENV)/.installed ## Race all contenders in all cases; ARGS='--cases relay' is handed on, ARGS=--help lists what may be.
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: install $(BENCH_VENV)/.installed ## The same with two cases and three contenders, in about a minute.
	@$(BIN)/python -m benchmarks --quick $(ARGS)

bench-soak: install ## Ours at full rate for ten minutes, or for SECONDS=…: does its memory stay flat?
	@$(BIN)/python -m benchmarks.soak $(SECONDS)

lock: $(LOCK_VENV)/bin/uv ## Write requirements.lock anew from pyproject.toml; ARGS=--upgrade takes the newest.
	@$(LOCK_VENV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-annotate --no-header --quiet $(ARGS) -o requirements.lock

clean: ## Remove what the other targets made, .venv included.
	@rm -rf $(VENV) $(LOCK_VENV) $(BENCH_VENV) $(CHECKS_VENV) .matrix dist build .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

# For recipes: `python` is the first interpreter of PYTHONS that will do.
FIND_PYTHON = for python in $(PYTHONS); do \
	  if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "This needs Python 3.11 or later with its venv module, and found none as any of: $(PYTHONS)." >&2; \
	  exit 1; \
	fi

# Two steps, since pip can't check hashes and install an editable package in one. A stamp after each: a changed lock
# makes .venv anew, a changed pyproject.toml only renews the scripts.
$(VENV)/.locked: requirements.lock
	@$(FIND_PYTHON); $$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Not from .venv: a lock that can't be installed is mended here.
$(LOCK_VENV)/bin/uv:
	@$(FIND_PYTHON); $$python -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv

# The contenders' packages stay out of .venv: they would slow its start, and they pin what is ours to choose.
# The validators are big, and change what others import; so they stay out of .venv.
$(CHECKS_VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/.installed
	@$(BIN)/python -m venv --clear $(CHECKS_VENV)
	@$(CHECKS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(CHECKS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[checks]"
	@touch $@

$(BENCH_VENV)/.installed: benchmarks/requirements.txt | $(VENV)/.installed
	@$(BIN)/python -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@
