"""Train and sample energy-based models with compressed Langevin dynamics.

Every step is one fused pass over memory: compress the gradient, move, add noise, apply bounds.
"""

import torch

from effebm_ext import extension, losses  # noqa: F401  (extension first: it finds _C)
from effebm_ext.energies import NonFiniteError
from effebm_ext.limits import Clamp, ClipNorm, ClipValue, Reflect
from effebm_ext.ops.block_sign import BlockSign, block_sign_compress
from effebm_ext.ops.drift import Drift, drift
from effebm_ext.ops.langevin_step import langevin_step, langevin_step_
from effebm_ext.ops.langevin_transition import Transition, langevin_transition
from effebm_ext.ops.natural import NaturalCompression
from effebm_ext.ops.packing import PackedBlock, PackedEntries, PackedSigns, PackedUpperBits
from effebm_ext.ops.perturb import PerturbedPair, perturbed_pair
from effebm_ext.ops.random_block import RandomBlock
from effebm_ext.ops.random_k import RandomK
from effebm_ext.ops.stochastic_round import from_codes, stochastic_round
from effebm_ext.ops.topk import TopK, topk_compress
from effebm_ext.rng import Key
from effebm_ext.samplers import MALA, Langevin, LangevinState, PackedTrajectory, Run, StepInfo
from effebm_ext.samplers.cached import CachedState

__version__ = "0.1.0"

# Plain data, which torch.load(weights_only=True) may make.
torch.serialization.add_safe_globals(
    [
        *(BlockSign, NaturalCompression, RandomBlock, RandomK, TopK),
        *(Clamp, ClipNorm, ClipValue, Key, Reflect),
        *(PackedBlock, PackedEntries, PackedSigns, PackedTrajectory, PackedUpperBits),
        *(CachedState, LangevinState, Run, StepInfo),
    ]
)

__all__ = [
    "MALA",
    "BlockSign",
    "Clamp",
    "ClipNorm",
    "ClipValue",
    "Drift",
    "Key",
    "Langevin",
    "NaturalCompression",
    "NonFiniteError",
    "PackedBlock",
    "PackedEntries",
    "PackedSigns",
    "PackedUpperBits",
    "PerturbedPair",
    "RandomBlock",
    "RandomK",
    "Reflect",
    "TopK",
    "Transition",
    "block_sign_compress",
    "drift",
    "from_codes",
    "langevin_step",
    "langevin_step_",
    "langevin_transition",
    "losses",
    "perturbed_pair",
    "stochastic_round",
    "topk_compress",
]
