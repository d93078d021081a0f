"""Draws who imports whom: rooms, levels, arrows and circles of the library and the kernels.

    python tools/imports.py

A room is a module or a folder directly inside the folder that is drawn. An arrow leads from a room
to one that it imports or includes. The rooms of level 0 import no other room, those of level n at
least one of level n - 1. A circle is a set of rooms that reach each other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import networkx

ROOT = Path(__file__).parents[1]
FOLDERS = ("effebm_ext", "effebm_ext/runs", "effebm_ext/ops", "effebm_ext/samplers", "csrc",
           "csrc/cuda")  # fmt: skip

SUFFIXES = (".py", ".pyi", ".h", ".cpp", ".cu", ".cuh")


class Import(NamedTuple):
    """``file`` imports or includes ``target``, both relative to the root of the project; or it
    imports a package from outside, whose name ``target`` is then."""

    file: Path
    target: Path


def imports(folder: str) -> Iterator[Import]:
    """Yields every import of every Python file of a folder, and every include of its C++ files."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".pyi"):
            for name in _python_imports(path):
                yield Import(path.relative_to(ROOT), _module(name))
        elif path.suffix in SUFFIXES:
            for name in re.findall(r'^#include "(.+)"', path.read_text(), re.MULTILINE):
                beside = (path.parent / name).resolve()
                target = beside if beside.is_file() else ROOT / "csrc" / name
                if target.is_file():
                    yield Import(path.relative_to(ROOT), target.relative_to(ROOT))


def _python_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: expected absolute imports"
            for alias in node.names:  # a name may be a module of its package
                inner = f"{node.module}.{alias.name}"
                yield inner if (ROOT / _module(inner)).exists() else node.module


def _module(name: str) -> Path:
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path.with_suffix(".pyi"), path / "__init__.py"):
        if (ROOT / file).is_file():
            return file
    return path


def graph(folder: str) -> networkx.DiGraph:
    """Returns the rooms of a folder, with an edge from each to every one that it imports."""
    files, found = file_graph(folder), networkx.DiGraph()
    found.add_nodes_from(room(path, folder) for path in files)
    found.add_edges_from((room(a, folder), room(b, folder)) for a, b in files.edges)
    found.remove_edges_from([(name, name) for name in found])
    return found


def file_graph(folder: str) -> networkx.DiGraph:
    """Returns the same graph of files."""
    found = networkx.DiGraph()
    files = (path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)
    found.add_nodes_from(path.relative_to(ROOT) for path in files)
    found.add_edges_from((a, b) for a, b in imports(folder) if b in found)
    return found


def room(path: Path, folder: str) -> str:
    """Returns the room of a folder in which a file is."""
    first = path.relative_to(folder).parts[0]
    return first.partition(".")[0] if first.endswith((".py", ".pyi")) else first


def circles(rooms: networkx.DiGraph) -> list[list[str]]:
    parts = networkx.strongly_connected_components(rooms)
    return sorted(sorted(part) for part in parts if len(part) > 1)


def levels(rooms: networkx.DiGraph) -> dict[str, int]:
    """Returns the level of every room; rooms of one circle share it."""
    whole = networkx.condensation(rooms)
    level: dict[int, int] = {}
    for part in reversed(list(networkx.topological_sort(whole))):
        level[part] = 1 + max((level[below] for below in whole.successors(part)), default=-1)
    return {room: level[part] for room, part in whole.graph["mapping"].items()}


def main() -> int:
    for folder in FOLDERS:
        if not (ROOT / folder).is_dir():
            continue
        rooms = graph(folder)
        level = levels(rooms)
        print(
            f"{folder}: {len(rooms)} rooms, {max(level.values()) + 1} levels, "
            f"{rooms.number_of_edges()} arrows, {len(circles(rooms))} circles"
        )
        for n in range(max(level.values()), -1, -1):
            print(f"  {n}: {', '.join(sorted(room for room in rooms if level[room] == n))}")
        for circle in circles(rooms):
            print(f"  circle: {', '.join(circle)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
