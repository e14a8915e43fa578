# `make demo` and `make test` do all set-up themselves; they need Python 3.11 or newer and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS ?= dev

.PHONY: setup demo test lint bench bench-prnet bench-scan bench-store clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: $(READY)
	$(BIN)/pseudodepth demo --out demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-prnet bench-scan bench-store

# mosaicml-streaming comes without its dependencies: it asks for numpy < 2.2, and works without
bench-store: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "mosaicml-streaming>=0.13,<0.14"
	$(BIN)/python benchmarks/store.py --json bench-store.json

bench-scan: $(READY)
	$(BIN)/python benchmarks/scan.py

bench-prnet: $(READY)
	$(BIN)/python benchmarks/prnet.py

clean:
	rm -rf $(VENV) demo
