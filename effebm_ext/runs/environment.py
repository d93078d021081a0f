"""What a run was computed with, besides its configuration: ``environment.json``."""

from __future__ import annotations

import torch

import effebm_ext
from effebm_ext import _C
from effebm_ext.training import Trainer


def environment(trainer: Trainer) -> dict[str, str | int | None]:
    """Returns versions, processor and threads, and how the gradient of the chains was evaluated:
    ``eager`` or ``compiled``, and the dtype if it is a shorter one; None without chains."""
    gradient = getattr(getattr(trainer.chains, "sampler", None), "gradient", None)
    return {
        "gradient": None if gradient is None else gradient.taken,
        "device": str(trainer.data.device),
        "effebm_ext": effebm_ext.__version__,
        "torch": torch.__version__,
        "cpu_kernels": _C.cpu_capability(),
        "threads": torch.get_num_threads(),
    }
