# The commands of the house. `make demo` and `make test` set up all they need and say what they install.

LAB ?= lab.pillion.yml
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check lab bench soak images lint clean

help:
	@echo "make demo    a vehicle drives, its service follows it, and what the UE saw of it is reported (6 to 15 minutes)"
	@echo "make test    every capability once, on real parts (about 28 minutes)"
	@echo "make check   the fast part: lint, types, imports, unit tests (5 minutes on two cores, needs no Docker)"
	@echo "make lab     the rest of the tests: on real parts, or long, or by the clock"
	@echo "make bench   the engine against the procedure by hand, five rounds of nine cells (about 25 minutes); see docs/bench.md"
	@echo "make soak    the long campaigns, or one with PART=faults-m2 (under 30 minutes each); see docs/soak.md"
	@echo "make setup   install and start what is missing: Docker, Compose, Python packages"
	@echo "make images  build the lab's container images"

setup: $(VENV)/ready
	@scripts/setup.sh

# Python alone is enough for `make check`; the machine is set up only where even that is missing.
$(VENV)/ready: requirements.lock pyproject.toml
	@python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || scripts/setup.sh
	@echo "setup: Python packages from requirements.lock into $(VENV)"
	@python3 -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup
	@status=0; $(BIN)/pillion demo -t $(LAB) || status=$$?; scripts/setup.sh --stop; exit $$status

images: setup
	@compose/images.sh . pillion engine/pillion

lint: $(VENV)/ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint
	@$(BIN)/python -m pytest -q -m "not lab" --numprocesses=auto

lab: images
	@$(BIN)/python -m pytest -m lab --durations=15

test: setup
	@status=0; { $(MAKE) check && $(MAKE) lab; } || status=$$?; scripts/setup.sh --stop; exit $$status

bench: setup images
	@$(BIN)/pillion bench

soak: setup images
	@$(BIN)/python -m tests.soak $(PART)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
