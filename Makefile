# make emit   set up, write the synthetic sample corpus if there is no data/source, emit the dataset
# make test   set up, run the linters and all tests
# make train-tiny  set up, train a tiny model on the sample's answers, on the CPU, in minutes
# make edge-tiny   the same, then export to GGUF, answer, score, publish to a Hub on loopback, run
# make evaluate-tiny  after train-tiny: answer, judge by a rule, compare with the base
# make label-tiny  set up, have a tiny model behind a server on loopback label sample incidents, emit
# make judge-tiny  set up, have a judge on loopback score sample answers, emit before and after
# make docs   set up, write the generated pages and the outputs that README and docs show
# make bench  set up, compare the speed of emit with a plain script (SCALES="1 10 100")
# make lowest  run the tests of immune_data with the lowest library versions that it allows
# make campaigns  set up, kill two hundred runs, read ten thousand broken sources and alert files,
#                 have ten thousand answers written by random weights, evaluate 2,000 times,
#                 run all tests on more examples and in every combination

PYTHON ?= python3
SOURCE ?= data/source
OUT ?= data
RECIPE ?= unified-v2

BIN := .venv/bin

SCALES ?= 1 10
DATA_TESTS ?= api audit common contract emit prompts publish read recipes report sample select \
	slips sql why
SEED ?= 7

# To use the torch that is installed, for instance with a GPU: make train-tiny TORCH=
TORCH ?= --constraint constraints.txt

# We need only the library of llama.cpp. Its programs, its server and its image code take three
# quarters of the time that pip needs to build llama-cpp-python. CMAKE_ARGS from the environment,
# for instance -DGGML_CUDA=on, are used instead of these.
CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF \
	-DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF \
	-DLLAMA_CURL=OFF '-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/llama-cpp.cmake'
export CMAKE_ARGS

# Tests start hundreds of processes, which should not all compile the same files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: emit test lint train-tiny edge-tiny evaluate-tiny label-tiny judge-tiny docs bench lowest campaigns

emit: .venv/.installed
	@# Write the sample only to the default folder, and only if nothing was emitted from there before.
	test -d "$(SOURCE)" || test "$(SOURCE)" != data/source || test -e "$(OUT)/tables" || \
		$(BIN)/python -m immune_data.sample --output data/source
	$(BIN)/python -m immune_data.emit --source "$(SOURCE)" --data "$(OUT)" --recipe "$(RECIPE)"

# Each worker takes tests of the same files, and then those that the other has not started.
test: .venv/.installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/.installed-dev
	@# In parallel: mypy uses one process and takes as long as all the others.
	$(BIN)/mypy & types=$$!; \
		{ $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo && \
		$(BIN)/sqlfluff lint --processes 1 sql immune_data/slips/sql; }; style=$$?; \
		wait $$types && exit $$style

train-tiny: .venv/.installed-train
	$(MAKE) emit RECIPE=unified-clean
	test -d $(OUT)/models/random-tiny || \
		$(BIN)/python -m immune_train.random_model --size tiny --output $(OUT)/models/random-tiny
	test -f $(OUT)/models/tiny/run.json || \
		$(BIN)/python -m immune_train.sft --config tiny --data $(OUT) \
			--model $(OUT)/models/random-tiny --output $(OUT)/models/tiny
	$(BIN)/python -m immune_train.recall --run $(OUT)/models/tiny --data $(OUT)

edge-tiny: .venv/.installed-edge
	$(MAKE) train-tiny
	$(BIN)/python tests/support/edge_tiny.py --data $(OUT) --run $(OUT)/models/tiny

evaluate-tiny: .venv/.installed-edge
	$(MAKE) train-tiny
	$(BIN)/python tests/support/evaluate_tiny.py --data $(OUT) --run $(OUT)/models/tiny \
		--base $(OUT)/models/random-tiny

label-tiny: .venv/.installed-dev
	test -d data/source || $(BIN)/python -m immune_data.sample --output data/source
	$(BIN)/python tests/support/label_tiny.py --source data/source --work $(OUT)/label-tiny

judge-tiny: .venv/.installed-dev
	test -d data/source || $(BIN)/python -m immune_data.sample --output data/source
	$(BIN)/python tests/support/judge_tiny.py --source data/source --work $(OUT)/judge-tiny

docs: .venv/.installed-dev
	$(BIN)/python docs/regenerate.py
	$(BIN)/python tests/support/notebook.py docs/api.ipynb
	$(BIN)/python tests/support/evaluation_example.py docs

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/bench.py --scales $(SCALES)

# Without torch; CI does not have to run it. Older libraries may warn about each other.
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt \
		--editable . --group data-tests
	PATH="$(CURDIR)/.venv-lowest/bin:$$PATH" .venv-lowest/bin/python -m pytest \
		-W default $(addprefix tests/,$(DATA_TESTS))

campaigns: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --thorough
	$(BIN)/python -m pytest -n 2 --thorough tests/end_to_end/test_safety.py \
		tests/end_to_end/test_streams.py \
		tests/sft/test_sft.py::test_a_run_killed_anywhere_after_training_goes_on_from_there \
		tests/slips/test_mutated_alerts.py tests/evaluate/test_coverage.py \
		tests/select/test_hashed.py::test_real_incidents_with_a_verdict_each_are_as_hashed \
		tests/select/test_sides.py::test_no_side_is_empty_without_a_word \
		tests/label/test_label.py::test_a_kill_at_any_moment_loses_nothing_that_is_stored \
		tests/judge/test_judge.py::test_a_kill_at_any_moment_loses_nothing_that_is_stored \
		tests/edge/test_grounded.py::test_the_law \
		--kills 100 --broken 10000 --pairs 10000 --seeds 2000 --seed $(SEED)

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Python compiles what it imports, when it imports it: a fraction of what is installed.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile

# Each target installs with one call: a call of pip resolves versions and builds this package anew.
.venv/.installed: pyproject.toml | .venv/bin/python
	$(PIP_INSTALL) --editable .
	touch $@

.venv/.installed-train: pyproject.toml | .venv/bin/python
	$(PIP_INSTALL) $(TORCH) --editable '.[train]'
	touch .venv/.installed $@

# pip's own cache has it the next time.
.venv/wheels: | .venv/bin/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $@.unfinished llama-cpp-python
	mv $@.unfinished $@

# llama.cpp is compiled while pip installs the libraries of training.
.venv/.installed-edge: pyproject.toml
	$(MAKE) --jobs 2 .venv/.installed-train .venv/wheels
	$(PIP_INSTALL) $(TORCH) --find-links .venv/wheels --editable '.[edge]'
	touch $@

.venv/.installed-dev: pyproject.toml
	$(MAKE) --jobs 2 .venv/.installed-train .venv/wheels
	$(PIP_INSTALL) $(TORCH) --find-links .venv/wheels --editable '.[edge]' --group dev
	touch .venv/.installed-edge $@
