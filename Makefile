# make emit   set up, write the sample corpus if there is no source, emit the dataset
# make test   set up, run the linters and all tests
# make bench  set up, time our chain against a plain script (SCALES="1 10 100")
# make campaigns  set up, kill a hundred runs and read ten thousand broken sources

PYTHON ?= python3
SOURCE ?= data/source
OUT ?= data
RECIPE ?= unified-v2

BIN := .venv/bin

SCALES ?= 1 10
SEED ?= 7

.PHONY: emit test lint bench campaigns

emit: .venv/.installed
	test -d $(SOURCE) || $(BIN)/python -m immune_data.sample --out $(SOURCE)
	$(BIN)/python -m immune_data.emit --source $(SOURCE) --out $(OUT) --recipe $(RECIPE)

test: .venv/.installed-dev lint
	$(BIN)/python -m pytest -n 2

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --processes 2 sql

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/bench.py --scales $(SCALES)

campaigns: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 tests/test_safety.py --kills 100 --broken 10000 --seed $(SEED)

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@
