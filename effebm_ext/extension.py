"""The compiled modules: _C, always, and _C_cuda where it was built and torch has CUDA.

They lie beside this file. In a clone that has none, as after a plain ``pip install .``, the modules
of the installed package serve, if they were built from the sources in the clone.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from types import ModuleType

import torch  # the modules need its libraries in the process

from effebm_ext.source_digest import source_digest

OLDEST_TORCH = "2.11"  # the first torch with what the modules call
_PACKAGE = Path(__file__).parent


def _find_modules() -> Path:
    """The folder of the compiled modules: this one or, without any here, that of the first
    installed package."""
    folders = [str(_PACKAGE), *(str(Path(entry, "effebm_ext")) for entry in sys.path)]
    spec = PathFinder.find_spec("effebm_ext._C", folders)
    if spec is None or spec.origin is None:
        raise ImportError(f"effebm_ext in {_PACKAGE} {_why_none()}")
    return Path(spec.origin).parent


def _why_none() -> str:
    """Says why this folder has no module that this Python takes, and what to do."""
    foreign = sorted(path.name for path in _PACKAGE.glob("_C.*") if path.suffix in (".so", ".pyd"))
    if not foreign:
        return "is not built: pip install . in the source folder"
    return (
        f"is of another Python or machine: it has {', '.join(foreign)}, and this Python takes "
        f"_C{EXTENSION_SUFFIXES[0]}: install effebm_ext by this Python"
    )


_MODULES = _find_modules()


def _load(name: str) -> ModuleType:
    """Imports a compiled module from where it lies, and no Python file from there."""
    path = sys.modules["effebm_ext"].__path__
    path.insert(0, str(_MODULES))
    try:
        return importlib.import_module(f"effebm_ext.{name}")
    finally:
        path.remove(str(_MODULES))


def _load_core() -> ModuleType:
    """Registers the ops and their CPU kernels."""
    try:
        return _load("_C")
    except ImportError as error:
        raise ImportError(
            f"the kernels of effebm_ext in {_MODULES} do not load with torch {torch.__version__} "
            f"({error}): effebm_ext needs torch {OLDEST_TORCH} or newer; if this torch is one, "
            "install effebm_ext again"
        ) from error


_C = _load_core()
if _MODULES != _PACKAGE and _C.build_info().get("sources") != source_digest(_PACKAGE.parent):
    raise ImportError(
        f"effebm_ext in {_MODULES} was not built from the sources in {_PACKAGE.parent}: "
        "pip install . there, or leave that folder"
    )


def _load_cuda() -> str:
    """Registers the CUDA kernels; why not, if there are none, else an empty string."""
    if no_cuda := _C.build_info()["no_cuda"]:
        return f"this build of effebm_ext has no CUDA kernels: {no_cuda}"
    try:
        _load("_C_cuda")
    except ImportError as error:
        return f"the CUDA kernels of effebm_ext do not load with this torch ({error})"
    return ""


cuda_missing = _load_cuda()
