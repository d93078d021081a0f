"""The compiled modules: _C, always, and _C_cuda where it was built and torch has CUDA."""

from __future__ import annotations

import importlib

import torch  # noqa: F401  (the modules need its libraries in the process)

from effebm_ext import _C  # noqa: F401  (registers the ops and their CPU kernels)


def _load_cuda() -> str:
    """Registers the CUDA kernels; why not, if that failed, else an empty string."""
    try:
        importlib.import_module("effebm_ext._C_cuda")
    except ModuleNotFoundError:
        return "this build of effebm_ext has no CUDA kernels"
    except ImportError as error:
        return f"the CUDA kernels of effebm_ext do not load with this torch ({error})"
    return ""


cuda_missing = _load_cuda()
