# Two commands for a fresh machine with Python and a C++ compiler: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# The torch that the wheel of test-torch is built against, and where it keeps the others.
WHEEL_TORCH := torch==2.13.0
TORCH_VENVS ?= build/torch
# The oldest and the newest torch under which make wheel tries it.
SMOKE_TORCHES ?= torch==2.11.0 $(WHEEL_TORCH)
SMOKE := build/smoke
PLAIN ?= build/plain
SOURCES := $(shell find csrc -not -path '*/tests/*' -type f) setup.py pyproject.toml
CXX_FILES := $(shell find csrc tools -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo test lint test-cpp test-library test-python test-ptx test-torch wheel test-install faults docs build clean

demo: build
	$(BIN)/effebm train --data digits --compressor block-sign:64 --out runs/demo --overwrite

test: lint test-cpp test-python test-ptx

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy

CMAKE := $(BIN)/cmake -S . -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja

define CTEST
$(CMAKE) -B $(1) -DEFFEBM_SANITIZE=$(2)
$(BIN)/cmake --build $(1)
$(BIN)/ctest --test-dir $(1) --output-on-failure -j2
endef

# The core, the CPU kernels and the emulated CUDA kernels without torch, plain and under sanitizers.
test-cpp: build
	$(call CTEST,build/cmake,)
	$(call CTEST,build/address,address)
	$(call CTEST,build/thread,thread)

# What the Python tests load: the emulated CUDA kernels and the numerical core.
test-library: build
	$(CMAKE) -B build/cmake -DEFFEBM_SANITIZE=
	$(BIN)/cmake --build build/cmake --target effebm_emulated

# One process per core, each with one thread but where a test asks for more.
test-python: test-library
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# What nvcc emits for the CUDA kernels, executed, and what ptxas makes of it, counted; skipped by name
# where there is no nvcc.
test-ptx: test-library
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tools/ptx_simulator/tests tools/sass/tests

# Do the tests notice broken CUDA kernels? All the seeded faults, or FAULTS="--random 5" of them.
faults: build
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/seeded_faults/run.py $(FAULTS)

# The tests of the ops under another torch, with a wheel built against $(WHEEL_TORCH):
# make test-torch TORCH=torch==2.11.0
test-torch: build/wheel/made test-library
	$(BIN)/python tools/torch_versions.py "$(TORCH)" --wheel build/wheel --venvs $(TORCH_VENVS)

build/wheel/made: $(SOURCES) $(shell find effebm_ext -name '*.py*')
	$(MAKE) build TORCH=$(WHEEL_TORCH)
	rm -rf build/wheel build/lib.*
	$(BIN)/pip wheel -q --no-build-isolation --no-deps -w build/wheel .
	touch $@

# The wheel in build/wheel, tried in a fresh environment under each of $(SMOKE_TORCHES).
wheel: build/wheel/made
	for torch in $(SMOKE_TORCHES); do \
		rm -rf $(SMOKE) && $(BIN)/python -m venv $(SMOKE) && \
		$(SMOKE)/bin/pip install -q "$$torch" "$$(echo build/wheel/*.whl)[train]" && \
		$(SMOKE)/bin/python tools/smoke_test.py || exit 1; \
	done

# The pages of docs/ as a site in build/site. A broken link, anchor or reference is an error.
docs: build
	$(BIN)/pip install -q "effebm_ext[docs]"  # is installed by now, so only the extra is added
	$(BIN)/mkdocs build --strict

# The README's installation into a clean environment, and its example, in the clone and elsewhere.
test-install:
	rm -rf $(PLAIN)
	$(PYTHON) -m venv $(PLAIN)
	$(PLAIN)/bin/pip install -q "$(TORCH)" setuptools wheel pybind11 numpy
	$(PLAIN)/bin/pip install -q --no-build-isolation .
	$(PLAIN)/bin/python tools/readme_example.py

build: $(VENV)/built

$(VENV)/built: $(SOURCES)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q "$(TORCH)" numpy setuptools wheel pybind11
	$(BIN)/pip install -q --no-build-isolation -e ".[dev]"
	touch $@

clean:
	rm -rf build effebm_ext/*.so $(VENV)
