"""Makes the package and what the tests share importable: tools/ is not part of the installed
library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ptx_simulator import Module, compile_ptx, find_nvcc, load


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Module]:
    """Compiles a source once per session."""
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    folder = tmp_path_factory.mktemp("ptx")
    modules: dict[str, Module] = {}

    def build(source: str) -> Module:
        if source not in modules:
            path = folder / f"source{len(modules)}.cu"
            path.write_text(source)
            modules[source] = load(compile_ptx(path))
        return modules[source]

    return build
