# Two commands: `make demo` and `make test`. Each makes the environment in .venv if it is missing or out of date.
# Needed: make, and Python 3.11 to 3.13 with pip and venv (choose one with PYTHON=python3.12).

PYTHON ?= python3
# This torch is put in before anything can ask for a newer one (another five gigabytes).
TORCH ?= torch==2.13.0
# What `make demo` runs; the folder must not hold a run already.
DEMO ?= train mini-demo --out runs/demo
# Test processes, one thread each.
WORKERS ?= 2

BIN := .venv/bin
RUN := .venv/.ready-to-run
DEV := .venv/.ready-to-develop

.PHONY: help venv demo test lint format audit clean

help:
	@echo "make demo    train the mini world for a few minutes and write a report (no GPU; the network only to install)"
	@echo "make test    style, import rules, types, tests"
	@echo "make lint    the same without the tests;  make format  mend the style"
	@echo "make audit   known vulnerabilities of what is installed (asks PyPI)"
	@echo "make venv    the environment alone, with the developers' tools"
	@echo "make clean   remove the environment and everything generated, runs/ excepted"

venv: $(DEV)

$(RUN): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  f"error: Python {v[0]}.{v[1]} is not supported; run make PYTHON=python3.11 (or 3.12, 3.13)")'
	@echo "Making .venv. With a CPU build of torch (where pip finds one): 0.5 GB to download, 2.1 GB on disk."
	@echo "With a CUDA build (what PyPI gives on Linux) it is several GB more: about 6 GB on disk with torch 2.15."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install "$(TORCH)" -e .
	@touch $@

$(DEV): $(RUN)
	@echo "Adding the developers' tools: 0.3 GB to download, 0.9 GB on disk."
	$(BIN)/pip install -e '.[dev]'
	@touch $@

demo: $(RUN)
	$(BIN)/worldr1 $(DEMO)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pip-audit has an environment of its own: what it needs is no dependency of ours
audit: $(DEV)
	@test -x .venv/audit/bin/python || $(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/pip install -q pip-audit || echo "pip-audit cannot be installed"
	@.venv/audit/bin/python .ci/audit.py "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
