"""What a run was computed with, besides its configuration: ``environment.json``."""

from __future__ import annotations

import torch

import effebm_ext
from effebm_ext import _C
from effebm_ext.training import Trainer


def environment(trainer: Trainer) -> dict[str, str | int | None]:
    """Returns versions, processor and threads, and how the gradient of the chains was evaluated:
    ``eager`` or ``compiled``, and the dtype if it is a shorter one; None without chains. If the run
    asks for CUDA graphs, ``steps`` is ``captured`` if they made the steps, else ``uncaptured``."""
    sampler = getattr(trainer.chains, "sampler", None)
    gradient, captured = getattr(sampler, "gradient", None), getattr(sampler, "captured", None)
    return {
        "gradient": None if gradient is None else gradient.taken,
        "steps": None if captured is None else captured.taken,
        "device": str(trainer.data.device),
        "effebm_ext": effebm_ext.__version__,
        "torch": torch.__version__,
        "cpu_kernels": _C.cpu_capability(),
        "threads": torch.get_num_threads(),
    }
