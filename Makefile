# Two commands for a fresh machine with Python and a C++ compiler: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
SOURCES := $(shell find csrc -not -path '*/tests/*' -type f) setup.py pyproject.toml
CXX_FILES := $(shell find csrc -name '*.h' -o -name '*.cpp')

.PHONY: demo test lint test-cpp test-python build clean

demo: build
	$(BIN)/effebm train --data digits --compressor block-sign:64 --out runs/demo --overwrite

test: lint test-cpp test-python

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy

# The numerical core and the CPU kernels without torch, plain and under the sanitizers.
test-cpp: build
	$(BIN)/cmake -S . -B build/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja
	$(BIN)/cmake --build build/cmake
	$(BIN)/ctest --test-dir build/cmake --output-on-failure
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DEFFEBM_SANITIZE=ON
	$(BIN)/cmake --build build/sanitize
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure

test-python: build
	$(BIN)/python -m pytest

build: $(VENV)/built

$(VENV)/built: $(SOURCES)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q "$(TORCH)" numpy setuptools wheel ninja pybind11
	$(BIN)/pip install -q --no-build-isolation -e ".[dev]"
	touch $@

clean:
	rm -rf build effebm_ext/*.so $(VENV)
