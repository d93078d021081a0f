"""The walls of the house: who may import whom."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "tools"))
import imports  # noqa: E402

# Every room of the library imports from rooms before it only.
ORDER = [
    *["_C", "source_digest", "extension", "scalars", "warn", "shown", "transforms", "reference"],
    *["rng", "limits", "log_weights", "train_mode", "calls", "energies", "gradients", "rows"],
    *[
        "batches",
        "networks",
        "ops",
        "bias",
        "samplers",
        "chains",
        "losses",
        "objectives",
        "evaluation",
        "training",
        "distributed",
    ],
    *["__init__", "integrations", "runs", "__main__"],
]
LIBRARY = ORDER[: ORDER.index("__init__") + 1]
# What the library may import from outside: no configuration, file, terminal or plot.
OUTSIDE = {
    *["__future__", "abc", "collections", "contextlib", "contextvars", "copy", "dataclasses"],
    *[
        "concurrent",
        "enum",
        "functools",
        "itertools",
        "math",
        "types",
        "typing",
        "warnings",
        "weakref",
    ],
    *["hashlib", "inspect", "sys", "numbers", "operator", "typing_extensions", "numpy", "torch"],
}
FILES = {"extension", "source_digest"}  # they look for the compiled modules


def test_the_library_is_a_staircase_and_runs_are_on_top():
    rooms = imports.graph("effebm_ext")
    assert sorted(rooms) == sorted(ORDER)
    upward = [(a, b) for a, b in rooms.edges if ORDER.index(a) < ORDER.index(b)]
    assert upward == []


@pytest.mark.parametrize("folder", imports.FOLDERS)
def test_no_rooms_import_each_other_in_a_circle(folder):
    assert imports.circles(imports.graph(folder)) == []


def test_no_files_import_each_other_in_a_circle():
    assert imports.circles(imports.file_graph("effebm_ext")) == []


def test_the_library_knows_no_file_terminal_or_plot():
    found = set()
    for one in imports.imports("effebm_ext"):
        room = imports.room(one.file, "effebm_ext")
        outside = one.target.parts[0]
        if room in LIBRARY and room not in FILES and outside != "effebm_ext":
            found.add(outside)
    assert found - OUTSIDE == set()


@pytest.mark.parametrize("module", ["effebm_ext", "effebm_ext.runs"])
def test_loading_a_model_needs_no_plots_and_no_command_line(module):
    unwanted = ["matplotlib", "click", "cloup", "sklearn", "PIL", "tensorboard"]
    code = f"import sys, {module}; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_circles_and_upward_imports_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(imports, "ROOT", tmp_path)
    (tmp_path / "package" / "low").mkdir(parents=True)
    (tmp_path / "package" / "low" / "one.py").write_text("from package import high\n")
    (tmp_path / "package" / "high.py").write_text("def f():\n    import package.low.one\n")
    (tmp_path / "package" / "alone.py").write_text("import json\n")
    rooms = imports.graph("package")
    assert set(rooms.edges) == {("low", "high"), ("high", "low")}
    assert imports.circles(rooms) == [["high", "low"]]
    assert imports.levels(rooms) == {"low": 0, "high": 0, "alone": 0}
