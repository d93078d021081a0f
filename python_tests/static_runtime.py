"""A g++ that links libstdc++ and libgcc statically, as that of some distributions does, and what a
module shows to the modules beside it."""

import os
import shutil
import subprocess


def environment(folder):
    """An environment in which g++ and c++ link so."""
    for name in ("g++", "c++"):
        wrapper = folder / name
        wrapper.write_text(
            f'#!/bin/sh\nexec {shutil.which(name)} "$@" -static-libstdc++ -static-libgcc\n'
        )
        wrapper.chmod(0o755)
    # CXX would name another compiler.
    rest = {name: value for name, value in os.environ.items() if name != "CXX"}
    return {**rest, "PATH": f"{folder}:{os.environ['PATH']}"}


def needed(module):
    """The libraries the module asks the loader for."""
    lines = _readelf("-d", module)
    return [line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line]


def exported(module):
    """The symbols of libstdc++ that the module shows to others."""
    rows = [line.split() for line in _readelf("--dyn-syms", module)]
    defined = {row[7] for row in rows if len(row) > 7 and row[6] != "UND"}
    return {symbol for symbol in defined if symbol.startswith(("_ZNSt", "_ZNKSt"))}


def _readelf(what, module):
    command = ["readelf", "-W", what, module]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
