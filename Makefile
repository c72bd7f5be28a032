# Everything a fresh machine needs: git, make, and Python 3.11 or later with venv and pip.
#
# Stamps in the virtual environment remember what was installed, so a second run starts at once.
# pip's own settings hold: PIP_EXTRA_INDEX_URL with PyTorch's index of CPU wheels spares the CUDA packages
# that torch otherwise brings on Linux.

VENV := .venv
BIN := $(VENV)/bin
SETUP := pyproject.toml constraints.txt scripts/install.sh

# One thread per numerical library: the tests run real-time code that must not be crowded out.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean system-demo system-test

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: system-demo $(VENV)/.rtsep-demo ## Set up, then separate a real song as it plays and mute its vocals
	$(BIN)/rtsep demo

test: system-test $(VENV)/.rtsep-test ## Set up, then run every test, ruff and mypy among them
	@scripts/run_tests.sh $(BIN)/python $(PYTEST_ARGS)

lint: $(VENV)/.rtsep-test ## Check style and types alone
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.rtsep-bench ## Set up, then run every benchmark: half an hour; BENCH_ARGS=--short for a minute
	$(BIN)/rtsep bench all $(BENCH_ARGS)

clean: ## Remove the virtual environment, caches and what the demo wrote
	rm -rf $(VENV) build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find rtsep tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

system-demo:
	@scripts/system_packages.sh demo

system-test:
	@scripts/system_packages.sh test

$(VENV)/.rtsep-demo: $(SETUP) | system-demo
	@scripts/install.sh $(VENV) demo
	@touch $@

$(VENV)/.rtsep-test: $(SETUP) | system-test
	@scripts/install.sh $(VENV) test
	@touch $(VENV)/.rtsep-demo $@

$(VENV)/.rtsep-bench: $(SETUP) | system-demo
	@scripts/install.sh $(VENV) bench,torch
	@touch $@
